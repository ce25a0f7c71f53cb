"""`models`: others to fall back on, when the one that was asked for cannot be had, and only then."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from shared.catalogue.models import load_catalogue
from shared.ids import new_id
from shared.ledger.api_keys import KeyRules
from shared.money import Usage
from tests.e2e import test_batches as batches
from tests.e2e import test_openai_batches as openai_batches
from tests.e2e.conftest import NewCaller
from tests.harness.caller import Caller, Reply, told
from tests.harness.support import eventually_true

FIRST, SECOND, THIRD = "openai-gpt-4o-mini", "openai-gpt-4o", "openai-gpt-5.2"
CALLS = 2
"""Of one model: `VENDOR_RETRIES_MAX` is 1."""
RECORD = b"\x1e"
KEPT_ALIVE = (b": keep-alive", b"event: ping")
SURFACES = ("native", "chat", "messages", "responses")


def failing(calls: int = CALLS, **script: Any) -> str:
    """The first calls of it are refused, whatever the model, and the next one is answered."""
    return told(key=new_id("sim"), times=calls, **({"status": 503, "tokens": 20} | script))


async def ask(caller: Caller, surface: str, message: str, model: str, models: list[str], **more: Any) -> Reply:
    said = [{"role": "user", "content": message}]
    if surface == "native":
        return await caller.chat(message, model, models=models, **more)
    body: dict[str, Any] = {"model": model, "models": models, "messages": said, **more}
    if surface == "responses":
        body = {"model": model, "models": models, "input": message, **more}
    if surface == "messages":
        body |= {"max_tokens": 1_000}
    path = {"chat": "chat/completions", "messages": "messages", "responses": "responses"}[surface]
    return await caller.request("POST", f"/v1/{path}", json=body)


async def receipt(caller: Caller, reply: Reply) -> dict[str, Any]:
    """Of the request, once it is settled."""

    async def ended() -> dict[str, Any] | None:
        view = (await caller.request("GET", f"/api/requests/{reply.headers['x-request-id']}")).json["result"]
        return view if view["ended_at"] else None

    return await eventually_true(ended, "the request is settled")


def outcomes(view: dict[str, Any]) -> list[tuple[str, str, int]]:
    return [(one["model"], one["outcome"], one["attempts"]) for one in view["receipt"]["chain"]]


def price_of(model: str, view: dict[str, Any]) -> Decimal:
    """What the tokens of a request cost with that model, at its list price."""
    usage = Usage(view["receipt"]["tokens_input"], view["receipt"]["tokens_output"])
    return Decimal(load_catalogue().find(model).price.cost(usage)) / 10**9


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_model_that_cannot_be_had_is_replaced_by_the_next_one(caller: Caller, surface: str) -> None:
    reply = await ask(caller, surface, failing(), FIRST, [SECOND])
    assert reply.status == 200, reply.body
    answer = reply.json["result"] if surface == "native" else reply.json
    assert (answer["model"], reply.headers["x-model-served"]) == (SECOND, SECOND)
    view = await receipt(caller, reply)
    assert view["model"] == SECOND
    assert outcomes(view) == [(FIRST, "provider_busy", CALLS), (SECOND, "succeeded", 1)]
    assert Decimal(view["charged_usd"]) == price_of(SECOND, view) == Decimal(view["price"])


@pytest.mark.parametrize("surface", SURFACES)
async def test_a_stream_says_which_model_served_from_its_beginning_to_its_end(caller: Caller, surface: str) -> None:
    options = {"stats": True} if surface == "native" else {}
    reply = await ask(caller, surface, failing(1, status=401), FIRST, [SECOND], stream=True, **options)
    assert reply.status == 200
    if not reply.body.startswith(KEPT_ALIVE):  # the headers had gone before it was known
        assert reply.headers["x-model-served"] == SECOND
    if surface == "native":
        assert json.loads(reply.body.partition(RECORD)[2])["model"] == SECOND
        return
    events = [json.loads(line[6:]) for line in reply.body.splitlines() if line.startswith(b"data: {")]
    events = [event for event in events if event.get("type") != "ping"]
    named = [_model_in(event) for event in events if _model_in(event)]
    assert set(named) == {SECOND}
    assert _model_in(events[0]) == SECOND
    ends = [event for event in events[-2:] if _model_in(event)]
    assert ends, events[-2:]


def _model_in(event: dict[str, Any]) -> str | None:
    found = event.get("model") or event.get("response", {}).get("model") or event.get("message", {}).get("model")
    return found if isinstance(found, str) else None


async def test_server_sent_events_say_the_model_in_done_and_can_be_read_again(caller: Caller) -> None:
    message, sse = failing(), {"Accept": "text/event-stream"}
    reply = await caller.chat(message, FIRST, sse, models=[SECOND], stream=True)
    assert json.loads(reply.body.split(b"data: ")[-1])["model"] == SECOND
    path = f"/api/requests/{reply.headers['x-request-id']}/stream"
    again = await caller.request("GET", path, headers=sse)
    assert again.body == reply.body.replace(b": keep-alive\n\n", b"")  # a busy machine may need some


async def test_what_serves_at_once_says_so(caller: Caller) -> None:
    reply = await caller.chat(told(tokens=9), FIRST, models=[SECOND, THIRD])
    assert (reply.headers["x-model-served"], reply.json["result"]["model"]) == (FIRST, FIRST)
    assert outcomes(await receipt(caller, reply)) == [
        *((FIRST, "succeeded", 1), (SECOND, "not_tried", 0), (THIRD, "not_tried", 0))
    ]


async def test_nothing_changes_for_who_names_no_other_model(caller: Caller) -> None:
    reply = await caller.chat(failing(), FIRST)
    assert (reply.status, reply.error["code"]) == (503, "provider_busy")
    assert "x-model-served" not in (await caller.chat(told(), FIRST)).headers
    assert (await receipt(caller, reply))["receipt"]["chain"] is None


async def test_each_model_of_the_chain_has_all_its_calls(caller: Caller) -> None:
    reply = await caller.chat(failing(2 * CALLS), FIRST, models=[SECOND, THIRD])
    assert reply.json["result"]["model"] == THIRD
    assert outcomes(await receipt(caller, reply)) == [
        (FIRST, "provider_busy", CALLS),
        (SECOND, "provider_busy", CALLS),
        (THIRD, "succeeded", 1),
    ]


async def test_when_all_fail_the_last_error_is_told_with_those_before_it(caller: Caller, books: asyncpg.Pool) -> None:
    reply = await caller.chat(failing(99), FIRST, models=[SECOND])
    assert (reply.status, reply.error["code"]) == (503, "provider_busy")
    assert f"{FIRST} (provider_busy)" in reply.error["message"]
    assert SECOND in reply.error["message"]
    assert await caller.settled(books) == 1_000_000_000
    assert outcomes(await receipt(caller, reply)) == [
        (FIRST, "provider_busy", CALLS),
        (SECOND, "provider_busy", CALLS),
    ]


@pytest.mark.parametrize(
    ("script", "calls"),
    [
        ({"status": 401}, 1),
        ({"fault": "retired", "status": 404}, 1),
        ({"status": 429, "code": "insufficient_quota"}, 1),
        ({"status": 500}, CALLS),
        ({"status": 0, "fault": "early_end", "after": 0}, CALLS),
    ],
)
async def test_refused_credentials_used_up_credit_and_a_model_that_is_gone_are_fallen_back_from(
    caller: Caller, script: dict[str, Any], calls: int
) -> None:
    reply = await caller.chat(failing(calls, **script), FIRST, models=[SECOND])
    assert (reply.status, reply.json.get("result", {}).get("model")) == (200, SECOND), reply.body


async def test_a_vendor_that_falls_silent_before_its_first_token_is_fallen_back_from(caller: Caller) -> None:
    message = failing(1, status=0, fault="silence", after=0)
    reply = await caller.chat(message, FIRST, models=[SECOND], stream=True)
    assert (reply.status, reply.headers["x-model-served"]) == (200, SECOND)
    assert outcomes(await receipt(caller, reply))[0] == (FIRST, "provider_timeout", 1)


async def test_a_filter_and_what_the_caller_did_are_not_fallen_back_from(caller: Caller) -> None:
    blocked = await caller.chat(failing(1, status=0, fault="blocked"), FIRST, models=[SECOND])
    assert blocked.status in {400, 502}
    view = await receipt(caller, blocked)
    assert outcomes(view)[1] == (SECOND, "not_tried", 0)


async def test_once_bytes_were_relayed_no_other_model_goes_on(caller: Caller) -> None:
    message = failing(1, status=0, fault="cut", after=5, pace_ms=20)
    reply = await caller.chat(message, FIRST, models=[SECOND], stream=True)
    assert not reply.complete
    assert reply.headers["x-model-served"] == FIRST
    view = await receipt(caller, reply)
    assert (view["model"], view["state"]) == (FIRST, "failed")
    assert outcomes(view)[1] == (SECOND, "not_tried", 0)


async def test_what_is_wrong_with_a_chain_is_a_400_that_says_what_to_do(caller: Caller) -> None:
    async def refused(models: list[str], **options: Any) -> str:
        reply = await caller.chat(told(), FIRST, models=models, **options)
        assert (reply.status, reply.error["code"]) == (400, "invalid_request")
        return reply.error["message"]

    assert "`options.models[0]`" in await refused(["no-such-model"])
    assert "at most 4" in await refused([SECOND, THIRD, "openai-o1", "openai-o3-mini", "openai-gpt-5.1"])
    assert "already" in await refused(["gpt-4o-mini"])
    assert "already" in await refused([SECOND, SECOND])
    effort = await refused([SECOND], reasoning_effort="xhigh")
    assert "`model`" in effort
    assert "(openai-gpt-4o-mini)" in effort
    tier = await refused(["gpt-4o"], service_tier="flex")
    assert "flex" in tier


async def test_aliases_lead_to_the_models_of_a_chain(caller: Caller) -> None:
    reply = await ask(caller, "chat", failing(), "gpt-4o-mini", ["gpt-4o"])
    assert reply.json["model"] == SECOND


async def test_a_chain_is_held_for_its_dearest_model_and_charged_for_the_one_that_served(
    new_caller: NewCaller, books: asyncpg.Pool
) -> None:
    caller = await new_caller()
    message = failing()
    dear, cheap = load_catalogue().find("openai-o1"), load_catalogue().find(FIRST)
    reply = await caller.chat(message, FIRST, models=["openai-o1"], max_tokens=500)
    view = await receipt(caller, reply)
    row = await books.fetchrow("SELECT * FROM requests WHERE id = $1", view["id"])
    assert row is not None
    assert row["hold_nano"] == max(one.price.hold(row["input_bound"], 500) for one in (dear, cheap))
    assert view["model"] == dear.name
    assert Decimal(view["charged_usd"]) == price_of(dear.name, view)
    assert await caller.settled(books) == 1_000_000_000 - row["charged_nano"]


async def test_idempotent_repeats_replay_what_the_fallback_answered(caller: Caller, books: asyncpg.Pool) -> None:
    headers, message = {"Idempotency-Key": new_id("once")}, failing()
    first, other = await asyncio.gather(*(caller.chat(message, FIRST, headers, models=[SECOND]) for _ in range(2)))
    again = await caller.chat(message, FIRST, headers, models=[SECOND])
    for reply in (first, other, again):
        assert (reply.status, reply.headers["x-model-served"]) == (200, SECOND)
        assert reply.json == first.json
    spent = 1_000_000_000 - await caller.settled(books)
    assert Decimal(spent) / 10**9 == first.json["result"]["price"]
    without = await caller.chat(message, FIRST, headers)
    assert without.status == 422


async def test_a_background_response_falls_back_too(caller: Caller) -> None:
    queued = await ask(caller, "responses", failing(), FIRST, [SECOND], background=True)
    assert queued.json["status"] == "queued"
    path = f"/v1/responses/{queued.json['id']}"

    async def completed() -> dict[str, Any] | None:
        response = (await caller.request("GET", path)).json
        return response if response["status"] == "completed" else None

    assert (await eventually_true(completed, "the response is completed"))["model"] == SECOND


async def test_a_strict_keys_wish_must_be_granted_by_each_model(new_caller: NewCaller) -> None:
    strict = await new_caller(rules=KeyRules(strict=True))
    reply = await ask(strict, "chat", told(), FIRST, ["openai-o1"], frequency_penalty=0.5)
    assert reply.status == 400
    assert "models[0]" in reply.json["error"]["message"]
    lenient = await new_caller()
    reply = await ask(lenient, "chat", failing(), FIRST, ["openai-o1"], frequency_penalty=0.5)
    assert reply.headers["x-ignored"] == "frequency_penalty"
    assert "x-ignored" not in (await ask(lenient, "chat", told(), FIRST, ["openai-o1"], frequency_penalty=0.5)).headers


async def test_usage_is_told_by_the_model_that_served(new_caller: NewCaller, books: asyncpg.Pool) -> None:
    caller = await new_caller()
    await caller.chat(failing(), FIRST, models=[SECOND])
    await caller.settled(books)
    usage = (await caller.request("GET", "/api/usage?group_by=model")).json["result"]
    assert [row["model"] for row in usage["rows"]] == [SECOND]


async def test_lines_of_native_batches_fall_back(caller: Caller, books: asyncpg.Pool) -> None:
    before = await caller.settled(books)
    lines = [
        batches.line("falls", failing(1, status=401), FIRST, models=[SECOND], max_tokens=50),
        batches.line("serves", told(tokens=5), FIRST, models=[SECOND]),
        batches.line("twice", told(), FIRST, models=["gpt-4o-mini"]),
        batches.line("unknown", told(), FIRST, models=["no-such-model"]),
    ]
    batch = await batches.sent(caller, lines)
    assert [error["line"] for error in batch["errors"]] == [3, 4]
    ended = await batches.until(caller, batch["id"])
    falls, serves, *refused = await batches.results(caller, batch["id"])
    assert (falls["result"]["model"], serves["result"]["model"]) == (SECOND, FIRST)
    assert all("models[0]" in one["error"]["message"] for one in refused)
    usage = Usage(falls["result"]["tokens_input"], falls["result"]["tokens_output"])
    assert Decimal(str(falls["result"]["price"])) == Decimal(load_catalogue().find(SECOND).price.cost(usage)) / 10**9
    assert (before - await caller.settled(books)) == Decimal(ended["charged_usd"]) * 10**9
    rows = await books.fetch("SELECT id, tried FROM requests WHERE batch_id = $1 ORDER BY batch_number", batch["id"])
    assert [json.loads(row["tried"])[0]["code"] for row in rows] == ["provider_error", "succeeded"]


@pytest.mark.parametrize("url", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
async def test_lines_of_openai_batches_fall_back(caller: Caller, url: str) -> None:
    said = [{"role": "user", "content": failing(1, status=401)}]
    body: dict[str, Any] = {"model": FIRST, "models": [SECOND]}
    body |= {"input": said} if url == "/v1/responses" else {"messages": said, "max_tokens": 100}
    lines = [{"custom_id": "falls", "method": "POST", "url": url, "body": body}]
    file = await openai_batches.send(caller, lines)
    made = (await openai_batches.create(caller, file["id"], url)).json
    batch = await openai_batches.until_ended(caller, made["id"])
    (ran,) = await openai_batches.content(caller, batch["output_file_id"])
    assert ran["response"]["body"]["model"] == SECOND


async def test_requests_of_message_batches_fall_back(caller: Caller) -> None:
    said = [{"role": "user", "content": failing(1, status=401)}]
    params = {"model": FIRST, "models": [SECOND], "max_tokens": 100, "messages": said}
    body = {"requests": [{"custom_id": "falls", "params": params}]}
    made = await caller.request("POST", "/v1/messages/batches", json=body)
    path = f"/v1/messages/batches/{made.json['id']}"

    async def ended() -> bool:
        return bool((await caller.request("GET", path)).json["processing_status"] == "ended")

    await eventually_true(ended, "the batch has ended", 60)
    result = (await caller.request("GET", f"{path}/results")).json["result"]
    assert (result["type"], result["message"]["model"]) == ("succeeded", SECOND)
