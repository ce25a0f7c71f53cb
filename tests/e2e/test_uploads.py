"""Uploads have bounds of their own: in bytes of an account's files, in number, and in how slowly they may come."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.e2e.anthropic_client import asked
from tests.e2e.conftest import NewCaller
from tests.e2e.test_batches import NDJSON, line, results, send, sent, until
from tests.harness.caller import Caller, told
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true

LARGE = 240_000_000
QUOTA = 10_000_000_000
FORM = "multipart/form-data; boundary=b"
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
A_LINE = json.dumps(line("a", told())).encode() + b"\n"
REQUESTS = b'{"requests":['
A_REQUEST = json.dumps({"custom_id": "a", "params": asked(told())}).encode()
DOORS = [
    ("/api/batches", NDJSON["Content-Type"], A_LINE),
    ("/v1/files", FORM, FILE + A_LINE),
    ("/v1/messages/batches", "application/json", REQUESTS + A_REQUEST),
]
DYING = "web-dying"
NOTHING_LEFT = "SELECT bool_and(state = 'deleted' AND look_at IS NULL) FROM files WHERE account_id = $1"
HAS_FILES = """
INSERT INTO files (id, account_id, day, form, filename, state, counted, created_at, expires_at)
SELECT $1 || n, $1, now()::date, 'native', 'x', 'ready', $2, now(), now() + interval '1 day' FROM generate_series(1, $3) n
"""


def head(caller: Caller, path: str, content_type: str, length: int = LARGE) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {caller.key}", f"Content-Type: {content_type}")
    return "\r\n".join((*lines, f"Content-Length: {length}", "", "")).encode()


@asynccontextmanager
async def uploading(
    caller: Caller, path: str, content_type: str, body: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """An upload that has begun and does not end."""
    host, _, port = caller.url("").removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head(caller, path, content_type) + body)
        await writer.drain()
        yield reader, writer
    finally:
        writer.close()


@pytest.mark.parametrize(("path", "content_type", "body"), DOORS)
async def test_an_upload_that_trickles_is_ended_with_a_400_and_leaves_nothing(
    caller: Caller, books: asyncpg.Pool, path: str, content_type: str, body: bytes
) -> None:
    async with uploading(caller, path, content_type, body) as (reader, writer):

        async def trickle() -> None:
            while True:
                writer.write(b" ")
                await asyncio.sleep(0.5)

        trickling = asyncio.ensure_future(trickle())
        async with asyncio.timeout(30):
            answer = await reader.readuntil(b"came too slowly")
            trickling.cancel()
            with contextlib.suppress(ConnectionResetError):  # the end, too, if a blank was still on its way
                await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    await eventually_true(lambda: books.fetchval(NOTHING_LEFT, caller.account_id), "nothing of it is left")


async def test_blank_lines_are_passed_over_and_there_are_only_so_many(caller: Caller) -> None:
    lines = b"\n \r\n" * 300 + A_LINE + b"\n\n" + b"{\n"
    made = (await caller.request("POST", "/api/batches", data=lines, headers=NDJSON)).json["result"]
    assert made["counts"]["total"] == 2
    assert [error["line"] for error in made["errors"]] == [604]
    refused = await caller.request("POST", "/api/batches", data=b"\n" * 20_000_000, headers=NDJSON)
    assert refused.status == 400
    assert "100000 blank lines" in refused.error["message"]


def many(path: str) -> bytes:
    """The beginning of an upload."""
    if path == "/api/batches":
        return b"".join(json.dumps(line(str(number), told())).encode() + b"\n" for number in range(1_000))
    requests = (json.dumps({"custom_id": str(number), "params": asked(told())}).encode() for number in range(1_000))
    return REQUESTS + b"".join(one + b"," for one in requests)


@pytest.mark.parametrize(("path", "content_type"), [DOORS[0][:2], DOORS[2][:2]])
async def test_an_upload_whose_front_door_dies_is_given_up(
    caller: Caller, cluster: Cluster, books: asyncpg.Pool, path: str, content_type: str
) -> None:
    cluster.start(DYING, UPLOAD_SILENT_S="6")
    await cluster.until_log(DYING, "front door open")
    async with uploading(caller.at(cluster.url(DYING)), path, content_type, many(path)):
        there = "SELECT count(*) > 0 FROM file_lines l JOIN files f ON f.id = l.file_id WHERE f.account_id = $1"
        await eventually_true(lambda: books.fetchval(there, caller.account_id), "some lines are stored")
        await cluster.kill(DYING)
    await eventually_true(lambda: books.fetchval(NOTHING_LEFT, caller.account_id), "nothing of it is left")
    assert not await books.fetchval(there, caller.account_id)


@pytest.mark.parametrize(("path", "content_type", "body"), DOORS)
async def test_what_the_quota_has_no_room_for_is_refused_before_it_is_read(
    new_caller: NewCaller, books: asyncpg.Pool, path: str, content_type: str, body: bytes
) -> None:
    caller = await new_caller(credit=100_000_000_000)
    await books.execute(HAS_FILES, caller.account_id, (QUOTA - LARGE) // 2 + 1, 2)
    begun = body[: body.index(b"{")]  # no line yet
    answer = await caller.raw(head(caller, path, content_type) + begun)
    assert answer.startswith(b"HTTP/1.1 413 ")
    for words in (b"files have 9,760,000,002 bytes", b"may have 10,000,000,000", b"DELETE /v1/files/{id}"):
        assert words in answer
    page = (await caller.request("GET", "/v1/files")).json["data"]
    assert (await caller.request("DELETE", f"/v1/files/{page[0]['id']}")).status == 200
    assert (await send(caller, [line("a", told())])).status == 201


async def test_what_does_not_say_its_length_is_refused_when_there_is_no_more_room(
    new_caller: NewCaller, books: asyncpg.Pool
) -> None:
    caller = await new_caller(credit=100_000_000_000)
    await books.execute(HAS_FILES, caller.account_id, QUOTA - 3_000_000, 1)

    async def lines() -> AsyncIterator[bytes]:
        for number in range(20):
            yield json.dumps(line(str(number), "x" * 200_000)).encode() + b"\n"

    reply = await caller.request("POST", "/api/batches", data=lines(), headers=NDJSON)
    assert (reply.status, reply.error["code"]) == (413, "request_too_large")
    taken = "SELECT sum(counted)::bigint FROM files WHERE account_id = $1"
    assert await books.fetchval(taken, caller.account_id) == QUOTA - 3_000_000


async def test_who_has_next_to_no_credit_stores_next_to_nothing(new_caller: NewCaller) -> None:
    caller = await new_caller(credit=1)
    for path, content_type, body in DOORS:
        answer = await caller.raw(head(caller, path, content_type) + body)
        assert answer.startswith(b"HTTP/1.1 402 ")
        assert b"1,000,000,000 more for each USD of its balance, which is 0.000000001 USD" in answer

    async def lines() -> AsyncIterator[bytes]:
        for number in range(10):
            yield json.dumps(line(str(number), "x" * 200_000)).encode() + b"\n"

    refused = await caller.request("POST", "/api/batches", data=lines(), headers=NDJSON)
    assert (refused.status, refused.error["code"]) == (402, "insufficient_credit")
    assert (await send(caller, [line("a", told())])).status == 201


async def test_results_stay_when_their_file_is_deleted_and_what_nobody_reads_goes(
    caller: Caller, books: asyncpg.Pool
) -> None:
    batch = await sent(caller, [line("a", told(tokens=3)), "{", line("b", told(status=400)), line("c", told())])
    await until(caller, batch["id"])
    before = await results(caller, batch["id"])
    file_id = await books.fetchval("SELECT file_id FROM batches WHERE id = $1", batch["id"])
    assert (await caller.request("DELETE", f"/v1/files/{file_id}")).status == 200
    emptied = "SELECT count(*) = 1 FROM file_lines WHERE file_id = $1 AND asked = ''"
    await eventually_true(lambda: books.fetchval(emptied, file_id), "what is not repeated is gone")
    assert await results(caller, batch["id"]) == before
    assert len(before) == 4


async def test_the_lines_of_a_deleted_file_go_soon(caller: Caller, books: asyncpg.Pool) -> None:
    batch = await sent(caller, ["{", "["])
    file_id = await books.fetchval("SELECT file_id FROM batches WHERE id = $1", batch["id"])
    await books.execute("UPDATE batch_keeping SET results_until = now() WHERE batch_id = $1", batch["id"])
    assert await books.fetchval("SELECT count(*) FROM file_lines WHERE file_id = $1", file_id) == 2
    assert (await caller.request("DELETE", f"/v1/files/{file_id}")).status == 200
    gone = "SELECT count(*) = 0 FROM file_lines WHERE file_id = $1"
    await eventually_true(lambda: books.fetchval(gone, file_id), "the lines are gone")
