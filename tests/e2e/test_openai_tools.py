"""Tools and JSON answers with the official client, there and back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.e2e.openai_client import asking, client_of
from tests.harness.caller import Caller, told

PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": PLACE}}
CLOCK = {"type": "function", "function": {"name": "clock"}}


def numbered(place: int) -> dict[str, Any]:
    return {"type": "function", "function": {"name": f"tool_{place}"}}


class Town(BaseModel):
    name: str
    inhabitants: int


@pytest.fixture
async def client(caller: Caller) -> AsyncIterator[AsyncOpenAI]:
    async with client_of(caller) as counted:
        yield counted.client


async def whole(client: AsyncOpenAI, question: dict[str, Any], *, stream: bool) -> Any:
    """The completion, in one piece or put together by the client."""
    if stream:
        async with client.chat.completions.stream(**question) as events:
            return await events.get_final_completion()
    return await client.chat.completions.create(**question)


async def test_a_tool_is_called_and_its_result_is_answered(client: AsyncOpenAI) -> None:
    question = asking(told(tokens=5), tools=[WEATHER])
    first = (await client.chat.completions.create(**question)).choices[0]
    assert (first.finish_reason, first.message.content) == ("tool_calls", None)
    (call,) = first.message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, list(json.loads(call.function.arguments))) == ("weather", ["city"])
    result = {"role": "tool", "tool_call_id": call.id, "content": "31 degrees"}
    talk = [*question["messages"], first.message, result]
    second = (await client.chat.completions.create(**question | {"messages": talk})).choices[0]
    assert second.finish_reason == "stop"
    assert "31 degrees" in (second.message.content or "")


async def test_streamed_calls_are_put_together_by_the_client(client: AsyncOpenAI) -> None:
    question = asking(told(calls=2, preface=3), tools=[WEATHER, CLOCK])
    async with client.chat.completions.stream(**question) as stream:
        events = [event.type async for event in stream]
        choice = (await stream.get_final_completion()).choices[0]
    assert events.count("tool_calls.function.arguments.done") == 2
    assert choice.finish_reason == "tool_calls"
    assert (choice.message.content or "").startswith("[simulated")
    assert [call.function.name for call in choice.message.tool_calls or []] == ["weather", "clock"]


async def test_the_named_tool_is_called(client: AsyncOpenAI) -> None:
    named = {"type": "function", "function": {"name": "clock"}}
    completion = await client.chat.completions.create(**asking(told(), tools=[WEATHER, CLOCK], tool_choice=named))
    calls: Any = completion.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["clock"]


@pytest.mark.parametrize("model", ["openai-gpt-4o-mini", "openai-o3-mini"])
@pytest.mark.parametrize("stream", [False, True])
async def test_one_call_at_a_time_is_one_call_also_where_the_vendor_cannot_be_told(
    client: AsyncOpenAI,
    model: str,
    stream: bool,  # noqa: FBT001
) -> None:
    question = asking(told(calls=3), tools=[WEATHER, CLOCK], parallel_tool_calls=False) | {"model": model}
    choice = (await whole(client, question, stream=stream)).choices[0]
    assert [call.function.name for call in choice.message.tool_calls or []] == ["weather"]
    assert choice.finish_reason == "tool_calls"


async def test_a_parsed_answer_can_be_sent_back(client: AsyncOpenAI) -> None:
    """With all that the client adds to what it parsed."""
    tool = openai.pydantic_function_tool(Town)
    question = asking(told(tokens=5), tools=[tool])
    first = (await client.chat.completions.parse(**question)).choices[0].message
    (call,) = first.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Town)
    result = {"role": "tool", "tool_call_id": call.id, "content": "noted"}
    talk = [*question["messages"], first.model_dump(), result]
    second = await client.chat.completions.create(**question | {"messages": talk})
    assert "noted" in (second.choices[0].message.content or "")


async def test_an_answer_follows_a_schema(client: AsyncOpenAI) -> None:
    completion = await client.chat.completions.parse(**asking(told()), response_format=Town)
    assert isinstance(completion.choices[0].message.parsed, Town)


@pytest.mark.parametrize(
    ("model", "fields", "named"),
    [
        ("openai-o1-mini", {"tools": [CLOCK]}, "tools"),
        ("openai-o1-mini", {"response_format": {"type": "json_object"}}, "response_format"),
        ("meta-llama3-1-70b", {"response_format": {"type": "json_object"}}, "response_format"),
        ("openai-gpt-4o-mini", {"tools": [numbered(place) for place in range(129)]}, "tools"),
    ],
)
async def test_what_the_model_lacks_is_refused_in_openais_words(
    client: AsyncOpenAI, model: str, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=f"`{named}`"):
        await client.chat.completions.create(**asking(told(), **fields) | {"model": model})
