"""Every error of the contract that can occur here: its status, its code, and a message that says what to do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from shared.ledger.api_keys import KeyRules, revoke_key
from shared.money import NanoUsd
from tests.e2e.conftest import NewCaller
from tests.harness.caller import MODEL, THROTTLED_MODEL, Caller, told
from tests.harness.support import eventually_true

USER = {"role": "user", "content": "hi"}


def body(**changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [USER], **changes}


@pytest.mark.parametrize(
    ("document", "named"),
    [
        (body(extra=1), "extra"),
        (body(options={"streem": True}), "streem"),
        (body(options={"max_tokens": 0}), "max_tokens"),
        (body(options={"max_tokens": "8"}), "max_tokens"),
        (body(options={"temperature": 3}), "temperature"),
        (body(options={"top_p": -1}), "top_p"),
        (body(options={"stream": "yes"}), "stream"),
        (body(options={"stop": ["x"] * 17}), "stop"),
        (body(options=None), "options"),
        (body(messages=[]), "messages"),
        (body(messages="hi"), "messages"),
        (body(messages=[{"role": "robot", "content": "hi"}]), "role"),
        (body(messages=[{"role": "user"}]), "content"),
        (body(messages=[{**USER, "name": "x"}]), "name"),
        (body(messages=[{"role": "user", "content": [{"type": "audio"}]}]), "type"),
        (body(model="openai-o1", options={"temperature": 0.5}), "temperature"),
        (body(model="openai-o1", options={"top_p": 0.5}), "top_p"),
        ({"messages": [USER]}, "model"),
        ([], "object"),
    ],
)
async def test_bad_input_is_a_400_that_names_the_field(caller: Caller, document: Any, named: str) -> None:
    reply = await caller.request("POST", "/api/endpoint", json=document)
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")
    assert named in reply.error["message"]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe", b'{"model": "\xed\xa0\x80"}', b'{"a":' * 5000, b'"\\ud800"', b"[" * 100_000],
    ids=["empty", "cut", "not utf-8", "surrogate bytes", "nested", "lone surrogate", "deep"],
)
async def test_what_is_not_json_is_a_400(caller: Caller, data: bytes) -> None:
    reply = await caller.request("POST", "/api/endpoint", data=data, headers={"Content-Type": "application/json"})
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")


WIDE = b"[" + b"[]," * 320_000 + b"0]"
DEEP = b'{"x":' * 600 + b"0" + b"}" * 600
OPENAI_TOOL = b'"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","x":%s}}}]'
ANTHROPIC_TOOL = b'"max_tokens":5,"tools":[{"name":"f","input_schema":{"type":"object","x":%s}}]'


@pytest.mark.parametrize(
    ("path", "field", "value", "words"),
    [
        ("/api/endpoint", b'"options":{"stop":%s}', WIDE, "more than 500000 values"),
        ("/v1/chat/completions", b'"unknown":%s', WIDE, "more than 500000 values"),
        ("/v1/chat/completions", b'"modalities":%s', DEEP, "`modalities` is nested too deeply"),
        ("/v1/chat/completions", OPENAI_TOOL, WIDE, "more than 500000 values"),
        ("/v1/chat/completions", OPENAI_TOOL, DEEP, "`parameters` is nested too deeply"),
        ("/v1/messages", ANTHROPIC_TOOL, WIDE, "more than 500000 values"),
        ("/v1/messages", ANTHROPIC_TOOL, DEEP, "`input_schema` is nested too deeply"),
        ("/v1/messages/count_tokens", ANTHROPIC_TOOL, DEEP, "`input_schema` is nested too deeply"),
    ],
)
async def test_more_values_or_levels_than_a_body_may_have_are_a_400(
    caller: Caller, path: str, field: bytes, value: bytes, words: str
) -> None:
    data = b'{"model":"google-gemini-2.0-flash","messages":[{"role":"user","content":"x"}],%s}' % (field % value)
    reply = await caller.request("POST", path, data=data, headers={"Content-Type": "application/json"})
    assert reply.status == 400
    assert words in reply.json["error"]["message"]


async def test_a_lone_surrogate_in_a_message_is_a_400(caller: Caller) -> None:
    data = b'{"model":"%s","messages":[{"role":"user","content":"\\ud83d"}]}' % MODEL.encode()
    reply = await caller.request("POST", "/api/endpoint", data=data, headers={"Content-Type": "application/json"})
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")


async def test_an_image_for_a_model_that_takes_none_is_a_400(caller: Caller) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [image]}]
    reply = await caller.request("POST", "/api/endpoint", json=body(model="openai-o3-mini", messages=messages))
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")


async def test_an_image_by_address_is_a_400(caller: Caller) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}
    reply = await caller.request("POST", "/api/endpoint", json=body(messages=[{"role": "user", "content": [image]}]))
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"Authorization": "Basic abc"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer sk-something"},
        {"Authorization": "Bearer rml_000000000000_" + "0" * 38},
        {"Authorization": "Bearer rml_é"},
    ],
)
async def test_without_a_good_key_it_is_a_401(caller: Caller, header: dict[str, str]) -> None:
    async with caller.session.post(caller.url("/api/endpoint"), json=body(), headers=header) as response:
        document = await response.json()
    assert (response.status, document["error"]["code"]) == (401, "invalid_api_key")
    assert "Authorization: Bearer" in document["error"]["message"]
    assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_a_key_with_a_changed_secret_is_a_401(caller: Caller) -> None:
    caller.key = caller.key[:-1] + ("a" if caller.key[-1] != "a" else "b")
    reply = await caller.request("POST", "/api/endpoint", json=body())
    assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")


async def test_a_revoked_key_is_refused_within_a_second(caller: Caller, books: asyncpg.Pool) -> None:
    assert (await caller.request("GET", "/api/account")).status == 200
    await revoke_key(books, caller.key.split("_")[1])

    async def refused() -> bool:
        return (await caller.request("GET", "/api/account")).status == 401

    assert await eventually_true(refused, "the revocation is felt", 5)


async def test_an_expired_key_is_a_401(new_caller: NewCaller, books: asyncpg.Pool) -> None:
    caller = await new_caller(rules=KeyRules(expires_at=datetime.now(UTC) + timedelta(hours=1)))
    await books.execute("UPDATE api_keys SET expires_at = now() WHERE account_id = $1", caller.account_id)
    assert (await caller.request("POST", "/api/endpoint", json=body())).status == 401


async def test_a_key_without_the_scope_is_a_403(new_caller: NewCaller) -> None:
    reader = await new_caller(rules=KeyRules(scopes=("read",)))
    reply = await reader.chat(told())
    assert (reply.status, reply.error["code"]) == (403, "permission_denied")
    assert (await reader.request("GET", "/api/account")).status == 200


async def test_a_key_beyond_its_own_limit_is_a_403(new_caller: NewCaller) -> None:
    frugal = await new_caller(rules=KeyRules(limit=NanoUsd(1_000)))
    reply = await frugal.chat(told())
    assert (reply.status, reply.error["code"]) == (403, "permission_denied")


async def test_an_account_without_credit_is_a_402(new_caller: NewCaller) -> None:
    reply = await (await new_caller(credit=0)).chat(told(), max_tokens=1)
    assert (reply.status, reply.error["code"]) == (402, "insufficient_credit")
    assert reply.error["available_usd"] == "0"


async def test_an_unknown_model_is_a_404(caller: Caller) -> None:
    reply = await caller.chat(told(), model="gpt-9")
    assert (reply.status, reply.error["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("POST", "/api/nothing"), ("GET", "/api/models/x")])
async def test_an_unknown_route_is_a_404(caller: Caller, method: str, path: str) -> None:
    reply = await caller.request(method, path)
    assert (reply.status, reply.error["code"]) == (404, "not_found")


async def test_a_wrong_method_is_a_405(caller: Caller) -> None:
    reply = await caller.request("GET", "/api/endpoint")
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")
    assert reply.error["code"] == "invalid_request"


async def test_the_methods_of_a_path_are_its_own_although_it_looks_like_an_id(caller: Caller) -> None:
    reply = await caller.request("PUT", "/v1/responses/input_tokens")
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")
    reply = await caller.request("PUT", "/v1/responses/resp_1")
    assert (reply.status, reply.headers["Allow"]) == (405, "DELETE, GET")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_beyond_the_limit_is_a_413(caller: Caller, chunked: bool) -> None:  # noqa: FBT001
    data = b'{"model": "' + b"x" * 1_000_001

    async def pieces() -> Any:
        for start in range(0, len(data), 65_536):
            yield data[start : start + 65_536]

    headers = {"Content-Type": "application/json"}
    reply = await caller.request("POST", "/api/endpoint", data=pieces() if chunked else data, headers=headers)
    assert (reply.status, reply.error["code"]) == (413, "request_too_large")


async def test_another_content_type_is_a_415(caller: Caller) -> None:
    reply = await caller.request("POST", "/api/endpoint", data=b"{}", headers={"Content-Type": "text/plain"})
    assert (reply.status, reply.error["code"]) == (415, "unsupported_media_type")


async def test_beyond_the_keys_rate_it_is_a_429_with_retry_after(new_caller: NewCaller) -> None:
    limited = await new_caller(rules=KeyRules(rpm=2))
    replies = [await limited.chat(told(tokens=2)) for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 429, 429]
    assert replies[0].headers["x-ratelimit-limit-requests"] == "2"
    assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies[:2]] == ["1", "0"]
    assert replies[2].error["code"] == "rate_limited"
    assert 1 <= int(replies[2].headers["Retry-After"]) <= 30


async def test_a_refusal_by_the_rate_limit_holds_nothing(new_caller: NewCaller, books: asyncpg.Pool) -> None:
    limited = await new_caller(rules=KeyRules(rpm=1))
    paid = int((await limited.chat(told(tokens=2))).json["result"]["price"] * 10**9)
    assert (await limited.chat(told(tokens=2))).status == 429
    assert await limited.settled(books) == 1_000_000_000 - paid


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        ({"status": 500}, 502, "provider_error"),
        ({"status": 400}, 502, "provider_rejected"),
        ({"status": 401}, 502, "provider_error"),
        ({"status": 403}, 502, "provider_error"),
        ({"status": 429, "model": THROTTLED_MODEL}, 503, "provider_busy"),
        ({"fault": "above_limit"}, 502, "provider_error"),
        ({"status": 503}, 503, "provider_busy"),
        ({"status": 404}, 410, "model_retired"),
        ({"fault": "retired"}, 410, "model_retired"),
        ({"status": 400, "code": "context_length_exceeded"}, 400, "context_length_exceeded"),
        ({"status": 429, "code": "insufficient_quota"}, 502, "provider_error"),
        ({"fault": "garbage"}, 502, "provider_error"),
        ({"fault": "empty"}, 502, "provider_error"),
        ({"fault": "html", "status": 502}, 502, "provider_error"),
        ({"fault": "cut"}, 502, "provider_error"),
    ],
)
async def test_a_vendors_failure_is_the_error_of_the_contract(
    caller: Caller, books: asyncpg.Pool, script: dict[str, Any], status: int, code: str
) -> None:
    model = script.get("model", MODEL)
    message = told(**{name: value for name, value in script.items() if name != "model"})
    for reply in await asyncio.gather(*(caller.chat(message, model, stream=stream) for stream in (False, True))):
        assert (reply.status, reply.error["code"]) == (status, code)
        assert ("Retry-After" in reply.headers) == (status == 503)
    assert await caller.settled(books) == 1_000_000_000


async def test_a_model_that_is_gone_is_told_with_what_replaces_it(caller: Caller) -> None:
    reply = await caller.chat(told(fault="retired"), model="openai-o1")
    assert reply.status == 410
    assert "openai-o1 is gone: ask for openai-gpt-5.2, which replaces it" in reply.error["message"]


async def test_a_silent_vendor_is_a_504(caller: Caller) -> None:
    reply = await caller.chat(told(fault="silence"), stream=True)
    assert (reply.status, reply.error["code"]) == (504, "provider_timeout")


async def test_a_vendor_that_no_worker_has_credentials_for_is_a_503(caller: Caller) -> None:
    reply = await caller.chat(told(), model="amazon-nova-lite")
    assert (reply.status, reply.error["code"]) == (503, "provider_not_configured")
    assert "Retry-After" in reply.headers
