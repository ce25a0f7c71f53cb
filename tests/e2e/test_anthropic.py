"""`POST /v1/messages` as it is, and as the official `anthropic` client sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import asyncpg
import pytest
from anthropic import AsyncAnthropic

from deploy.simulator.answer import prompt_tokens
from tests.e2e.anthropic_client import asked, client_of
from tests.harness.caller import MODEL, Caller, cost_nano, expected, told

WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "The weather in a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
async def client(caller: Caller) -> AsyncIterator[AsyncAnthropic]:
    async with client_of(caller) as one:
        yield one


async def whole(client: AsyncAnthropic, body: dict[str, Any], *, stream: bool) -> anthropic.types.Message:
    """The message, in one piece or put together by the client."""
    if stream:
        async with client.messages.stream(**body) as events:
            return await events.get_final_message()
    message: anthropic.types.Message = await client.messages.create(**body)
    return message


async def test_the_client_gets_a_message(caller: Caller, client: AsyncAnthropic, books: asyncpg.Pool) -> None:
    text = told(tokens=40, unicode=1, cached=3)
    message = await client.messages.create(**asked(text))
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": expected(text)}]
    assert (message.role, message.model, message.stop_reason) == ("assistant", MODEL, "end_turn")
    assert message.id == message._request_id
    assert message.usage.to_dict() == {
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "input_tokens": prompt_tokens([text]) - 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 3,
        "output_tokens": 40,
    }
    assert 0 < 1_000_000_000 - await caller.settled(books) <= cost_nano(text, 40)


@pytest.mark.parametrize("header", ["x-api-key", "Authorization"])
async def test_both_headers_take_the_key(caller: Caller, header: str) -> None:
    key = caller.key if header == "x-api-key" else f"Bearer {caller.key}"
    headers = {header: key, "anthropic-version": "2023-06-01", "anthropic-beta": "something-2025-01-01"}
    async with caller.session.post(caller.url("/v1/messages"), json=asked(told()), headers=headers) as response:
        document = await response.json()
    assert (response.status, document["type"]) == (200, "message")
    assert document["id"] == response.headers["request-id"] == response.headers["x-request-id"]


async def test_the_beta_client_works_too(client: AsyncAnthropic) -> None:
    text = told(tokens=3)
    message = await client.beta.messages.create(**asked(text), betas=["something-2025-01-01"])
    assert message.content[0].to_dict()["text"] == expected(text)


async def test_the_output_limit_is_a_stop_reason(client: AsyncAnthropic) -> None:
    message = await client.messages.create(**asked(told(tokens=100), max_tokens=8))
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 8)


async def test_system_prompt_history_and_options_reach_the_vendor(client: AsyncAnthropic) -> None:
    text = told(tokens=30)
    first = await client.messages.create(**asked("hi"))
    word = expected(text).split()[6]
    history = [{"role": "user", "content": "hi"}, first.to_param(), {"role": "user", "content": text}]
    message = await client.messages.create(
        **asked("", messages=history, system="Be kind.", stop_sequences=[word]), extra_body={"temperature": 0.5}
    )
    assert message.content[0].to_dict()["text"] == expected(text).partition(word)[0]
    assert message.usage.input_tokens > prompt_tokens([text])


async def test_the_clients_stream_is_the_text_byte_for_byte(client: AsyncAnthropic) -> None:
    text = told(tokens=50, unicode=1, split=1, surrogate=1)
    async with client.messages.stream(**asked(text)) as stream:
        pieces = [piece async for piece in stream.text_stream]
        message = await stream.get_final_message()
    assert "".join(pieces) == expected(text) == message.content[0].to_dict()["text"]
    assert (message.id, message.stop_reason) == (stream.request_id, "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (prompt_tokens([text]), 50)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_is_called_and_its_result_answered(client: AsyncAnthropic, stream: bool) -> None:  # noqa: FBT001
    body = asked(told(calls=2, preface=3), tools=[WEATHER])
    first = await whole(client, body, stream=stream)
    text, *calls = first.content
    assert (text.type, first.stop_reason) == ("text", "tool_use")
    assert [(call.type, call.to_dict()["name"]) for call in calls] == [("tool_use", "weather")] * 2
    results = [
        {"type": "tool_result", "tool_use_id": call.to_dict()["id"], "content": [{"type": "text", "text": "31 °C"}]}
        for call in calls
    ]
    assert all(isinstance(call.to_dict()["input"], dict) for call in calls)
    turns = [*body["messages"], first.to_param(), {"role": "user", "content": results}]
    second = await whole(client, body | {"messages": turns}, stream=stream)
    assert second.stop_reason == "end_turn"
    assert "31 °C" in str(second.content[0].to_dict()["text"])


async def test_a_tool_can_be_demanded_or_ruled_out(client: AsyncAnthropic) -> None:
    tools = [WEATHER, WEATHER | {"name": "other"}]
    named = await client.messages.create(**asked(told(), tools=tools, tool_choice={"type": "tool", "name": "other"}))
    assert [block.to_dict()["name"] for block in named.content] == ["other"]
    assert named.stop_reason == "tool_use"
    none = await client.messages.create(**asked(told(), tools=tools, tool_choice={"type": "none"}))
    assert [block.type for block in none.content] == ["text"]


@pytest.mark.parametrize("stream", [False, True])
async def test_one_call_at_a_time_is_one_call_whoever_made_the_model(client: AsyncAnthropic, stream: bool) -> None:  # noqa: FBT001
    choice = {"type": "any", "disable_parallel_tool_use": True}
    body = asked(told(calls=3), tools=[WEATHER], tool_choice=choice) | {"model": "openai-o3-mini"}
    message = await whole(client, body, stream=stream)
    assert [block.type for block in message.content] == ["tool_use"]
    assert message.stop_reason == "tool_use"


async def test_an_answer_can_be_json_of_a_schema(client: AsyncAnthropic) -> None:
    output = {"format": {"type": "json_schema", "schema": WEATHER["input_schema"]}}
    message = await client.messages.create(**asked(told(), output_config=output))
    assert json.loads(str(message.content[0].to_dict()["text"])).keys() == {"city"}


async def test_the_raw_stream_is_anthropics_sequence_of_events(client: AsyncAnthropic) -> None:
    events = [
        event.type async for event in await client.messages.create(**asked(told(tokens=5, pace_ms=5)), stream=True)
    ]
    assert events[:2] == ["message_start", "content_block_start"]
    assert set(events[2:-3]) == {"content_block_delta"}
    assert events[-3:] == ["content_block_stop", "message_delta", "message_stop"]


async def test_pings_keep_a_stream_alive_before_the_first_token(caller: Caller, client: AsyncAnthropic) -> None:
    text = told(first_ms=1200)
    asking = asyncio.ensure_future(caller.request("POST", "/v1/messages", json=asked(text, stream=True)))
    async with client.messages.stream(**asked(text)) as stream:
        assert await stream.get_final_text() == expected(text)
    reply = await asking
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    assert reply.body.startswith(b'event: ping\ndata: {"type":"ping"}\n\n')


async def test_the_same_idempotency_key_gives_the_same_message_and_is_charged_once(
    caller: Caller, client: AsyncAnthropic, books: asyncpg.Pool
) -> None:
    text, once = told(tokens=9), {"Idempotency-Key": "once"}
    first = await client.messages.create(**asked(text), extra_headers=once)
    again = await client.messages.create(**asked(text), extra_headers=once)
    assert (again.id, again.content) == (first.id, first.content)
    assert again._request_id == first.id
    assert await caller.settled(books) == 1_000_000_000 - cost_nano(text, 9)
    with pytest.raises(anthropic.UnprocessableEntityError) as raised:
        await client.messages.create(**asked(text, max_tokens=9), extra_headers=once)
    assert raised.value.error_code == "idempotency_mismatch"


async def test_a_stream_with_an_idempotency_key_is_replayed(client: AsyncAnthropic) -> None:
    text = told(tokens=9, unicode=1)
    for _ in range(2):
        async with client.messages.stream(**asked(text), extra_headers={"Idempotency-Key": "streamed"}) as stream:
            assert await stream.get_final_text() == expected(text)
