"""Errors of `POST /v1/messages`: the classes that the official client makes of them, and how often it asks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from shared.ledger.api_keys import KeyRules
from tests.e2e.anthropic_client import asked, client_of, requests_made
from tests.e2e.conftest import NewCaller
from tests.harness.caller import THROTTLED_MODEL, Caller, expected, told

BROKEN = {"tokens": 40, "pace_ms": 2, "fault": "early_end", "after": 20}


@pytest.fixture
async def client(caller: Caller) -> AsyncIterator[AsyncAnthropic]:
    async with client_of(caller) as one:
        yield one


async def test_what_a_model_lacks_is_refused_by_anthropics_name(client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match=r"`stop_sequences` is not available"):
        await client.messages.create(**asked(told(), stop_sequences=["x"]) | {"model": "openai-gpt-4o-rt-preview"})


async def test_a_stream_that_fails_on_the_way_is_an_error_of_the_client(client: AsyncAnthropic) -> None:
    text = told(**BROKEN)
    async with client.messages.stream(**asked(text)) as stream:
        with pytest.raises(anthropic.APIStatusError) as raised:
            await stream.until_done()
        received = str(stream.current_message_snapshot.content[0].to_dict()["text"])
    assert (raised.value.type, raised.value.error_code) == ("api_error", "provider_error")
    assert received
    assert expected(text).startswith(received)


async def test_a_stream_that_fails_on_the_way_ends_with_an_error_event(caller: Caller) -> None:
    reply = await caller.request("POST", "/v1/messages", json=asked(told(**BROKEN), stream=True))
    last = reply.body.decode().strip().rpartition("\n\n")[2]
    assert last.startswith("event: error\n")
    assert json.loads(last.partition("data: ")[2])["request_id"] == reply.headers["request-id"]
    assert b"message_stop" not in reply.body
    assert reply.complete


@pytest.mark.parametrize(
    ("changes", "kind", "code", "requests"),
    [
        ({"max_tokens": 0}, anthropic.BadRequestError, "invalid_request", 1),
        ({"model": "nobody"}, anthropic.NotFoundError, "model_not_found", 1),
        ({"model": "amazon-nova-lite"}, anthropic.ServiceUnavailableError, "provider_not_configured", 1),
        ({"status": 400}, anthropic.InternalServerError, "provider_rejected", 1),
        ({"status": 404}, anthropic.APIStatusError, "model_retired", 1),
        ({"status": 500}, anthropic.InternalServerError, "provider_error", 2),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_the_clients_own_and_repeated_only_where_it_helps(
    caller: Caller,
    changes: dict[str, Any],
    kind: type[anthropic.APIStatusError],
    code: str,
    requests: int,
    stream: bool,  # noqa: FBT001
) -> None:
    script = {name: value for name, value in changes.items() if name == "status"}
    fields = {name: value for name, value in changes.items() if name not in script}
    async with client_of(caller, max_retries=1) as client:
        with pytest.raises(kind) as raised:
            await client.messages.create(**asked(told(**script), **fields), stream=stream)
    assert (raised.value.error_code, requests_made(raised.value)) == (code, requests)
    assert raised.value.request_id == raised.value.response.headers["x-request-id"]


async def test_a_failure_behind_pings_has_its_type_in_the_event(client: AsyncAnthropic) -> None:
    """The status is 200 by then, so that the client cannot choose a class by it."""
    async with client.messages.stream(**asked(told(fault="silence"))) as stream:
        with pytest.raises(anthropic.APIStatusError) as raised:
            await stream.until_done()
    assert (raised.value.status_code, raised.value.type) == (200, "timeout_error")
    assert raised.value.error_code == "provider_timeout"


async def test_a_busy_vendor_is_worth_another_try(caller: Caller) -> None:
    reply = await caller.request("POST", "/v1/messages", json=asked(told(status=429)) | {"model": THROTTLED_MODEL})
    assert (reply.status, reply.headers["x-should-retry"]) == (503, "true")
    assert reply.json["error"]["type"] == "overloaded_error"
    assert int(reply.headers["Retry-After"]) * 1000 == int(reply.headers["retry-after-ms"])


async def test_a_wrong_key_is_an_authentication_error(caller: Caller) -> None:
    async with AsyncAnthropic(base_url=caller.url(""), api_key="rml_something") as client:
        with pytest.raises(anthropic.AuthenticationError) as raised:
            await client.messages.create(**asked(told()))
    assert (raised.value.type, requests_made(raised.value)) == ("authentication_error", 1)


async def test_a_missing_scope_is_a_permission_error(new_caller: NewCaller) -> None:
    reader = await new_caller(rules=KeyRules(scopes=("read",)))
    async with client_of(reader) as client:
        with pytest.raises(anthropic.PermissionDeniedError):
            await client.messages.create(**asked(told()))


async def test_a_used_up_rate_is_a_rate_limit_error_that_says_when(new_caller: NewCaller) -> None:
    limited = await new_caller(rules=KeyRules(rpm=1))
    async with client_of(limited, max_retries=0) as client:
        await client.messages.create(**asked(told()))
        with pytest.raises(anthropic.RateLimitError) as raised:
            await client.messages.create(**asked(told()))
    assert raised.value.type == "rate_limit_error"
    assert int(raised.value.response.headers["retry-after"]) >= 1


async def test_missing_credit_is_a_billing_error_that_is_not_repeated(new_caller: NewCaller) -> None:
    async with client_of(await new_caller(credit=1_000)) as client:
        with pytest.raises(anthropic.APIStatusError) as raised:
            await client.messages.create(**asked(told()))
    assert (raised.value.status_code, raised.value.type) == (402, "billing_error")
    assert raised.value.body["error"]["details"]["available_usd"] == "0.000001"  # type: ignore[index]
    assert requests_made(raised.value) == 1


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/v1/messages", 405, "invalid_request_error"),
        ("POST", "/v1/messages/elsewhere", 404, "not_found_error"),
    ],
)
async def test_everything_below_the_path_answers_in_anthropics_form(
    caller: Caller, method: str, path: str, status: int, kind: str
) -> None:
    reply = await caller.request(method, path)
    assert (reply.status, reply.json["type"], reply.json["error"]["type"]) == (status, "error", kind)
    assert reply.json["request_id"] == reply.headers["request-id"]
