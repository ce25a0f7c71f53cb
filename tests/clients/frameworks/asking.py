"""What every library is given: a model, a tool, and the form of an answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

MODEL = "openai-gpt-4o-mini"
CITIES: list[str] = []
"""The cities that the tool was asked for."""
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: Its name.
    """
    CITIES.append(city)
    return f"It is sunny in {city}."


def town() -> Any:
    """The form of an answer, as a class of pydantic's, which each library brings."""
    from pydantic import BaseModel

    class Town(BaseModel):
        name: str
        inhabitants: int

    return Town


def loop(ask: Callable[[list[Any]], Any], prompt: str) -> str:
    """Call the tool as a program does whose library leaves that to it."""
    messages: list[Any] = [{"role": "user", "content": prompt}]
    while calls := (answer := ask(messages)).tool_calls:
        asked = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in calls
        ]
        messages.append({"role": "assistant", "content": answer.content, "tool_calls": asked})
        for call in calls:
            said = weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": said})
    return str(answer.content)
