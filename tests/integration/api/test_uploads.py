"""Uploads that are open at a front door in this process: how many, and what each may hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import asyncpg
import msgspec
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from arq.connections import ArqRedis

from api.app import create_app
from api.batches import upload
from api.batches.reading import LineReader
from api.http.uploads import BASE_BYTES
from api.services import SERVICES, Services
from shared.batches.files import Line
from shared.ledger.api_keys import KeyRules, create_key
from shared.settings import Settings
from tests.harness.support import eventually
from tests.integration.conftest import NewAccount

WITHIN_S = 20
PLACES = 2
LONG = 2_000_000
FORM = "multipart/form-data; boundary=b"
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
END = b'\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n'


class Upload(NamedTuple):
    """One that is under way."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> bytes:
        async with asyncio.timeout(WITHIN_S):
            return await self.reader.readuntil(b"\r\n\r\n")


@pytest.fixture
async def door(settings: Settings, redis_client: ArqRedis) -> AsyncIterator[TestServer]:
    """With two places for each account and room for the long lines of one upload of it."""
    assert await redis_client.ping()
    limits = {"uploads_per_account_max": PLACES, "batch_line_bytes_max": LONG, "uploads_bytes_max": 4 * LONG}
    server = TestServer(create_app(msgspec.structs.replace(settings, **limits)))
    await server.start_server()
    yield server
    await server.close()


@pytest.fixture
async def key(pool: asyncpg.Pool, new_account: NewAccount) -> str:
    return (await create_key(pool, await new_account(1_000_000_000), KeyRules())).key


def services(door: TestServer) -> Services:
    return door.app[SERVICES]


@asynccontextmanager
async def uploading(
    door: TestServer, key: str, length: int, begin: bytes, *, form: bool = False
) -> AsyncIterator[Upload]:
    path, content_type = ("/v1/files", FORM) if form else ("/api/batches", "application/x-ndjson")
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    lines = (f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", f"Content-Type: {content_type}")
    writer.write("\r\n".join((*lines, f"Content-Length: {length}", "", "")).encode() + begin)
    try:
        yield Upload(reader, writer)
    finally:
        writer.close()


async def test_an_account_sends_only_so_many_files_at_once_and_others_send_theirs(
    door: TestServer, pool: asyncpg.Pool, new_account: NewAccount, key: str
) -> None:
    other = (await create_key(pool, await new_account(1_000_000_000), KeyRules())).key

    async def send(client: ClientSession, key: str) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
        async with client.post(door.make_url("/api/batches"), data=b"{", headers=headers) as response:
            return response.status, await response.text()

    async with ClientSession() as client:
        async with uploading(door, key, 9, b"{"), uploading(door, key, 999, FILE, form=True):
            used = services(door).uploads._budget
            await eventually(lambda: used.used == PLACES * BASE_BYTES, "both have begun")
            status, text = await send(client, key)
            assert (status, json.loads(text)["error"]["code"]) == (429, "rate_limited")
            assert f"sending {PLACES} files" in text
            assert (await send(client, other))[0] == 201
        await eventually(lambda: used.used == 0, "both have ended")
        assert (await send(client, key))[0] == 201


@pytest.mark.parametrize("form", [False, True])
async def test_a_long_line_waits_until_another_one_is_stored(door: TestServer, key: str, *, form: bool) -> None:
    """Each has room for one long line, and an account for those of one upload."""
    line = b" " * (LONG - 100) + b'{"custom_id": "a"}\n'
    begin, end = (FILE, END) if form else (b"", b"")
    length = len(begin + line + end)
    used = services(door).uploads._budget
    async with uploading(door, key, length, begin + line[:-50], form=form) as first:
        await eventually(lambda: used.used == BASE_BYTES + 2 * LONG, "the first has room for a long line")
        async with uploading(door, key, length, begin + line[:-50], form=form) as second:
            await eventually(lambda: len(used._waiting) == 1, "the second waits for room")
            first.writer.write(line[-50:] + end)
            assert (await first.answer()).startswith((b"HTTP/1.1 201 ", b"HTTP/1.1 200 "))
            second.writer.write(line[-50:] + end)
            assert (await second.answer()).startswith((b"HTTP/1.1 201 ", b"HTTP/1.1 200 "))
    assert used.used == 0


async def test_others_have_their_turn_while_lines_are_read(
    door: TestServer, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No two lines are read in one turn of the event loop when a turn is over after each, although all came at once."""
    lines, turn, read_in = 2_000, 0, list[int]()

    def read(self: LineReader, number: int, line: bytes | None) -> Line:
        read_in.append(turn)
        return reads(self, number, line)

    async def others() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    reads = LineReader.read
    monkeypatch.setattr(LineReader, "read", read)
    monkeypatch.setattr(upload, "TURN_S", 0)
    counting = asyncio.ensure_future(others())
    async with uploading(door, key, 2 * lines, b"{\n" * lines) as one:
        assert (await one.answer()).startswith(b"HTTP/1.1 201 ")
    counting.cancel()
    assert len(set(read_in)) == len(read_in) == lines
