"""`/v1/responses` on the wire: whose it is, how often it is charged, who leaves it, what is kept, and lines of batches."""

from __future__ import annotations

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
from tests.harness.caller import MODEL, Caller, Reply, cost_nano, expected, told
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true

PATH = "/v1/responses"
ROUTES = [
    "GET /v1/responses/{}",
    "GET /v1/responses/{}?stream=true",
    "DELETE /v1/responses/{}",
    "POST /v1/responses/{}/cancel",
    "GET /v1/responses/{}/input_items",
]
_numbers = itertools.count()


@pytest.fixture
async def redis_client(cluster: Cluster) -> AsyncIterator[redis.asyncio.Redis]:
    """The service's own Redis."""
    async with redis.asyncio.Redis.from_url(cluster.valkey.url) as client:
        yield client


async def ask(caller: Caller, message: str, headers: dict[str, str] | None = None, **fields: Any) -> Reply:
    body = {"model": MODEL, "input": message, **fields}
    return await caller.request("POST", PATH, json=body, headers=headers or {})


async def shown(caller: Caller, response_id: str) -> Any:
    reply = await caller.request("GET", f"{PATH}/{response_id}")
    assert reply.status == 200, reply.body
    return reply.json


async def ended(caller: Caller, response_id: str) -> Any:
    async def look() -> Any:
        response = await shown(caller, response_id)
        return response if response["status"] not in {"queued", "in_progress"} else None

    return await eventually_true(look, "the response has ended")


def events_of(body: bytes) -> list[Any]:
    lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines]


async def first_events(caller: Caller, message: str, count: int, **fields: Any) -> list[Any]:
    """Read so many events, then go away."""
    body = {"model": MODEL, "input": message, "stream": True, **fields}
    read = b""
    async with caller.session.post(caller.url(PATH), json=body, headers=caller.authorization) as response:
        assert response.status == 200
        async for line in response.content:
            read += line
            if read.count(b"\n\n") == count:
                break
        response.close()
    return events_of(read)


@pytest.mark.parametrize("route", ROUTES)
async def test_another_accounts_response_is_not_there(caller: Caller, new_caller: NewCaller, route: str) -> None:
    response_id = (await ask(caller, told())).json["id"]
    stranger = await new_caller()
    method, path = route.split()
    for wrong in (response_id, "resp_" + new_id("req")[4:], "resp_x", "x" * 300, response_id.replace("resp", "req")):
        reply = await stranger.request(method, path.format(wrong))
        error = reply.json["error"]
        assert (reply.status, error["code"], error["type"]) == (404, "not_found", "not_found_error")
        assert error["message"] == f"Response with id '{wrong[:100]}' not found."
    going_on = await ask(stranger, told(), previous_response_id=response_id)
    assert (going_on.status, going_on.json["error"]["param"]) == (404, "previous_response_id")
    assert (await shown(caller, response_id))["status"] == "completed"


async def test_a_key_without_the_scope_reads_nothing(new_caller: NewCaller) -> None:
    caller = await new_caller(rules=KeyRules(scopes=("inference",)))
    response_id = (await ask(caller, told())).json["id"]
    for path in ("", "?stream=true", "/input_items"):
        assert (await caller.request("GET", f"{PATH}/{response_id}{path}")).status == 403
    assert (await caller.request("DELETE", f"{PATH}/{response_id}")).status == 200


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"store": False}, {"background": True}])
async def test_a_repeat_is_the_same_response_and_is_charged_once(
    caller: Caller, books: asyncpg.Pool, fields: dict[str, Any]
) -> None:
    key, message = {"Idempotency-Key": f"response-{next(_numbers)}"}, told(tokens=7)
    before = await caller.settled(books)
    first = await ask(caller, message, key, **fields)
    if "background" in fields:
        first_id = first.json["id"]
        await ended(caller, first_id)
        await caller.settled(books)
        again = await ask(caller, message, key, **fields)
        assert (again.json["id"], again.json["status"]) == (first_id, "completed")
    else:
        again = await ask(caller, message, key, **fields)
        assert again.body == first.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert before - await caller.settled(books) == cost_nano(message, 7)


async def test_a_repeat_of_a_response_whose_chain_is_gone_is_answered_all_the_same(caller: Caller) -> None:
    key = {"Idempotency-Key": f"chain-{next(_numbers)}"}
    before = (await ask(caller, told())).json["id"]
    first = await ask(caller, told(tokens=3), key, previous_response_id=before)
    assert (await caller.request("DELETE", f"{PATH}/{before}")).status == 200
    again = await ask(caller, told(tokens=3), key, previous_response_id=before)
    assert (again.status, again.body) == (200, first.body)
    assert (await ask(caller, told(tokens=3), previous_response_id=before)).status == 404


@pytest.mark.parametrize("fields", [{"stream": True}, {"stream": True, "store": False}])
async def test_who_leaves_has_cancelled(caller: Caller, fields: dict[str, Any]) -> None:
    (created, *_) = await first_events(caller, told(tokens=6, hold=3), 5, **fields)
    request_id = created["response"]["id"].replace("resp_", "req_")

    async def cancelled() -> Any:
        result = (await caller.request("GET", f"/api/requests/{request_id}")).json["result"]
        return result if result["ended_at"] else None

    assert (await eventually_true(cancelled, "it has ended"))["state"] == "cancelled"
    if fields.get("store", True):
        response = await shown(caller, created["response"]["id"])
        assert (response["status"], response["output"][0]["status"]) == ("cancelled", "incomplete")


async def test_who_leaves_what_runs_in_the_background_has_not(caller: Caller) -> None:
    message = told(tokens=6, hold=3, key="background-left")
    (created, *_) = await first_events(caller, message, 5, background=True)
    leavers = [await first_events(caller, told(tokens=6, hold=3), 5) for _ in caller.urls]
    for left, *_ in leavers:  # whose grace ends after the first one's would have
        assert (await ended(caller, left["response"]["id"]))["status"] == "cancelled"
    await caller.release("background-left")
    done = await ended(caller, created["response"]["id"])
    assert (done["status"], done["output"][0]["content"][0]["text"]) == ("completed", expected(message))


async def test_a_stored_response_is_the_answer_that_was_given_also_when_redis_has_forgotten_it(
    caller: Caller, redis_client: redis.asyncio.Redis, books: asyncpg.Pool
) -> None:
    reply = await ask(caller, told(tokens=5, unicode=1), metadata={"order": "7"}, instructions="Be brief.")
    response_id = reply.json["id"]
    request_id = response_id.replace("resp_", "req_")
    assert await shown(caller, response_id) == reply.json
    await caller.settled(books)
    await redis_client.delete(keys.journal(request_id), keys.asked(request_id))
    assert await shown(caller, response_id) == reply.json
    again = await caller.request("GET", f"{PATH}/{response_id}", params={"stream": "true"})
    assert events_of(again.body)[-1]["response"] == reply.json
    resumed = await caller.request("GET", f"{PATH}/{response_id}", params={"stream": "true", "starting_after": "400"})
    (last,) = events_of(resumed.body)
    assert (last["sequence_number"], last["response"]) == (401, reply.json)


async def test_a_stream_whose_pieces_redis_has_forgotten_goes_on_with_whole_items_behind_any_number(
    caller: Caller, redis_client: redis.asyncio.Redis, books: asyncpg.Pool
) -> None:
    message = told(tokens=9, pace_ms=20)
    (created, *_) = await first_events(caller, message, 5, background=True)
    response_id = created["response"]["id"]
    await ended(caller, response_id)
    await caller.settled(books)
    await redis_client.delete(keys.journal(response_id.replace("resp_", "req_")))
    for after in (5, 8, 12):
        path = f"{PATH}/{response_id}?stream=true&starting_after={after}"
        events = events_of((await caller.request("GET", path)).body)
        assert [event["sequence_number"] for event in events] == list(range(after + 1, after + 1 + len(events)))
        (whole,) = (event["text"] for event in events if event["type"] == "response.output_text.done")
        assert whole == expected(message)
        assert events[-1]["type"] == "response.completed"


async def test_what_is_deleted_while_it_runs_goes_on_and_is_charged_but_nothing_of_it_is_kept(
    caller: Caller, books: asyncpg.Pool
) -> None:
    before = await caller.settled(books)
    message = told(tokens=6, hold=3, key="deleted")
    response_id = (await ask(caller, message, background=True)).json["id"]
    deleted = await caller.request("DELETE", f"{PATH}/{response_id}")
    assert deleted.json == {"id": response_id, "object": "response", "deleted": True}
    await caller.release("deleted")
    assert before - await caller.settled(books) == cost_nano(message, 6)
    request_id = response_id.replace("resp_", "req_")
    assert await books.fetchval("SELECT count(*) FROM answers WHERE request_id = $1", request_id) == 0
    row = await books.fetchrow("SELECT input, told, bytes FROM responses WHERE request_id = $1", request_id)
    assert row is not None
    assert tuple(row) == (b"", b"", 0)


async def test_what_is_not_to_be_stored_is_not_in_the_database(caller: Caller, books: asyncpg.Pool) -> None:
    response_id = (await ask(caller, told(), store=False)).json["id"]
    await caller.settled(books)
    request_id = response_id.replace("resp_", "req_")
    for table in ("responses", "answers"):
        assert await books.fetchval(f"SELECT count(*) FROM {table} WHERE request_id = $1", request_id) == 0


async def test_a_large_input_is_stored_and_gone_on_from(caller: Caller) -> None:
    """Larger than what is written in the reserving transaction."""
    text = "word " * 60_000
    talk = [{"role": "user", "content": text}, {"role": "user", "content": told(tokens=2)}]
    reply = await caller.request("POST", PATH, json={"model": MODEL, "input": talk})
    assert reply.status == 200, reply.body
    items = (await caller.request("GET", f"{PATH}/{reply.json['id']}/input_items?order=asc")).json
    assert items["data"][0]["content"][0]["text"] == text
    going_on = await ask(caller, told(tokens=1), previous_response_id=reply.json["id"])
    assert going_on.json["usage"]["input_tokens"] > reply.json["usage"]["input_tokens"]


async def test_wishes_and_parameters_that_are_not_known_are_named(caller: Caller) -> None:
    reply = await ask(caller, told(), include=["message.output_text.logprobs"], tools=[{"type": "web_search"}], mood=1)
    assert reply.headers["x-ignored"] == "mood, tools[].web_search, include"
    again = await caller.request("GET", f"{PATH}/{reply.json['id']}?include[]=x&starting_after=3")
    assert (again.status, again.headers["x-ignored"]) == (200, "?include[]")
    for query in ("starting_after=-1", "stream=x"):
        assert (await caller.request("GET", f"{PATH}/{reply.json['id']}?{query}")).status == 400


async def test_a_strict_key_has_wishes_refused(new_caller: NewCaller) -> None:
    caller = await new_caller(rules=KeyRules(strict=True))
    reply = await ask(caller, told(), text={"verbosity": "low"})
    assert (reply.status, "`text.verbosity`" in reply.json["error"]["message"]) == (400, True)


async def test_the_estimate_of_an_input_says_so(caller: Caller) -> None:
    reply = await caller.request("POST", f"{PATH}/input_tokens", json={"model": MODEL, "input": "Hello there!"})
    assert (reply.status, reply.headers["x-token-count"]) == (200, "estimate")
    assert reply.json == {"object": "response.input_tokens", "input_tokens": 7}


async def test_prompts_are_in_no_log(caller: Caller, logs: Any) -> None:
    secret = "a-secret-that-nobody-logs"
    reply = await ask(caller, f"{secret} {told()}", instructions=secret, metadata={"a": secret})
    await shown(caller, reply.json["id"])
    assert all(secret not in path.read_text(encoding="utf-8", errors="replace") for path in logs.iterdir())
