"""OpenAI's API, as raw HTTP and with the official client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncpg
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from deploy.simulator.answer import prompt_tokens
from shared.catalogue import load_catalogue
from shared.credentials import KeyRules
from shared.ids import created_at
from tests.e2e.caller import MODEL, Caller, Reply, cost_nano, expected, told
from tests.e2e.conftest import NewCaller

PATH = "/v1/chat/completions"


def asking(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}


def error_of(reply: Reply) -> dict[str, Any]:
    error: dict[str, Any] = reply.json["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert error["request_id"] == reply.headers["x-request-id"]
    return error


class Counted(NamedTuple):
    """A client, and what it has sent so far."""

    client: AsyncOpenAI
    sent: list[str]


@asynccontextmanager
async def client_of(caller: Caller, **options: Any) -> AsyncIterator[Counted]:
    sent: list[str] = []

    async def note(request: Any) -> None:
        sent.append(str(request.url))

    http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [note]})
    fields = {"api_key": caller.key, "base_url": caller.url("/v1"), "http_client": http, **options}
    async with AsyncOpenAI(**fields) as client:
        yield Counted(client, sent)


async def until_refused(client: AsyncOpenAI) -> None:
    for _ in range(120):
        await client.chat.completions.create(**asking(told(tokens=1)))


async def read_into(texts: list[str], stream: Any) -> None:
    async for chunk in stream:
        texts += [chunk.choices[0].delta.content or ""]  # at once: what came before a failure counts


@pytest.fixture
async def client(caller: Caller) -> AsyncIterator[AsyncOpenAI]:
    async with client_of(caller) as counted:
        yield counted.client


async def test_a_completion_is_openais(caller: Caller) -> None:
    message = told(tokens=12, cached=3)
    reply = await caller.request("POST", PATH, json=asking(message))
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("application/json")
    document = reply.json
    assert document["id"] == reply.headers["x-request-id"]
    assert document["created"] == int(created_at(document["id"]).timestamp())
    assert (document["object"], document["model"]) == ("chat.completion", MODEL)
    assert document["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": expected(message), "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert document["usage"] == {
        "prompt_tokens": prompt_tokens([message]),
        "completion_tokens": 12,
        "total_tokens": prompt_tokens([message]) + 12,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


async def test_a_stream_is_openais(caller: Caller) -> None:
    message = told(tokens=20, pace_ms=2)
    body = asking(message, stream=True, stream_options={"include_usage": True})
    reply = await caller.request("POST", PATH, json=body)
    assert reply.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Accel-Buffering"] == "no"
    assert reply.complete
    *blocks, done, rest = [block for block in reply.body.split(b"\n\n") if not block.startswith(b":")]
    assert (done, rest) == (b"data: [DONE]", b"")
    chunks = [json.loads(block.removeprefix(b"data: ")) for block in blocks]
    assert {chunk["id"] for chunk in chunks} == {reply.headers["x-request-id"]}
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    texts = [chunk["choices"][0]["delta"]["content"] for chunk in chunks[1:-2]]
    assert "".join(texts) == expected(message)
    assert chunks[-2]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 20
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


async def test_a_stream_is_kept_alive_before_the_first_token(caller: Caller) -> None:
    reply = await caller.request("POST", PATH, json=asking(told(first_ms=1200), stream=True))
    assert reply.body.startswith(b": keep-alive\n\n")
    assert reply.body.endswith(b"data: [DONE]\n\n")


async def test_a_failure_on_the_way_ends_the_stream_without_done(caller: Caller) -> None:
    reply = await caller.request("POST", PATH, json=asking(told(tokens=20, fault="cut", after=5), stream=True))
    assert reply.status == 200
    assert b"[DONE]" not in reply.body
    error = json.loads(reply.body.split(b"\n\n")[-2].removeprefix(b"data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", "provider_error")
    assert float(error["charged_usd"]) > 0


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"streem": 1}, None),
        ({"max_completion_tokens": 16_385}, None),
        ({"model": "openai-o1", "temperature": 1}, None),
    ],
)
async def test_bad_input_is_a_400(caller: Caller, fields: dict[str, Any], param: str | None) -> None:
    reply = await caller.request("POST", PATH, json=asking("hi") | fields)
    error = error_of(reply)
    assert (reply.status, error["type"], error["code"]) == (400, "invalid_request_error", "invalid_request")
    assert error["param"] == param
    assert (param or list(fields)[-1]) in error["message"]
    assert reply.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", PATH, 405, "invalid_request"),
        ("POST", "/v1/models", 405, "invalid_request"),
    ],
)
async def test_what_is_not_there_is_refused_in_openais_form(
    caller: Caller, method: str, path: str, status: int, code: str
) -> None:
    reply = await caller.request(method, path)
    assert (reply.status, error_of(reply)["code"]) == (status, code)


async def test_large_and_foreign_bodies_are_refused_in_openais_form(caller: Caller) -> None:
    large = await caller.request("POST", PATH, json=asking("x" * 1_000_001))
    assert (large.status, error_of(large)["code"]) == (413, "request_too_large")
    foreign = await caller.request("POST", PATH, data=b"{}", headers={"Content-Type": "text/plain"})
    assert (foreign.status, error_of(foreign)["code"]) == (415, "unsupported_media_type")


async def test_a_key_may_come_as_x_api_key_and_bearer_wins(caller: Caller) -> None:
    async def status(headers: dict[str, str]) -> int:
        async with caller.session.get(caller.url("/v1/models"), headers=headers) as response:
            return response.status

    assert await status({"x-api-key": caller.key}) == 200
    assert await status({"x-api-key": "rml_no"}) == 401
    assert await status({"x-api-key": "rml_no", **caller.authorization}) == 200
    assert await status({"x-api-key": caller.key, "Authorization": "Bearer rml_no"}) == 401


async def test_without_a_key_it_is_a_401_in_openais_form(caller: Caller) -> None:
    async with caller.session.post(caller.url(PATH), json=asking("hi")) as response:
        error = (await response.json())["error"]
    assert (response.status, error["type"], error["code"]) == (401, "authentication_error", "invalid_api_key")


async def test_models_are_listed_in_anthropics_form_for_its_clients(caller: Caller) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    listing = (await caller.request("GET", "/v1/models", headers=headers)).json
    ids = [model["id"] for model in listing["data"]]
    assert len(ids) == len(load_catalogue())
    assert (listing["has_more"], listing["first_id"], listing["last_id"]) == (False, ids[0], ids[-1])
    one = (await caller.request("GET", f"/v1/models/{MODEL}", headers=headers)).json
    assert one == {"type": "model", "id": MODEL, "display_name": MODEL, "created_at": "1970-01-01T00:00:00Z"}


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
