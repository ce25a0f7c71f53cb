"""OpenAI's API with the official client: what it gets, what it raises, and how often it asks again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from shared.catalogue.models import load_catalogue
from shared.ledger.api_keys import KeyRules
from tests.e2e.conftest import NewCaller
from tests.e2e.openai_client import asking, client_of
from tests.harness.caller import MODEL, Caller, cost_nano, expected, told


@pytest.fixture
async def client(caller: Caller) -> AsyncIterator[AsyncOpenAI]:
    async with client_of(caller) as counted:
        yield counted.client


async def until_refused(client: AsyncOpenAI) -> None:
    for _ in range(120):
        await client.chat.completions.create(**asking(told(tokens=1)))


async def read_into(texts: list[str], stream: Any) -> None:
    async for chunk in stream:
        texts += [chunk.choices[0].delta.content or ""]  # at once: what came before a failure counts


async def test_the_client_gets_a_completion(client: AsyncOpenAI) -> None:
    message = told(tokens=9)
    completion = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": message}], max_completion_tokens=50, seed=7, user="me"
    )
    assert completion.choices[0].message.content == expected(message)
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 9
    assert completion._request_id == completion.id


async def test_the_synchronous_client_gets_a_completion(caller: Caller) -> None:
    """In a thread of its own, as programs without asyncio do."""
    message = told(tokens=4)

    def ask() -> str | None:
        with OpenAI(api_key=caller.key, base_url=caller.url("/v1")) as client:
            messages: Any = [{"role": "user", "content": message}]
            return client.chat.completions.create(model=MODEL, messages=messages).choices[0].message.content

    assert await asyncio.to_thread(ask) == expected(message)


async def test_the_client_can_send_back_what_it_got(client: AsyncOpenAI) -> None:
    """The whole message, with all the fields that the client has for it."""
    messages: Any = [{"role": "user", "content": told(tokens=3)}]
    first = await client.chat.completions.create(model=MODEL, messages=messages)
    for answer in (first.choices[0].message, first.choices[0].message.model_dump()):
        again: Any = [*messages, answer, {"role": "user", "content": told(tokens=2)}]
        second = await client.chat.completions.create(model=MODEL, messages=again)
        assert second.usage is not None
        assert second.usage.completion_tokens == 2


async def test_the_client_reads_a_stream_with_its_usage(client: AsyncOpenAI) -> None:
    message = told(tokens=40, unicode=1, surrogate=1)
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": message}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == expected(message)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 40


async def test_the_clients_stream_helper_puts_the_answer_together(client: AsyncOpenAI) -> None:
    message = told(tokens=10)
    async with client.chat.completions.stream(model=MODEL, messages=[{"role": "user", "content": message}]) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.content == expected(message)


async def test_the_client_shows_headers(client: AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": told(tokens=2)}], max_tokens=20
    )
    assert raw.headers["x-output-limit"] == "20"
    assert raw.request_id == raw.parse().id


async def test_the_client_lists_and_finds_models(client: AsyncOpenAI) -> None:
    models = [model async for model in client.models.list()]
    assert [model.id for model in models] == [model.name for model in load_catalogue()]
    named = await client.models.retrieve("anthropic-claude-3-5-sonnet-v2")
    assert (named.id, named.object, named.owned_by) == ("anthropic-claude-3-5-sonnet-v2", "model", "Anthropic")
    assert (await client.models.retrieve("a21-jamba-1.5-mini")).id == "a21-jamba-1.5-mini"


@pytest.mark.parametrize(
    ("script", "fields", "error", "code", "requests"),
    [
        ({}, {"model": "gpt-9"}, openai.NotFoundError, "model_not_found", 1),
        ({}, {"temperature": 9}, openai.BadRequestError, "invalid_request", 1),
        ({"status": 400}, {}, openai.InternalServerError, "provider_rejected", 1),
        ({"status": 404}, {}, openai.APIStatusError, "model_retired", 1),
        ({}, {"model": "amazon-nova-lite"}, openai.InternalServerError, "provider_not_configured", 1),
        ({"status": 500}, {}, openai.InternalServerError, "provider_error", 2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_the_client_raises_what_it_should_and_asks_again_only_where_it_helps(
    caller: Caller,
    script: dict[str, Any],
    fields: dict[str, Any],
    error: type[openai.APIStatusError],
    code: str,
    requests: int,
) -> None:
    async with client_of(caller, max_retries=1) as (client, sent):
        with pytest.raises(error) as raised:
            await client.chat.completions.create(**asking(told(**script), **fields) | fields)
    assert raised.value.code == code
    assert raised.value.request_id is not None
    assert len(sent) == requests


async def test_a_wrong_key_raises_authentication_error_at_once(caller: Caller) -> None:
    async with client_of(caller, api_key="rml_wrong") as (client, sent):
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(**asking(told()))
    assert len(sent) == 1


async def test_a_missing_scope_raises_permission_denied_at_once(new_caller: NewCaller) -> None:
    async with client_of(await new_caller(rules=KeyRules(scopes=("read",)))) as (client, sent):
        with pytest.raises(openai.PermissionDeniedError):
            await client.chat.completions.create(**asking(told()))
    assert len(sent) == 1


async def test_no_credit_raises_a_402_at_once_that_says_what_is_needed(new_caller: NewCaller) -> None:
    async with client_of(await new_caller(credit=0)) as (client, sent):
        with pytest.raises(openai.APIStatusError) as raised:
            await client.chat.completions.create(**asking(told()))
    error: Any = raised.value.body
    assert (raised.value.status_code, error["type"], error["code"]) == (
        402,
        "insufficient_quota",
        "insufficient_credit",
    )
    assert error["available_usd"] == "0"
    assert len(sent) == 1


async def test_beyond_the_rate_the_client_waits_as_long_as_it_is_told(new_caller: NewCaller) -> None:
    """At 60 a minute the next request is possible within a second, and the client is told so."""
    async with client_of(await new_caller(rules=KeyRules(rpm=60)), max_retries=0) as (client, _):
        with pytest.raises(openai.RateLimitError) as raised:
            await until_refused(client)
        headers = raised.value.response.headers
        assert headers["x-should-retry"] == "true"
        assert 0 < int(headers["retry-after-ms"]) <= 1_000
        await client.with_options(max_retries=2).chat.completions.create(**asking(told(tokens=1)))


async def test_a_failure_on_the_way_raises_and_is_not_asked_again(caller: Caller) -> None:
    async with client_of(caller) as (client, sent):
        stream = await client.chat.completions.create(**asking(told(tokens=20, fault="cut", after=5), stream=True))
        texts: list[str] = []
        with pytest.raises(openai.APIError, match="vendor") as raised:
            await read_into(texts, stream)
    assert raised.value.code == "provider_error"
    assert "".join(texts).startswith("[simulated")
    assert len(sent) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeat_with_the_same_idempotency_key_is_the_same_request_charged_once(
    caller: Caller,
    books: asyncpg.Pool,
    stream: bool,  # noqa: FBT001
) -> None:
    message = told(tokens=6)
    headers = {"Idempotency-Key": f"order-{stream}"}
    ids = []
    async with client_of(caller) as (client, _):
        for _ in range(2):
            answer = await client.chat.completions.create(**asking(message, stream=stream), extra_headers=headers)
            ids.append({chunk.id async for chunk in answer}.pop() if stream else answer.id)
        assert ids[0] == ids[1]
        with pytest.raises(openai.UnprocessableEntityError) as raised:
            await client.chat.completions.create(**asking("another"), extra_headers=headers)
    assert raised.value.code == "idempotency_mismatch"
    assert await caller.settled(books) == 1_000_000_000 - cost_nano(message, 6)


async def test_metadata_is_kept_with_the_request(client: AsyncOpenAI, caller: Caller, books: asyncpg.Pool) -> None:
    completion = await client.chat.completions.create(**asking(told(tokens=2), metadata={"order": "7"}))
    await caller.settled(books)
    kept = await books.fetchval("SELECT metadata FROM requests WHERE id = $1", completion.id)
    assert json.loads(kept) == {"order": "7"}
