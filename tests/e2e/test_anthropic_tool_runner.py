"""The official client's tool runner: it asks for a message thread, which is not there, and goes on without it."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic import beta_async_tool

from tests.e2e.anthropic_client import asked, client_of
from tests.harness.caller import Caller, told


@beta_async_tool
async def weather(city: str = "Rome") -> str:
    """The weather.

    Args:
        city: Where.
    """
    return f"sunny in {city}"


async def test_the_runner_repeats_without_a_thread_and_never_asks_for_one_again(caller: Caller) -> None:
    sent: list[Any] = []

    async def note(request: Any) -> None:
        sent.append(request)

    http = anthropic.DefaultAsyncHttpxClient(event_hooks={"request": [note]})
    async with client_of(caller, http_client=http) as client:
        runner = client.beta.messages.tool_runner(**asked(told(calls=1)), tools=[weather])
        last = await runner.until_done()
    threads = [b'"thread"' in request.content for request in sent]
    assert threads == [True, False, False]
    assert last.stop_reason == "end_turn"
    assert "sunny" in str(last.content)


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "req_1"}, 7])
async def test_a_thread_is_refused_with_anthropics_own_code(caller: Caller, thread: Any) -> None:
    reply = await caller.request("POST", "/v1/messages", json=asked(told(), thread=thread))
    assert reply.status == 400
    assert reply.json["error"]["type"] == "invalid_request_error"
    assert reply.json["error"]["details"] == {
        "error_code": "thread_unsupported_request",
        "unsupported": ["thread"],
    }


async def test_no_thread_is_no_wish(caller: Caller) -> None:
    assert (await caller.request("POST", "/v1/messages", json=asked(told(), thread=None))).status == 200
