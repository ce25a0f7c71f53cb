"""What a program of a foreign client is asked, and how it says what it got. It runs where the project's own packages are not.

`ASKED` in its environment is JSON: `{"url", "asks": [{"cell", "way", "key", "model", "prompt"}, …]}`. For each of them one
line of JSON is printed: `{"cell", "said"}`, or `{"cell", "refused": {"by", "status", "code", "message"}}` with the class of
the error.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any, Protocol

from pydantic import BaseModel

MESSAGE_MAX = 300
GOES_ON = "tools, going on"
"""Only what is new is sent: the rest is what the response before it was asked and said."""


class Town(BaseModel):
    """What an answer of a given form is."""

    name: str
    inhabitants: int


class Weather:
    """A tool, and the cities that it was asked about."""

    def __init__(self) -> None:
        self.cities: list[str] = []

    def weather(self, city: str) -> str:
        """The weather in a city."""
        self.cities.append(city)
        return f"It is sunny in {city}."


class Client(Protocol):
    """A client with a model and a key. Each way gives the answer, or raises what the client raises."""

    async def text(self, prompt: str) -> str:
        """An answer as a whole."""

    async def stream(self, prompt: str) -> list[str]:
        """Its pieces as they came."""

    async def tools(self, prompt: str, tool: Weather, *, streamed: bool, goes_on: bool) -> str:
        """The last answer, after all that was called has been answered."""

    async def schema(self, prompt: str) -> Town:
        """An answer of a given form."""


def say_all(make: Callable[[str, str, str], Client]) -> None:
    """Do all that is asked; `make` is given the address, the key and the model's name."""
    asyncio.run(_say_all(make))


async def _say_all(make: Callable[[str, str, str], Client]) -> None:
    asked = json.loads(os.environ["ASKED"])
    clients = [make(asked["url"], ask["key"], ask["model"]) for ask in asked["asks"]]
    rows = await asyncio.gather(*map(_row, clients, asked["asks"]))
    for row in rows:
        print(json.dumps(row))  # noqa: T201 - this is its answer


async def _row(client: Client, ask: dict[str, str]) -> dict[str, Any]:
    try:
        return {"cell": ask["cell"], "said": await _said(client, ask["way"], ask["prompt"])}
    except Exception as error:  # noqa: BLE001 - what a client raises is what is asked for
        return {"cell": ask["cell"], "refused": _refused(error)}


async def _said(client: Client, way: str, prompt: str) -> Any:
    match way:
        case "text":
            return await client.text(prompt)
        case "stream":
            return await client.stream(prompt)
        case "schema":
            return (await client.schema(prompt)).model_dump()
    tool = Weather()
    answer = await client.tools(prompt, tool, streamed=way == "tools, streamed", goes_on=way == GOES_ON)
    return {"answer": answer, "cities": sorted(tool.cities)}


def _refused(error: Exception) -> dict[str, Any]:
    body = getattr(error, "body", None)
    return {
        "by": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "code": body.get("code") if isinstance(body, dict) else None,
        "message": str(error)[:MESSAGE_MAX],
    }
