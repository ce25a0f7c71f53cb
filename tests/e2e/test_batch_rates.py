"""What the creation of a batch counts against its key's requests per minute."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import asyncpg

from shared.ledger.api_keys import KeyRules
from tests.e2e.conftest import NewCaller
from tests.e2e.test_batches import NDJSON, line, send, until
from tests.harness.caller import told
from tests.harness.support import eventually_true


async def test_a_keys_rate_counts_the_batch_and_not_its_lines(new_caller: NewCaller) -> None:
    caller = await new_caller(rules=KeyRules(rpm=2))
    first = await send(caller, [line(str(n), told(tokens=1)) for n in range(30)])
    assert (first.status, first.headers["x-ratelimit-limit-requests"]) == (201, "2")
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert (await caller.chat(told(tokens=1))).headers["x-ratelimit-remaining-requests"] == "0"
    refused = await send(caller, [line("x", told(tokens=1))])
    assert (refused.status, refused.error["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 30
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    ended = await until(caller, first.json["result"]["id"])
    assert ended["counts"]["completed"] == 30
    listed = (await caller.request("GET", "/api/batches")).json["result"]["batches"]
    assert [batch["id"] for batch in listed] == [ended["id"]]


async def test_a_repeated_batch_is_not_counted_again(new_caller: NewCaller) -> None:
    caller = await new_caller(rules=KeyRules(rpm=1))
    body, headers = json.dumps(line("a", told(tokens=1))).encode(), NDJSON | {"Idempotency-Key": "counted-once"}
    replies = [await caller.request("POST", "/api/batches", data=body, headers=headers) for _ in range(3)]
    assert [reply.status for reply in replies] == [201] * 3
    assert len({reply.json["result"]["id"] for reply in replies}) == 1
    assert [reply.headers["x-ratelimit-limit-requests"] for reply in replies] == ["1"] * 3


async def test_a_used_key_with_another_body_is_counted(new_caller: NewCaller) -> None:
    caller = await new_caller(rules=KeyRules(rpm=3))
    headers = NDJSON | {"Idempotency-Key": "used"}
    told_left = []
    for name in ("a", "b", "a", "c", "d"):
        body = json.dumps(line(name, told(tokens=1))).encode()
        reply = await caller.request("POST", "/api/batches", data=body, headers=headers)
        told_left.append((reply.status, reply.headers.get("x-ratelimit-remaining-requests")))
    assert told_left == [(201, "2"), (422, "1"), (201, None), (422, "0"), (429, "0")]


async def test_what_a_key_makes_anew_is_counted_also_when_its_time_ends_during_the_upload(
    new_caller: NewCaller, books: asyncpg.Pool
) -> None:
    caller = await new_caller(rules=KeyRules(rpm=3))
    headers, body = NDJSON | {"Idempotency-Key": "lapses"}, json.dumps(line("a", told(tokens=1))).encode() + b"\n"
    first = await caller.request("POST", "/api/batches", data=body, headers=headers)

    async def uploading() -> AsyncIterator[bytes]:
        yield body[:10]
        query = "SELECT count(*) > 1 FROM files WHERE account_id = $1"
        await eventually_true(lambda: books.fetchval(query, caller.account_id), "the upload has begun")
        await books.execute("UPDATE idempotency_keys SET keep_until = now() WHERE account_id = $1", caller.account_id)
        yield body[10:]

    second = await caller.request("POST", "/api/batches", data=uploading(), headers=headers)
    assert (first.status, second.status) == (201, 201)
    assert first.json["result"]["id"] != second.json["result"]["id"]
    assert second.headers["x-ratelimit-remaining-requests"] == "1"
