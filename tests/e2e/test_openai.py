"""OpenAI's API as raw HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.simulator.answer import prompt_tokens
from shared.catalogue.models import load_catalogue
from shared.ids import created_at
from tests.e2e.openai_client import asking
from tests.harness.caller import MODEL, Caller, Reply, expected, told

PATH = "/v1/chat/completions"


def error_of(reply: Reply) -> dict[str, Any]:
    error: dict[str, Any] = reply.json["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert error["request_id"] == reply.headers["x-request-id"]
    return error


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
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
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


OPEN = {"type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"messages": [{"role": "tool", "tool_call_id": "x", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"max_completion_tokens": 0}, None),
        ({"model": "openai-o1", "temperature": 0.5}, None),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": OPEN}}},
            None,
        ),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array"}}}}, None),
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
    assert one == {
        "type": "model",
        "id": MODEL,
        "display_name": MODEL,
        "created_at": "1970-01-01T00:00:00Z",
        "max_input_tokens": 128_000,
        "max_tokens": 16_384,
        "lifecycle": "deprecated",
        "retires_at": "2027-01-14T00:00:00Z",
    }
