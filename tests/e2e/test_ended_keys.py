"""A key that is revoked or expires stops what it began, at every door of the running service; a rotated one hands it on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import aiohttp
import asyncpg
import pytest

from shared.ledger.api_keys import KeyRules, create_key, revoke_key, rotate_key
from tests.e2e.conftest import NewCaller
from tests.e2e.test_batches import NDJSON, line, results, sent, until
from tests.harness.caller import MODEL, Caller, expected, told
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true

WITHIN_S = 15
"""What is stopped has ended by then, although what it runs would take far longer."""
LONG = told(tokens=600, pace_ms=100)
ASYNC = {"Prefer": "respond-async"}
FAST = "openai-gpt-4o"
"""No other test has its vendor refuse calls, after which batches go slowly for a while."""
End = Callable[[asyncpg.Pool, str], Awaitable[object]]


async def _revoke(books: asyncpg.Pool, key_id: str) -> None:
    await revoke_key(books, key_id)


async def _expire(books: asyncpg.Pool, key_id: str) -> None:
    await books.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", key_id)


ENDS = pytest.mark.parametrize(("end", "reason"), [(_revoke, "key_revoked"), (_expire, "key_expired")])


def _id(caller: Caller) -> str:
    return caller.key.split("_")[1]


@pytest.fixture
async def other(caller: Caller, books: asyncpg.Pool) -> Caller:
    """Another key of the same account, which goes on."""
    return await _another(caller, books)


async def _another(caller: Caller, books: asyncpg.Pool) -> Caller:
    key = await create_key(books, caller.account_id, KeyRules())
    return Caller(caller.session, caller._cluster, caller.account_id, key.key)


def fast(custom_id: str, text: str) -> dict[str, Any]:
    return line(custom_id, text, FAST, max_tokens=100)


async def _vendor_has(cluster: Cluster, key: str, number: int = 1) -> None:
    async def there() -> bool:
        return len(await cluster.simulator.calls(key)) >= number

    await eventually_true(there, "the vendor was called")


async def _state(caller: Caller, request_id: str, *states: str) -> Any:
    async def ask() -> Any:
        result = (await caller.request("GET", f"/api/requests/{request_id}")).json["result"]
        return result if result["state"] in states and (states == ("running",) or result["ended_at"]) else None

    return await eventually_true(ask, f"the request is {states}", WITHIN_S)


# -- requests


@ENDS
async def test_a_waiting_answer_ends_with_its_key_and_what_ran_is_charged(
    caller: Caller, other: Caller, cluster: Cluster, books: asyncpg.Pool, end: End, reason: str
) -> None:
    before = await caller.settled(books)
    waiting = asyncio.ensure_future(caller.chat(told(hold=0, key=f"json-{reason}")))
    await _vendor_has(cluster, f"json-{reason}")
    await end(books, _id(caller))
    async with asyncio.timeout(WITHIN_S):
        reply = await waiting
    assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
    assert "what ran is charged" in reply.error["message"]
    assert (await _state(other, reply.headers["x-request-id"], "cancelled"))["error"]["code"] == "cancelled"
    assert await caller.settled(books) < before


async def _until_it_breaks_off(stream: aiohttp.ClientResponse) -> bytes:
    read = b""
    try:
        while data := await stream.content.readany():
            read += data
    except aiohttp.ClientPayloadError:
        return read
    raise AssertionError("the stream had a tidy end")


@ENDS
async def test_a_stream_ends_with_its_key(
    caller: Caller, other: Caller, books: asyncpg.Pool, end: End, reason: str
) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": LONG}], "options": {"stream": True}}
    async with asyncio.timeout(WITHIN_S):
        async with caller.session.post(caller.url("/api/endpoint"), json=body, headers=caller.authorization) as stream:
            read = await stream.content.readany()
            await end(books, _id(caller))
            read += await _until_it_breaks_off(stream)
    text, _, error = read.partition(b"\x1e")
    assert expected(LONG).startswith(text.decode())
    assert json.loads(error)["error"]["code"] == "invalid_api_key", reason
    assert (await _state(other, stream.headers["x-request-id"], "cancelled"))["charged_usd"] != "0"


async def test_a_request_that_nobody_waits_for_ends_with_its_key(
    caller: Caller, other: Caller, books: asyncpg.Pool
) -> None:
    reply = await caller.chat(told(hold=0, key="async-ends"), headers=ASYNC)
    request_id = reply.json["result"]["id"]
    await _state(other, request_id, "running")
    await revoke_key(books, _id(caller))
    await _state(other, request_id, "cancelled")


async def test_following_ends_with_the_readers_key_and_the_request_goes_on(
    caller: Caller, other: Caller, books: asyncpg.Pool
) -> None:
    reply = await caller.chat(told(tokens=30, pace_ms=70), headers=ASYNC, stream=True)
    request_id = reply.json["result"]["id"]
    await _state(caller, request_id, "running")
    url = other.url(f"/api/requests/{request_id}/stream")
    async with asyncio.timeout(WITHIN_S), other.session.get(url, headers=other.authorization) as stream:
        await stream.content.readany()
        await revoke_key(books, _id(other))
        assert b"invalid_api_key" in await _until_it_breaks_off(stream)
    await _state(caller, request_id, "succeeded")


# -- batches and uploads


@ENDS
async def test_a_batch_ends_cancelled_with_its_key_and_says_why(
    caller: Caller, other: Caller, cluster: Cluster, books: asyncpg.Pool, end: End, reason: str
) -> None:
    before = await caller.settled(books)
    name = f"batch-{reason}"
    lines = [
        fast("first", told(tokens=2)),
        *(fast(f"id-{n}", told(hold=0, key=name)) for n in range(2_000)),
    ]
    batch = await sent(caller, lines)
    await _vendor_has(cluster, name, 20)
    await end(books, _id(caller))
    ended = await until(other, batch["id"], {"cancelled"})
    assert ended["reason"] == reason
    fed = await books.fetchval("SELECT fed FROM batches WHERE id = $1", batch["id"])
    assert fed < len(lines)
    assert ended["counts"]["cancelled"] >= len(lines) - fed
    assert float(ended["charged_usd"]) * 1e9 == pytest.approx(before - await caller.settled(books))
    openais = (await other.request("GET", f"/v1/batches/{batch['id']}")).json
    assert (openais["status"], openais["reason"]) == ("cancelled", reason)
    (listed,) = (await other.request("GET", "/api/batches")).json["result"]["batches"]
    assert listed["reason"] == reason
    told_lines = await results(other, batch["id"])
    assert len(told_lines) == len(lines)
    assert "because its API key" in told_lines[-1]["error"]["message"]


async def test_a_paused_batch_ends_with_its_key(new_caller: NewCaller, books: asyncpg.Pool) -> None:
    caller = await new_caller(credit=1_000)
    batch = await sent(caller, [line("a", told(), max_tokens=16_000)])
    assert (await until(caller, batch["id"], {"paused"}))["reason"] is None
    await revoke_key(books, _id(caller))
    ended = await until(await _another(caller, books), batch["id"])
    assert (ended["state"], ended["reason"], ended["paused_for"]) == ("cancelled", "key_revoked", None)


@pytest.mark.parametrize("door", ["/api/batches", "/v1/files"])
async def test_an_upload_under_way_ends_with_its_key_and_leaves_nothing(
    caller: Caller, books: asyncpg.Pool, door: str
) -> None:
    stopped = asyncio.Event()

    async def forever() -> AsyncIterator[bytes]:
        if door == "/v1/files":
            yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for number in range(1_000):
            yield json.dumps(fast(f"id-{number}", told())).encode() + b"\n"
        await revoke_key(books, _id(caller))
        while not stopped.is_set():
            yield b" "
            await asyncio.sleep(0.2)

    headers = {"Content-Type": "multipart/form-data; boundary=b"} if door == "/v1/files" else NDJSON
    async with asyncio.timeout(WITHIN_S):
        reply = await caller.request("POST", door, data=forever(), headers=headers)
    stopped.set()
    assert reply.status == 401
    assert reply.json["error"]["code"] == "invalid_api_key"
    assert await books.fetchval("SELECT count(*) FROM batches WHERE account_id = $1", caller.account_id) == 0
    left = "SELECT count(*) = 0 FROM file_lines l JOIN files f ON f.id = l.file_id WHERE f.account_id = $1"
    await eventually_true(lambda: books.fetchval(left, caller.account_id), "its lines are gone")


# -- rotation


async def test_rotation_hands_streams_answers_batches_and_uploads_to_the_successor(
    caller: Caller, cluster: Cluster, books: asyncpg.Pool
) -> None:
    message = told(tokens=40, pace_ms=60)
    streaming = asyncio.ensure_future(caller.chat(message, stream=True))
    waiting = asyncio.ensure_future(caller.chat(told(hold=0, key="rotated")))
    batch = await sent(caller, [fast(f"id-{n}", told(hold=0, key="rotated-batch")) for n in range(3)])
    await _vendor_has(cluster, "rotated")
    await _vendor_has(cluster, "rotated-batch", 3)
    rotated = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield json.dumps(fast("a", told())).encode() + b"\n"
        await rotated.wait()
        for _ in range(6):  # longer than it takes a revoked key's upload to end
            yield b" "
            await asyncio.sleep(0.2)
        yield json.dumps(fast("b", told())).encode() + b"\n"

    uploading = asyncio.ensure_future(caller.request("POST", "/api/batches", data=slowly(), headers=NDJSON))
    await eventually_true(lambda: _uploads(books, caller), "the upload has begun")
    new = await rotate_key(books, _id(caller), timedelta(0))
    rotated.set()
    successor = Caller(caller.session, cluster, caller.account_id, new.key)
    uploaded = await uploading
    assert uploaded.status == 201, uploaded.body
    await caller.release("rotated")
    await caller.release("rotated-batch")
    assert (await streaming).body.decode() == expected(message)
    assert (await waiting).status == 200
    for batch_id in (batch["id"], uploaded.json["result"]["id"]):
        ended = await until(successor, batch_id)
        assert (ended["state"], ended["reason"]) == ("completed", None)
        owner = await books.fetchval("SELECT key_id FROM batches WHERE id = $1", batch_id)
        assert owner == new.key_id


async def _uploads(books: asyncpg.Pool, caller: Caller) -> bool:
    query = "SELECT EXISTS (SELECT FROM files WHERE account_id = $1 AND state = 'uploading')"
    return bool(await books.fetchval(query, caller.account_id))


async def test_a_batch_that_was_begun_in_the_grace_goes_over_to_the_successor_after_it(
    caller: Caller, books: asyncpg.Pool
) -> None:
    new = await rotate_key(books, _id(caller), timedelta(hours=1))
    batch = await sent(caller, [fast("a", told(hold=0, key="in-grace"))])
    await _expire(books, _id(caller))
    successor = Caller(caller.session, caller._cluster, caller.account_id, new.key)

    async def handed_over() -> bool:
        return bool(await books.fetchval("SELECT key_id FROM batches WHERE id = $1", batch["id"]) == new.key_id)

    await eventually_true(handed_over, "the batch is the successor's")
    await caller.release("in-grace")
    assert (await until(successor, batch["id"]))["state"] == "completed"
