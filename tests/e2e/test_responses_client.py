"""OpenAI's Responses API with the official client: what it gets, streams, keeps, goes on from, cancels and comes back to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.e2e.openai_client import client_of
from tests.harness.caller import MODEL, Caller, cost_nano, expected, told
from tests.harness.support import eventually_true

PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Of a city.",
    "parameters": PLACE,
    "strict": False,
}
PATCH: Any = {"type": "custom", "name": "patch", "description": "Changes a file."}
AGENTS: Any = {
    "type": "namespace",
    "name": "agents",
    "description": "",
    "tools": [{"type": "function", "name": "spawn"}],
}
UNKNOWN = "resp_" + "0" * 26


class Town(BaseModel):
    name: str
    inhabitants: int


@pytest.fixture
async def client(caller: Caller) -> AsyncIterator[AsyncOpenAI]:
    async with client_of(caller) as counted:
        yield counted.client


async def ended(client: AsyncOpenAI, response_id: str) -> Any:
    async def ask() -> Any:
        response = await client.responses.retrieve(response_id)
        return response if response.status not in {"queued", "in_progress"} else None

    return await eventually_true(ask, "the response has ended")


async def test_the_client_gets_a_response(client: AsyncOpenAI, caller: Caller, books: asyncpg.Pool) -> None:
    before = await caller.settled(books)
    message = told(tokens=9)
    response = await client.responses.create(model=MODEL, input=message, max_output_tokens=50, safety_identifier="me")
    assert (response.status, response.output_text, response.model) == ("completed", expected(message), MODEL)
    assert response.usage is not None
    assert response.usage.output_tokens == 9
    assert response._request_id == f"req_{response.id.removeprefix('resp_')}"
    assert before - await caller.settled(books) == cost_nano(message, 9)


async def test_the_client_can_send_back_what_it_got(client: AsyncOpenAI) -> None:
    """As its documentation does it: the output is put behind the input."""
    talk: list[Any] = [{"role": "user", "content": told(tokens=3)}]
    first = await client.responses.create(model=MODEL, input=talk)
    for output in (first.output, [item.model_dump() for item in first.output]):
        again = [*talk, *output, {"role": "user", "content": told(tokens=2)}]
        second = await client.responses.create(model=MODEL, input=again)
        assert second.usage is not None
        assert second.usage.output_tokens == 2


async def test_the_client_reads_a_stream(client: AsyncOpenAI) -> None:
    message = told(tokens=40, unicode=1, surrogate=1)
    stream = await client.responses.create(model=MODEL, input=message, stream=True)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == expected(message)
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == expected(message)
    assert last.response.usage is not None
    assert last.response.usage.output_tokens == 40


async def test_a_stream_that_the_client_put_together_is_the_stored_response(client: AsyncOpenAI) -> None:
    message = told(tokens=5, calls=2, preface=3)
    async with client.responses.stream(model=MODEL, input=message, tools=[WEATHER, PATCH]) as stream:
        final = await stream.get_final_response()
    stored = await client.responses.retrieve(final.id)
    ignored = {"output": {"__all__": {"content": {"__all__": {"parsed"}}, "parsed_arguments": True}}}
    assert [item.type for item in final.output] == ["message", "function_call", "custom_tool_call"]
    assert final.model_dump(exclude=ignored) == stored.model_dump()  # type: ignore[arg-type]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_is_called_and_its_result_is_answered(
    client: AsyncOpenAI,
    stream: bool,  # noqa: FBT001
) -> None:
    talk: list[Any] = [{"role": "user", "content": told(tokens=5)}]
    question: Any = {"model": MODEL, "tools": [WEATHER]}
    if stream:
        async with client.responses.stream(input=talk, **question) as events:
            first: Any = await events.get_final_response()
    else:
        first = await client.responses.create(input=talk, **question)
    (call,) = first.output
    assert (call.type, call.name, list(json.loads(call.arguments))) == ("function_call", "weather", ["city"])
    talk += [*first.output, {"type": "function_call_output", "call_id": call.call_id, "output": "31 degrees"}]
    second = await client.responses.create(input=talk, **question)
    assert "31 degrees" in second.output_text


async def test_custom_tools_and_those_of_a_namespace_are_called_in_their_own_forms(client: AsyncOpenAI) -> None:
    talk: list[Any] = [{"role": "user", "content": told(calls=2)}]
    first: Any = await client.responses.create(model=MODEL, input=talk, tools=[PATCH, AGENTS])
    patch, spawn = first.output
    assert (patch.type, patch.name, spawn.type, spawn.name, spawn.namespace) == (
        "custom_tool_call",
        "patch",
        "function_call",
        "spawn",
        "agents",
    )
    outputs: list[Any] = [
        {"type": "custom_tool_call_output", "call_id": patch.call_id, "output": "patched"},
        {"type": "function_call_output", "call_id": spawn.call_id, "output": "spawned"},
    ]
    second = await client.responses.create(model=MODEL, input=[*talk, *first.output, *outputs], tools=[PATCH, AGENTS])
    assert "spawned" in second.output_text


async def test_an_answer_follows_a_schema(client: AsyncOpenAI) -> None:
    response = await client.responses.parse(model=MODEL, input=told(), text_format=Town)
    assert isinstance(response.output_parsed, Town)


@pytest.mark.parametrize(
    ("fields", "error", "code"),
    [
        ({"model": "gpt-9"}, openai.NotFoundError, "model_not_found"),
        ({"temperature": 9}, openai.BadRequestError, "invalid_request"),
        ({"input": told(status=400)}, openai.InternalServerError, "provider_rejected"),
        ({"previous_response_id": UNKNOWN}, openai.NotFoundError, "not_found"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_have_openais_classes_also_before_a_stream(
    client: AsyncOpenAI,
    fields: dict[str, Any],
    error: type[openai.APIStatusError],
    code: str,
    stream: bool,  # noqa: FBT001
) -> None:
    question: Any = {"model": MODEL, "input": told(), "stream": stream} | fields
    with pytest.raises(error) as refused:
        await client.responses.create(**question)
    assert refused.value.code == code


async def test_a_stream_that_fails_on_the_way_ends_with_response_failed(client: AsyncOpenAI) -> None:
    stream = await client.responses.create(model=MODEL, input=told(tokens=9, fault="cut", after=4), stream=True)
    events: list[Any] = [event async for event in stream]
    assert events[-1].type == "response.failed"
    failed = events[-1].response
    assert (failed.status, failed.error.code) == ("failed", "server_error")
    assert failed.output[0].status == "incomplete"

    async def stored() -> Any:
        shown = await client.responses.retrieve(failed.id)
        return shown if shown.usage else None

    shown: Any = await eventually_true(stored, "what it cost is in the books")
    assert (shown.status, shown.error, shown.output) == (failed.status, failed.error, failed.output)


async def test_what_is_cut_off_by_its_limit_is_incomplete(client: AsyncOpenAI) -> None:
    response = await client.responses.create(model=MODEL, input=told(tokens=900), max_output_tokens=300)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_goes_on_from_the_one_before_it_at_once(
    client: AsyncOpenAI,
    stream: bool,  # noqa: FBT001
) -> None:
    """The next turn may come before the last one is in Postgres; it sends nothing but a call's output."""
    question = told(tokens=3)
    first: Any = await client.responses.create(model=MODEL, input=question, tools=[WEATHER])
    call = first.output[0]
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "42 degrees"}
    second: Any = await client.responses.create(
        model=MODEL, input=[output], tools=[WEATHER], previous_response_id=first.id, stream=stream
    )
    if stream:
        second = [event async for event in second][-1].response
    assert "42 degrees" in second.output_text
    assert second.previous_response_id == first.id
    third = await client.responses.create(model=MODEL, input=told(tokens=2), previous_response_id=second.id)
    counted = await client.responses.input_tokens.count(
        model=MODEL, input=told(tokens=2), previous_response_id=second.id
    )
    alone = await client.responses.input_tokens.count(model=MODEL, input=told(tokens=2))
    assert third.usage is not None
    assert counted.input_tokens > alone.input_tokens + 10


async def test_items_of_a_stored_response_may_be_referred_to(client: AsyncOpenAI) -> None:
    first = await client.responses.create(model=MODEL, input=told(tokens=3))
    reference: Any = {"type": "item_reference", "id": first.output[0].id}
    talk: list[Any] = [{"role": "user", "content": "Hello"}, reference, {"role": "user", "content": told(tokens=2)}]
    second = await client.responses.create(model=MODEL, input=talk)
    assert second.usage is not None
    assert second.usage.output_tokens == 2
    kept: list[Any] = [item async for item in client.responses.input_items.list(second.id, order="asc")]
    assert [item.role for item in kept] == ["user", "assistant", "user"]
    assert kept[1].content[0].text == first.output_text


async def test_items_of_an_input_are_listed_page_by_page(client: AsyncOpenAI) -> None:
    talk: list[Any] = [{"role": "user", "content": f"{number}"} for number in range(6)]
    response = await client.responses.create(model=MODEL, input=[*talk, {"role": "user", "content": told()}])
    for order in ("asc", "desc"):
        items: list[Any] = [item async for item in client.responses.input_items.list(response.id, order=order, limit=3)]
        texts = [item.content[0].text for item in items]
        numbered = texts[:-1] if order == "asc" else texts[:0:-1]
        assert numbered == [f"{number}" for number in range(6)]
        assert len({item.id for item in items}) == 7
    with pytest.raises(openai.NotFoundError):
        await client.responses.input_items.list(response.id, after="in_x")


async def test_a_response_in_the_background_is_polled(client: AsyncOpenAI) -> None:
    message = told(tokens=5, first_ms=100)
    queued = await client.responses.create(model=MODEL, input=message, background=True)
    assert (queued.status, queued.output, queued.background) == ("queued", [], True)
    done = await ended(client, queued.id)
    assert (done.status, done.output_text, done.id) == ("completed", expected(message), queued.id)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_in_the_background_is_cancelled(
    client: AsyncOpenAI,
    caller: Caller,
    books: asyncpg.Pool,
    stream: bool,  # noqa: FBT001
) -> None:
    message = told(tokens=9, hold=3, key=f"cancelled-{stream}")
    begun: Any = await client.responses.create(model=MODEL, input=message, background=True, stream=stream)
    if stream:
        first = await anext(aiter(begun))
        assert (first.type, first.response.status) == ("response.created", "queued")
        await begun.close()
        begun = first.response
    cancelled = await client.responses.cancel(begun.id)
    assert (cancelled.status, cancelled.error) == ("cancelled", None)
    assert (await client.responses.cancel(begun.id)).status == "cancelled"
    await caller.settled(books)


async def test_a_stream_in_the_background_is_resumed_behind_any_event(client: AsyncOpenAI, caller: Caller) -> None:
    message = told(tokens=20, hold=10, key="resumed")
    stream = await client.responses.create(model=MODEL, input=message, background=True, stream=True)
    seen: list[Any] = []
    async for event in stream:
        seen.append(event)
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    resumed = await client.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number)
    await caller.release("resumed")
    events = [*seen, *[event async for event in resumed]]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == expected(message)
    again = await client.responses.retrieve(seen[0].response.id, stream=True)
    assert [event.model_dump() async for event in again] == [event.model_dump() for event in events]


async def test_the_clients_stream_helper_comes_back_to_a_stored_response(client: AsyncOpenAI) -> None:
    message = told(tokens=6)
    first = await client.responses.create(model=MODEL, input=message)
    async with client.responses.stream(response_id=first.id, starting_after=2) as stream:
        final = await stream.get_final_response()
    assert final.output_text == expected(message)


async def test_what_is_deleted_is_not_found_any_more(client: AsyncOpenAI) -> None:
    response = await client.responses.create(model=MODEL, input=told())
    await client.responses.delete(response.id)
    for call in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
        with pytest.raises(openai.NotFoundError, match=f"Response with id '{response.id}' not found"):
            await call(response.id)
    with pytest.raises(openai.NotFoundError, match=f"Previous response with id '{response.id}' not found"):
        await client.responses.create(model=MODEL, input=told(), previous_response_id=response.id)


async def test_what_is_not_to_be_stored_is_not_found(client: AsyncOpenAI) -> None:
    response: Any = await client.responses.create(model=MODEL, input=told(), store=False)
    assert response.store is False
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(response.id)


async def test_many_turns_of_one_conversation_at_once(client: AsyncOpenAI) -> None:
    """A chain may fork."""
    first = await client.responses.create(model=MODEL, input=told(tokens=2))
    turns = [
        client.responses.create(model=MODEL, input=told(tokens=n), previous_response_id=first.id) for n in range(1, 9)
    ]
    usages = [response.usage for response in await asyncio.gather(*turns)]
    assert [usage and usage.output_tokens for usage in usages] == list(range(1, 9))
