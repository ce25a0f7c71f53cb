"""A request that its caller comes back for: later, again, elsewhere, or not at all."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import redis.asyncio

from shared.ids import new_id
from shared.ledger.api_keys import KeyRules
from shared.stores import keys
from tests.e2e.conftest import NewCaller
from tests.harness.caller import Caller, cost_nano, expected, told
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true

ASYNC = {"Prefer": "respond-async"}
SSE = {"Accept": "text/event-stream"}
_numbers = itertools.count()


@pytest.fixture
async def redis_client(cluster: Cluster) -> AsyncIterator[redis.asyncio.Redis]:
    """The service's own Redis."""
    async with redis.asyncio.Redis.from_url(cluster.valkey.url) as client:
        yield client


def a_key(name: str) -> dict[str, str]:
    return {"Idempotency-Key": f"{name}-{next(_numbers)}"}


async def view(caller: Caller, request_id: str) -> Any:
    reply = await caller.request("GET", f"/api/requests/{request_id}")
    assert reply.status == 200, reply.body
    return reply.json["result"]


async def ended(caller: Caller, request_id: str) -> Any:
    async def ask() -> Any:
        result = await view(caller, request_id)
        return result if result["state"] not in {"queued", "running"} and result["ended_at"] else None

    return await eventually_true(ask, "the request has ended")


async def calls(cluster: Cluster, key: str) -> int:
    return sum(call.key == key for call in await cluster.simulator.calls(key))


def texts(body: bytes) -> list[tuple[int, str, dict[str, Any]]]:
    events = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if fields:
            events.append((int(fields.get("id", -1)), fields["event"], json.loads(fields["data"])))
    return events


async def test_respond_async_says_where_to_look_and_the_answer_is_there_later(caller: Caller) -> None:
    message = told(tokens=5)
    reply = await caller.chat(message, headers=ASYNC)
    assert reply.status == 202
    result = reply.json["result"]
    assert result == {"id": reply.headers["x-request-id"], "state": "queued"}
    assert reply.headers["Location"] == f"/api/requests/{result['id']}"
    done = await ended(caller, result["id"])
    assert done["state"] == "succeeded"
    assert done["response"] == expected(message)
    assert done["request"] == [{"role": "user", "content": message}]
    assert (done["model"], done["attempts"], done["result_expired"]) == ("openai-gpt-4o-mini", 1, False)
    cost = cost_nano(message, done["tokens_output"])
    assert float(done["price"]) == float(done["charged_usd"]) == cost / 1e9
    receipt = done["receipt"]
    assert receipt["charged_usd"] == done["charged_usd"]
    assert float(receipt["hold_usd"]) == pytest.approx(float(receipt["charged_usd"]) + float(receipt["released_usd"]))


async def test_answers_that_are_to_be_kept_are_kept_by_postgres_when_redis_forgot_them(
    caller: Caller, redis_client: redis.asyncio.Redis
) -> None:
    message = told(tokens=5, unicode=1)
    kept = (await caller.chat(message, headers=a_key("kept"))).headers["x-request-id"]
    not_kept = (await caller.chat(message)).headers["x-request-id"]
    for request_id in (kept, not_kept):
        await ended(caller, request_id)
        await redis_client.delete(keys.journal(request_id), keys.asked(request_id))
    assert (await view(caller, kept))["response"] == expected(message)
    gone = await view(caller, not_kept)
    assert (gone["response"], gone["result_expired"], gone["state"]) == (None, True, "succeeded")
    stream = await caller.request("GET", f"/api/requests/{not_kept}/stream")
    assert (stream.status, stream.error["code"]) == (410, "gone")
    assert (await caller.request("GET", f"/api/requests/{kept}/stream?after=1")).status == 410
    assert (await caller.request("GET", f"/api/requests/{kept}/stream")).body.decode() == expected(message)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_repeat_gets_the_same_answer_and_is_charged_once(
    caller: Caller, cluster: Cluster, books: asyncpg.Pool, *, stream: bool
) -> None:
    key, message = a_key("again"), told(tokens=7, key=f"again-{stream}")
    replies = [await caller.chat(message, headers=key, stream=stream) for _ in range(3)]
    assert len({reply.body for reply in replies}) == 1
    assert len({reply.headers["x-request-id"] for reply in replies}) == 1
    assert [reply.headers.get("Idempotent-Replayed") for reply in replies] == [None, "true", "true"]
    await caller.settled(books)
    assert await calls(cluster, f"again-{stream}") == 1
    assert await books.fetchval("SELECT count(*) FROM ledger WHERE debit_account = $1", caller.account_id) == 1


async def test_a_hundred_parallel_repeats_are_one_vendor_call_and_one_charge(
    caller: Caller, cluster: Cluster, books: asyncpg.Pool
) -> None:
    key, message = a_key("parallel"), told(tokens=20, key="parallel", pace_ms=5)
    before = await caller.settled(books)
    replies = await asyncio.gather(*(caller.chat(message, headers=key, stream=True) for _ in range(100)))
    assert {(reply.status, reply.complete) for reply in replies} == {(200, True)}
    assert {reply.body.decode() for reply in replies} == {expected(message)}
    assert before - await caller.settled(books) == cost_nano(message, 20)
    assert await calls(cluster, "parallel") == 1


async def test_another_body_with_the_same_key_is_a_422(caller: Caller) -> None:
    key = a_key("other")
    await caller.chat(told(), headers=key)
    reply = await caller.chat(told(tokens=3), headers=key)
    assert (reply.status, reply.error["code"]) == (422, "idempotency_mismatch")


async def test_the_same_body_written_differently_is_the_same(caller: Caller) -> None:
    key = a_key("spaces") | {"Content-Type": "application/json"}
    message = told()
    first = await caller.chat(message, headers=key)
    body = f'{{ "messages": [{{"content": "{message}", "role": "user"}}],\n "model": "openai-gpt-4o-mini" }}'
    again = await caller.request("POST", "/api/endpoint", data=body, headers=key)
    assert again.headers["x-request-id"] == first.headers["x-request-id"]


async def test_a_refusal_does_not_use_the_key_up(new_caller: NewCaller, books: asyncpg.Pool) -> None:
    poor = await new_caller(credit=1)
    key, message = a_key("poor"), told()
    assert (await poor.chat(message, headers=key)).status == 402
    await books.fetchval("SELECT credit($1, 1000000000, NULL, NULL)", poor.account_id)
    assert (await poor.chat(message, headers=key)).status == 200


async def test_a_request_that_failed_uncharged_is_started_again_by_a_repeat(caller: Caller, cluster: Cluster) -> None:
    key, message = a_key("failed"), told(status=400, times=1, key="failed-once")
    failed = await caller.chat(message, headers=key)
    assert failed.status == 502
    await ended(caller, failed.headers["x-request-id"])
    again = await caller.chat(message, headers=key)
    assert again.status == 200
    assert again.headers["x-request-id"] != failed.headers["x-request-id"]
    assert await calls(cluster, "failed-once") == 2


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_is_none_is_refused(caller: Caller, key: str) -> None:
    reply = await caller.chat(told(), headers={"Idempotency-Key": key})
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")


async def test_a_reader_with_a_key_that_leaves_does_not_cancel_and_finds_its_answer(
    caller: Caller, cluster: Cluster
) -> None:
    key, message = a_key("left"), told(tokens=4, hold=2, key="left")
    await first_events(caller, caller.url("/api/endpoint"), 1, message, key)
    await who_leaves_now_is_cancelled(caller)
    await caller.release("left")
    assert (await caller.chat(message, headers=key, stream=True)).body.decode() == expected(message)
    assert await calls(cluster, "left") == 1


async def first_events(
    caller: Caller, url: str, count: int, message: str | None = None, headers: dict[str, str] | None = None
) -> tuple[str, bytes]:
    """Read so many events, then go away; gives the request's id and what was read."""
    read = b""
    body = {
        "model": "openai-gpt-4o-mini",
        "messages": [{"role": "user", "content": message}],
        "options": {"stream": True},
    }
    async with caller.session.request(
        "POST" if message else "GET",
        url,
        json=body if message else None,
        headers=caller.authorization | SSE | (headers or {}),
    ) as response:
        assert response.status == 200
        async for line in response.content:
            read += line
            if read.count(b"\n\n") == count:
                break
        request_id = response.headers["x-request-id"]
        response.close()
    return request_id, read


async def who_leaves_now_is_cancelled(caller: Caller) -> None:
    """Somebody without a key leaves at every front door; comes back when their grace is over, and so that of earlier ones."""
    message = told(tokens=6, hold=3)
    left = [(await first_events(caller, f"{url}/api/endpoint", 1, message))[0] for url in caller.urls]
    for request_id in left:
        assert (await ended(caller, request_id))["state"] == "cancelled"


async def test_a_stream_is_resumed_on_another_front_door_without_a_gap(caller: Caller) -> None:
    message = told(tokens=40, pace_ms=10)
    whole = expected(message)
    request_id, read = await first_events(caller, caller.url("/api/endpoint"), 5, message)
    last = texts(read)[-1][0]
    rest = await caller.request("GET", f"/api/requests/{request_id}/stream", headers=SSE | {"Last-Event-ID": str(last)})
    events = texts(read) + texts(rest.body)
    assert [number for number, _, _ in events] == list(range(len(events)))
    assert "".join(data["text"] for _, name, data in events if name == "chunk") == whole
    assert events[-1][1] == "done"


async def test_a_reader_that_comes_back_in_time_keeps_the_request_alive(caller: Caller) -> None:
    message = told(tokens=6, hold=3, key="back")
    request_id, read = await first_events(caller, caller.url("/api/endpoint"), 1, message)
    following = asyncio.ensure_future(
        caller.request(
            "GET", f"/api/requests/{request_id}/stream", headers=SSE | {"Last-Event-ID": str(texts(read)[-1][0])}
        )
    )
    await who_leaves_now_is_cancelled(caller)
    await caller.release("back")
    events = texts(read) + texts((await following).body)
    assert "".join(data["text"] for _, name, data in events if name == "chunk") == expected(message)


async def test_a_stream_can_be_read_again_after_its_end_whole_or_from_any_place(caller: Caller) -> None:
    message = told(tokens=10, pace_ms=2)
    first = await caller.chat(message, headers=SSE, stream=True)
    request_id = first.headers["x-request-id"]
    events = texts(first.body)
    for after in range(len(events)):
        again = await caller.request("GET", f"/api/requests/{request_id}/stream", params={"after": after}, headers=SSE)
        assert texts(again.body) == events[after + 1 :]
    raw = await caller.request("GET", f"/api/requests/{request_id}/stream")
    assert raw.body.decode() == expected(message)
    beyond = await caller.request("GET", f"/api/requests/{request_id}/stream", params={"after": len(events)})
    assert beyond.status == 400
    assert (await caller.request("GET", f"/api/requests/{request_id}/stream", params={"after": "x"})).status == 400


async def test_an_answer_that_was_not_streamed_can_be_read_as_a_stream(caller: Caller) -> None:
    message = told(tokens=3)
    request_id = (await caller.chat(message)).headers["x-request-id"]
    again = await caller.request("GET", f"/api/requests/{request_id}/stream", headers=SSE)
    assert [name for _, name, _ in texts(again.body)] == ["chunk", "done"]
    assert texts(again.body)[0][2]["text"] == expected(message)


async def test_a_running_request_can_be_cancelled_and_is_charged_for_what_came(
    caller: Caller, books: asyncpg.Pool
) -> None:
    message = told(tokens=9, hold=3, key="cancel")
    running = asyncio.ensure_future(caller.chat(message, headers=ASYNC | SSE, stream=True))
    request_id = (await running).json["result"]["id"]

    async def begun() -> Any:
        return (await view(caller, request_id))["state"] == "running" or None

    await eventually_true(begun, "it runs")
    reply = await caller.request("DELETE", f"/api/requests/{request_id}")
    assert reply.status == 200
    done = await ended(caller, request_id)
    assert (done["state"], done["error"]["code"]) == ("cancelled", "cancelled")
    assert float(done["charged_usd"]) > 0
    again = await caller.request("DELETE", f"/api/requests/{request_id}")
    assert (again.status, again.json["result"]["state"]) == (200, "cancelled")
    await caller.settled(books)


async def test_the_history_is_newest_first_and_its_cursor_leads_through_all_of_it(caller: Caller) -> None:
    made = [(await caller.chat(told(tokens=1))).headers["x-request-id"] for _ in range(5)]
    found: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(3):
        page = (await caller.request("GET", "/api/requests", params={"limit": "2"} | cursor)).json["result"]
        found += [line["id"] for line in page["requests"]]
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
    assert found == made[::-1]
    assert cursor == {}
    for wrong in ({"limit": "0"}, {"limit": "101"}, {"limit": "x"}):
        assert (await caller.request("GET", "/api/requests", params=wrong)).status == 400


@pytest.mark.parametrize("route", ["GET /api/requests/{}", "DELETE /api/requests/{}", "GET /api/requests/{}/stream"])
async def test_another_accounts_request_is_not_there(caller: Caller, new_caller: NewCaller, route: str) -> None:
    request_id = (await caller.chat(told())).headers["x-request-id"]
    stranger = await new_caller()
    method, path = route.split()
    for wrong in (request_id, new_id("req"), "req_x", "x" * 300):
        reply = await stranger.request(method, path.format(wrong))
        assert (reply.status, reply.error["code"]) == (404, "not_found")


async def test_a_key_without_the_scope_reads_nothing(new_caller: NewCaller) -> None:
    caller = await new_caller(rules=KeyRules(scopes=("inference",)))
    request_id = (await caller.chat(told())).headers["x-request-id"]
    for path in ("/api/requests", f"/api/requests/{request_id}", f"/api/requests/{request_id}/stream"):
        assert (await caller.request("GET", path)).status == 403


@pytest.mark.parametrize("cut", [{"fault": "cut", "after": 5}, {"hold": 5}])
async def test_what_came_of_a_request_that_failed_is_kept_as_long_as_an_answer(
    caller: Caller, redis_client: redis.asyncio.Redis, cut: dict[str, Any]
) -> None:
    key, message = a_key("partial"), told(tokens=20, key=f"partial-{next(_numbers)}", **cut)
    asking = asyncio.ensure_future(caller.chat(message, headers=key, stream=True))
    if "hold" in cut:
        request_id = await running_request(caller)
        await caller.request("DELETE", f"/api/requests/{request_id}")
    first = await asking
    text, _, record = first.body.partition(b"\x1e")
    assert text
    assert float(json.loads(record)["error"]["charged_usd"]) > 0
    request_id = first.headers["x-request-id"]
    done = await ended(caller, request_id)
    await redis_client.delete(keys.journal(request_id), keys.asked(request_id))
    again = await caller.chat(message, headers=key, stream=True)
    assert again.body == first.body
    assert again.headers["x-request-id"] == request_id
    later = await view(caller, request_id)
    assert (later["response"], later["result_expired"]) == (text.decode(), False)
    assert later["charged_usd"] == done["charged_usd"]


async def running_request(caller: Caller) -> str:
    """The newest one, once it has sent something."""

    async def begun() -> str | None:
        line = (await caller.request("GET", "/api/requests")).json["result"]["requests"][:1]
        return str(line[0]["id"]) if line and (await view(caller, line[0]["id"]))["state"] == "running" else None

    request_id = await eventually_true(begun, "it runs")
    await asyncio.sleep(0.2)  # and what it waits for has been relayed
    return request_id


async def test_a_repeat_is_served_by_a_key_that_has_used_its_rate_up(new_caller: NewCaller) -> None:
    caller = await new_caller(rules=KeyRules(rpm=1))
    key, message = a_key("limited"), told()
    first = await caller.chat(message, headers=key)
    assert [(await caller.chat(told())).status for _ in range(4)] == [429] * 4
    assert [(await caller.chat(message, headers=key)).body for _ in range(4)] == [first.body] * 4


async def test_a_place_beyond_a_running_stream_is_refused(caller: Caller) -> None:
    message = told(tokens=6, hold=3, key="beyond")
    request_id, _ = await first_events(caller, caller.url("/api/endpoint"), 1, message)
    reply = await caller.request("GET", f"/api/requests/{request_id}/stream", params={"after": 500}, headers=SSE)
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")
    await caller.release("beyond")


async def test_who_has_read_a_whole_answer_as_a_stream_has_its_end_too(caller: Caller) -> None:
    request_id = (await caller.chat(told(tokens=3))).headers["x-request-id"]
    whole = await caller.request("GET", f"/api/requests/{request_id}/stream", headers=SSE)
    assert b"id: 0\nevent: done" in whole.body
    assert whole.body.count(b"id: ") == 1


@pytest.mark.parametrize(("wish", "status"), [("no-respond-async", 200), ("wait=5, respond-async", 202)])
async def test_only_a_wish_to_be_answered_later_is_one(caller: Caller, wish: str, status: int) -> None:
    assert (await caller.chat(told(), headers={"Prefer": wish})).status == status
