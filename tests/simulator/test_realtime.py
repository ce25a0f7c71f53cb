"""OpenAI's own SDK over WebSocket against the simulator: one text turn, its ends and its faults."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from deploy.simulator import answer
from deploy.simulator.app import Running
from deploy.simulator.script import from_message
from tests.simulator.conftest import DEFAULTS

MODEL = "gpt-4o-realtime-preview-2024-12-17"


@pytest.fixture(scope="module")
async def client(served: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="k", base_url=served.openai, max_retries=0) as made:
        yield made


async def ask(connection: AsyncRealtimeConnection, text: str, limit: int = 100) -> None:
    session: Any = {"type": "realtime", "instructions": "be brief", "max_output_tokens": limit}
    session["output_modalities"] = ["text"]
    await connection.session.update(session=session)
    content: Any = [{"type": "input_text", "text": text}]
    await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
    await connection.response.create()


async def turn(client: openai.AsyncOpenAI, text: str, limit: int = 100) -> list[Any]:
    events: list[Any] = []
    async with client.realtime.connect(model=MODEL) as connection:
        await ask(connection, text, limit)
        async for event in connection:
            events.append(event)
            if event.type == "response.done" or (event.type == "error" and not response_began(events)):
                break
    return events


def response_began(events: list[Any]) -> bool:
    return any(event.type == "response.created" for event in events)


def expected(text: str) -> str:
    return "".join(answer.answer(MODEL, text, from_message(text, DEFAULTS)))


def text_of(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


async def test_a_turn_has_the_vendors_events_in_order(client: openai.AsyncOpenAI) -> None:
    events = await turn(client, "hi [[sim tokens=2]]")
    assert [event.type for event in events] == [
        "session.created",
        "session.updated",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "rate_limits.updated",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]


async def test_a_turn_is_exact_and_ends_with_its_usage(client: openai.AsyncOpenAI) -> None:
    text = "hi [[sim unicode=1 tokens=40 cached=2]]"
    events = await turn(client, text)
    assert text_of(events) == expected(text)
    response = events[-1].response
    assert response.status == "completed"
    assert response.usage.input_tokens == answer.prompt_tokens(["be brief", text])
    assert response.usage.output_tokens == 40
    assert response.usage.input_token_details.cached_tokens == 2


async def test_a_limit_makes_the_response_incomplete(client: openai.AsyncOpenAI) -> None:
    response = (await turn(client, "hi", limit=5))[-1].response
    assert (response.status, response.status_details.reason) == ("incomplete", "max_output_tokens")
    assert response.usage.output_tokens == 5


async def test_cancelling_gives_the_usage_so_far(client: openai.AsyncOpenAI, simulator: Running) -> None:
    async with client.realtime.connect(model=MODEL) as connection:
        await ask(connection, "[[sim hold=3 key=held]]")
        seen = 0
        async for event in connection:
            seen += event.type == "response.output_text.delta"
            if seen == 3:
                break
        await connection.response.cancel()
        event = await connection.recv()
    assert event.type == "response.done"
    assert event.response.status == "cancelled"
    assert event.response.usage is not None
    assert event.response.usage.output_tokens == 3
    assert [call.ending for call in simulator.calls.find("held")] == ["cancelled"]


async def test_leaving_is_noticed(client: openai.AsyncOpenAI, simulator: Running) -> None:
    async with client.realtime.connect(model=MODEL) as connection:
        await ask(connection, "[[sim fault=silence after=3 key=left]]")
        await simulator.calls.until(lambda log: bool(log.find("left")))
    await simulator.calls.until(lambda log: bool(log.find("left", "client_gone")))


@pytest.mark.parametrize("fault", ["cut", "fin"])
async def test_a_broken_connection_raises(client: openai.AsyncOpenAI, fault: str) -> None:
    with pytest.raises(ConnectionClosedError):
        await turn(client, f"[[sim fault={fault} after=3]]")


@pytest.mark.parametrize("fault", ["early_end", "no_done", "empty"])
async def test_a_normal_close_without_response_done_just_ends(client: openai.AsyncOpenAI, fault: str) -> None:
    assert (await turn(client, f"[[sim fault={fault} after=3]]"))[-1].type != "response.done"


async def test_an_error_in_the_turn_fails_the_response(client: openai.AsyncOpenAI) -> None:
    events = await turn(client, "[[sim fault=error_event after=3 code=server_error]]")
    assert events[-2].error.code == "server_error"
    assert events[-1].response.status == "failed"
    assert events[-1].response.status_details.error.code == "server_error"


@pytest.mark.parametrize("how", ["status=429", "fault=retired", "oops=1"])
async def test_a_scripted_refusal_is_an_error_event_and_no_response(client: openai.AsyncOpenAI, how: str) -> None:
    events = await turn(client, f"[[sim {how}]]")
    assert events[-1].type == "error"
    assert not response_began(events)


async def test_garbage_raises(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(ValueError, match="Unterminated"):
        await turn(client, "[[sim fault=garbage after=3 tokens=4]]")


@pytest.mark.parametrize(("defaults", "status"), [({"status": 429}, 429), ({"fault": "html"}, 502)])
async def test_the_defaults_refuse_the_handshake(
    client: openai.AsyncOpenAI, simulator: Running, defaults: dict[str, object], status: int
) -> None:
    simulator.simulator.set_defaults(defaults)
    with pytest.raises(InvalidStatus) as caught:
        await turn(client, "hi")
    assert caught.value.response.status_code == status


async def test_an_unknown_parameter_is_an_error_event(client: openai.AsyncOpenAI) -> None:
    async with client.realtime.connect(model=MODEL) as connection:
        assert (await connection.recv()).type == "session.created"
        session: Any = {"type": "realtime", "temperature": 0.5}
        await connection.session.update(session=session)
        event = await connection.recv()
    assert event.type == "error"
    assert event.error.code == "unknown_parameter"


@pytest.mark.parametrize(("limit", "code"), [(0, "integer_below_min_value"), (4_097, "integer_above_max_value")])
async def test_a_limit_beyond_its_range_is_an_error_event(client: openai.AsyncOpenAI, limit: int, code: str) -> None:
    async with client.realtime.connect(model=MODEL) as connection:
        session: Any = {"type": "realtime", "max_output_tokens": limit}
        await connection.session.update(session=session)
        await connection.recv()
        event: Any = await connection.recv()
    assert (event.type, event.error.code) == ("error", code)


async def test_the_wrong_content_type_is_an_error_event(client: openai.AsyncOpenAI) -> None:
    async with client.realtime.connect(model=MODEL) as connection:
        assert (await connection.recv()).type == "session.created"
        item: Any = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "a"}]}
        await connection.conversation.item.create(item=item)
        event = await connection.recv()
    assert event.type == "error"


async def test_forgetting_text_gives_transcripts(client: openai.AsyncOpenAI) -> None:
    async with client.realtime.connect(model=MODEL) as connection:
        await connection.response.create()
        types = []
        async for event in connection:
            types.append(event.type)
            if event.type == "response.done":
                break
    assert "response.output_audio_transcript.delta" in types


async def test_two_turns_may_share_a_socket(client: openai.AsyncOpenAI) -> None:
    async with client.realtime.connect(model=MODEL) as connection:
        for _ in range(2):
            await connection.response.create()
            async for event in connection:
                if event.type == "response.done":
                    break
