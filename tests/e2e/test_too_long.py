"""A prompt that is too long, in the words by which each API's clients know it and shorten it."""

from __future__ import annotations

import json
import re
from typing import Any

import anthropic
import openai
import pytest

from deploy.simulator.answer import prompt_tokens
from tests.e2e import anthropic_client, openai_client
from tests.e2e.test_openai_batches import content, create, line, send, until_ended
from tests.harness.caller import Caller, told

LONG = "x" * 600_000
WINDOW = 128_000
OPENAI = re.compile(
    r"This model's maximum context length is (\d+) tokens\. However, your messages resulted in (\d+) tokens"
)
ANTHROPIC = re.compile(r"prompt is too long[^0-9]*(\d+)\s*tokens?\s*>\s*(\d+)", re.IGNORECASE)
"""As Claude Code reads it."""
UNCOUNTED = {"status": 400, "code": "context_length_exceeded"}
"""What the vendor says then has no numbers."""


def numbers(form: re.Pattern[str], text: str) -> tuple[int, ...]:
    found = form.search(text)
    assert found, text
    return tuple(map(int, found.groups()))


async def whole(answer: Any) -> None:
    """Of a stream, all: on a busy machine its status may be on its way before the error is."""
    if hasattr(answer, "__aiter__"):
        async for _ in answer:
            pass


@pytest.mark.parametrize("stream", [False, True])
async def test_the_openai_client_is_told_in_openais_words_once(caller: Caller, stream: bool) -> None:  # noqa: FBT001
    async with openai_client.client_of(caller) as (client, sent):
        with pytest.raises(openai.APIError if stream else openai.BadRequestError) as raised:
            await whole(await client.chat.completions.create(**openai_client.asking(LONG), stream=stream))
    assert raised.value.code == "context_length_exceeded"
    assert numbers(OPENAI, raised.value.message) == (WINDOW, prompt_tokens([LONG]))
    assert len(sent) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_the_anthropic_client_is_told_in_anthropics_words_once(caller: Caller, stream: bool) -> None:  # noqa: FBT001
    async with anthropic_client.client_of(caller) as client:
        with pytest.raises(anthropic.APIStatusError if stream else anthropic.BadRequestError) as raised:
            await whole(await client.messages.create(**anthropic_client.asked(LONG), stream=stream))
    assert (raised.value.type, raised.value.error_code) == ("invalid_request_error", "context_length_exceeded")
    assert numbers(ANTHROPIC, raised.value.message) == (prompt_tokens([LONG]), WINDOW)
    assert anthropic_client.requests_made(raised.value) == 1


async def test_an_error_event_says_the_same(caller: Caller) -> None:
    """Behind pings, so that the status is 200 already."""
    text = told(fault="error_event", after=0, **UNCOUNTED | {"first_ms": 1_000})
    async with (
        anthropic_client.client_of(caller) as client,
        client.messages.stream(**anthropic_client.asked(text)) as stream,
    ):
        with pytest.raises(anthropic.APIStatusError) as raised:
            await stream.until_done()
    assert raised.value.status_code == 200
    tokens, most = numbers(ANTHROPIC, raised.value.message)
    assert tokens > most == WINDOW
    async with openai_client.client_of(caller) as (other, _):
        with pytest.raises(openai.APIError, match=OPENAI) as event:
            await whole(await other.chat.completions.create(**openai_client.asking(text), stream=True))
    assert event.value.code == "context_length_exceeded"


async def test_the_history_says_it_and_that_the_count_is_an_estimate(caller: Caller) -> None:
    reply = await caller.chat(told(**UNCOUNTED))
    view = await caller.request("GET", f"/api/requests/{reply.headers['x-request-id']}")
    shown: dict[str, Any] = view.json["result"]["error"]
    assert shown["code"] == reply.error["code"] == "context_length_exceeded"
    assert shown["message"] == reply.error["message"]
    assert "an estimate" in shown["message"]
    most, tokens = numbers(OPENAI, shown["message"])
    assert tokens > most == WINDOW


@pytest.mark.parametrize(("endpoint", "form"), [("/v1/chat/completions", OPENAI), ("/v1/messages", ANTHROPIC)])
async def test_a_line_of_a_batch_says_it_as_its_api_does(caller: Caller, endpoint: str, form: re.Pattern[str]) -> None:
    one = line("a", told(**UNCOUNTED), endpoint, max_tokens=10)
    batch = (await create(caller, (await send(caller, [one]))["id"], endpoint)).json
    ended = await until_ended(caller, batch["id"])
    (failed,) = await content(caller, ended["error_file_id"])
    assert failed["response"]["status_code"] == 400
    assert WINDOW in numbers(form, json.dumps(failed["response"]["body"]["error"]["message"]))
