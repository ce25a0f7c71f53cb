"""`/v1/responses` as somebody uses it who means no good, or has read no manual."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from tests.e2e.conftest import NewCaller
from tests.e2e.test_openai_batches import RESPONSES, line, send
from tests.e2e.test_responses import PATH, ROUTES, ask, events_of, first_events
from tests.harness.caller import MODEL, Caller, cost_nano, told

LINKS = 60
ODD = [
    *("resp_%00", "%2e%2e%2f", "resp_%F0%9F%92%A5", "'--", "resp_*"),
    *("resp_" + "z" * 26, "RESP_" + "0" * 26, "resp_" + "0" * 27),
]


@pytest.mark.parametrize("route", ROUTES)
async def test_ids_with_odd_characters_lead_nowhere(caller: Caller, route: str) -> None:
    method, path = route.split()
    for odd in ODD:
        reply = await caller.request(method, path.format(odd))
        assert (reply.status, reply.json["error"]["type"]) == (404, "not_found_error"), odd


async def test_what_others_own_or_nobody_has_cannot_be_gone_on_from(caller: Caller, new_caller: NewCaller) -> None:
    own = (await ask(caller, told(tokens=2))).json
    stranger = await new_caller()
    message = own["output"][0]["id"]
    for item in (message, "msg_" + "z" * 26 + "_0", f"{message[:-1]}7", "x"):
        talk = [{"type": "item_reference", "id": item}, {"role": "user", "content": told()}]
        reply = await ask(stranger, talk)  # type: ignore[arg-type] # items
        assert (reply.status, reply.json["error"]["param"]) == (404, "input"), item
    for response in ("resp_" + "z" * 26, "req_" + own["id"][5:], "x", "\u0000"):
        reply = await ask(stranger, told(), previous_response_id=response)
        assert (reply.status, reply.json["error"]["param"]) == (404, "previous_response_id"), response
    wallet = await stranger.wallet()
    assert Decimal(wallet["balance_usd"]) == Decimal(wallet["available_usd"]) == 1


async def test_numbers_of_events_beyond_the_end_and_below_the_beginning(caller: Caller) -> None:
    response = (await ask(caller, told(tokens=3))).json
    path = f"{PATH}/{response['id']}?stream=true&starting_after="
    last = events_of((await caller.request("GET", path + "0")).body)[-1]["sequence_number"]
    assert (await caller.request("GET", f"{path}{last}")).body == b""
    (end,) = events_of((await caller.request("GET", path + "9999")).body)
    assert (end["type"], end["sequence_number"], end["response"]) == ("response.completed", 10_000, response)
    for wrong in ("-1", "1.5", "x", str(2**31), "9" * 400):
        assert (await caller.request("GET", path + wrong)).status == 400, wrong


async def test_a_long_chain_is_gone_on_from_until_a_link_of_it_is_deleted(caller: Caller) -> None:
    ids: list[str] = []
    for _ in range(LINKS):
        previous: dict[str, Any] = {"previous_response_id": ids[-1]} if ids else {}
        reply = await ask(caller, told(tokens=1), **previous)
        assert reply.status == 200, reply.body
        ids.append(reply.json["id"])
    assert reply.json["usage"]["input_tokens"] > LINKS
    assert (await caller.request("DELETE", f"{PATH}/{ids[LINKS // 2]}")).status == 200
    gone = await ask(caller, told(), previous_response_id=ids[-1])
    assert (gone.status, gone.json["error"]["param"]) == (404, "previous_response_id")
    assert ids[LINKS // 2] in gone.json["error"]["message"]
    assert (await ask(caller, told(), previous_response_id=ids[LINKS // 2 - 1])).status == 200


async def test_what_still_runs_cannot_be_gone_on_from(caller: Caller) -> None:
    response_id = (await ask(caller, told(tokens=4, hold=2, key="still"), background=True)).json["id"]
    reply = await ask(caller, told(), previous_response_id=response_id)
    assert (reply.status, reply.json["error"]["param"]) == (400, "previous_response_id")
    assert (await caller.request("POST", f"{PATH}/{response_id}/cancel")).json["status"] == "cancelled"


async def test_a_repeat_of_what_was_cancelled_in_the_background_is_the_response_as_it_stands(
    caller: Caller, books: asyncpg.Pool
) -> None:
    key, message = {"Idempotency-Key": "cancelled-in-the-background"}, told(tokens=4, hold=2)
    body = {"model": MODEL, "input": message, "background": True}
    created = (await caller.request("POST", PATH, json=body, headers=key)).json
    await caller.request("POST", f"{PATH}/{created['id']}/cancel")
    await caller.settled(books)
    repeated = await caller.request("POST", PATH, json=body, headers=key)
    assert (repeated.status, repeated.json["status"], repeated.json["error"]) == (200, "cancelled", None)
    assert repeated.json["id"] == created["id"]


async def test_cancelling_at_once_from_many_sides_is_one_end_and_one_charge(
    caller: Caller, books: asyncpg.Pool
) -> None:
    before = await caller.settled(books)
    (created, *_) = await first_events(caller, told(tokens=9, hold=3), 6, background=True)
    path = f"{PATH}/{created['response']['id']}"
    replies = await asyncio.gather(*(caller.request("POST", f"{path}/cancel") for _ in range(8)))
    assert {(reply.status, reply.json["status"]) for reply in replies} == {(200, "cancelled")}
    after = await caller.settled(books)
    captures = "SELECT count(*), sum(amount_nano)::bigint FROM ledger WHERE request_id = $1"
    captured = await books.fetchrow(captures, created["response"]["id"].replace("resp_", "req_"))
    assert captured is not None
    assert tuple(captured) == (1, before - after)
    assert (await caller.request("POST", f"{path}/cancel")).json["status"] == "cancelled"


async def test_what_is_deleted_while_it_runs_is_not_there_for_anybody(caller: Caller, books: asyncpg.Pool) -> None:
    (created, *_) = await first_events(caller, told(tokens=6, hold=3, key="unseen"), 5, background=True)
    response_id = created["response"]["id"]
    assert (await caller.request("DELETE", f"{PATH}/{response_id}")).status == 200
    for route in ROUTES:
        method, path = route.split()
        assert (await caller.request(method, path.format(response_id))).status == 404
    assert (await ask(caller, told(), previous_response_id=response_id)).status == 404
    await caller.release("unseen")
    await caller.settled(books)


async def test_what_has_expired_is_not_there(caller: Caller, books: asyncpg.Pool) -> None:
    response_id = (await ask(caller, told())).json["id"]
    await caller.settled(books)
    expire = "UPDATE responses SET keep_until = now() WHERE request_id = $1"
    await books.execute(expire, response_id.replace("resp_", "req_"))
    for route in ROUTES:
        method, path = route.split()
        assert (await caller.request(method, path.format(response_id))).status == 404
    assert (await ask(caller, told(), previous_response_id=response_id)).status == 404


async def test_a_stream_in_the_background_that_is_asked_for_twice_at_once_is_one(
    caller: Caller, books: asyncpg.Pool
) -> None:
    before = await caller.settled(books)
    message, key = told(tokens=12, pace_ms=5), {"Idempotency-Key": "twice-in-the-background"}
    replies = await asyncio.gather(*(ask(caller, message, key, background=True, stream=True) for _ in range(6)))
    assert {reply.status for reply in replies} == {200}
    first, *others = [events_of(reply.body) for reply in replies]
    assert all(events == first for events in others)
    assert before - await caller.settled(books) == cost_nano(message, 12)
    other = await ask(caller, message, key, background=True)
    assert (other.status, other.json["error"]["code"]) == (422, "idempotency_mismatch")


async def test_one_in_the_background_has_to_be_stored(caller: Caller, books: asyncpg.Pool) -> None:
    before = await caller.settled(books)
    reply = await ask(caller, told(tokens=2), background=True, store=False)
    assert (reply.status, reply.json["error"]["param"]) == (400, "background")
    assert await caller.settled(books) == before


@pytest.mark.parametrize("field", ["background", "previous_response_id", "stream"])
async def test_lines_of_batches_say_what_is_not_possible_in_them(caller: Caller, field: str) -> None:
    values: dict[str, Any] = {"background": True, "previous_response_id": "resp_" + "0" * 26, "stream": True}
    own = line("a", told(), RESPONSES)
    own["body"] = {"model": MODEL, "input": told(), field: values[field]}
    file = await send(caller, [own])
    body = {"input_file_id": file["id"], "endpoint": RESPONSES, "completion_window": "24h"}
    reply = await caller.request("POST", "/v1/batches", json=body)
    assert [(one["line"], f"{field}`" in one["message"]) for one in reply.json["errors"]["data"]] == [(1, True)]
