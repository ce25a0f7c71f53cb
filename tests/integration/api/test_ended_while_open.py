"""What a front door has open ends with its key, in the middle of whatever was under way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from arq.connections import ArqRedis
from arq.constants import abort_jobs_ss

from api.app import create_app
from api.services import SERVICES
from shared.ledger.api_keys import KeyRules, create_key, revoke_key
from shared.ledger.ledger import Ledger
from shared.settings import Settings
from tests.harness.builders import a_job, a_model, a_reservation
from tests.harness.support import eventually, eventually_true
from tests.integration.batches.batching import BAD, a_batch
from tests.integration.conftest import NewAccount
from tests.integration.jobs import OPENAI

WITHIN_S = 20
HEAD = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'


@pytest.fixture
async def door(settings: Settings, redis_client: ArqRedis) -> AsyncIterator[TestServer]:
    """A front door in this process."""
    assert await redis_client.ping()
    hurried = msgspec.structs.replace(settings, key_ends_every_s=0.1, abandoned_after_s=0.1)
    server = TestServer(create_app(hurried))
    await server.start_server()
    yield server
    await server.close()


async def test_an_upload_whose_file_has_not_even_begun_ends_with_its_key(
    door: TestServer, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    key = await create_key(pool, account, KeyRules())
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    lines = [b"POST /v1/files HTTP/1.1", b"Host: x", b"Authorization: Bearer " + key.key.encode()]
    lines += [b"Content-Type: multipart/form-data; boundary=b", b"Content-Length: 100000", b"", HEAD]
    writer.write(b"\r\n".join(lines))
    await eventually(lambda: key.key_id in door.app[SERVICES].authenticator._cache, "the key was looked up")
    await revoke_key(pool, key.key_id)
    async with asyncio.timeout(WITHIN_S):
        head = await reader.readuntil(b"\r\n\r\n")
        body = json.loads(await reader.readuntil(b"}}"))
    assert head.startswith(b"HTTP/1.1 401 ")
    assert body["error"]["code"] == "invalid_api_key"
    assert await pool.fetchval("SELECT count(*) FROM files WHERE account_id = $1", account) == 0
    writer.close()


async def test_a_download_is_broken_off_with_its_key_and_has_no_other_answer_in_it(
    door: TestServer, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    key = await create_key(pool, account, KeyRules())
    batch = await a_batch(pool, account, *[BAD] * 1_000)
    await pool.execute("UPDATE file_lines SET error_message = repeat('e', 20000) WHERE file_id = $1", batch.file_id)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=20_000)
    head = f"GET /api/batches/{batch.id}/results HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.key}\r\n\r\n"
    writer.write(head.encode())
    read = await reader.read(20_000)
    await revoke_key(pool, key.key_id)
    await eventually(lambda: not door.app[SERVICES].key_watch._open, "the download was stopped")
    async with asyncio.timeout(WITHIN_S):
        read += await reader.read()
    assert read.startswith(b"HTTP/1.1 200 ")
    assert read.count(b"HTTP/1.1") == 1
    assert b"invalid_api_key" not in read
    assert not read.endswith(b"0\r\n\r\n")
    writer.close()


async def _is_asked_to_end(client: ArqRedis, request_id: str) -> None:
    async def asked() -> bool:
        return await client.zscore(abort_jobs_ss, request_id) is not None

    await eventually_true(asked, "the request is cancelled, because nobody reads it")


async def test_whose_key_has_ended_while_he_waited_for_an_answer_has_left(
    door: TestServer, pool: asyncpg.Pool, new_account: NewAccount, redis_client: ArqRedis
) -> None:
    """No worker runs here that would cancel it because of the key."""
    services, key = door.app[SERVICES], await create_key(pool, await new_account(10**9), KeyRules())
    body = {"model": a_model().name, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"Authorization": f"Bearer {key.key}"}
    async with ClientSession() as session:
        asking = asyncio.ensure_future(session.post(door.make_url("/api/endpoint"), json=body, headers=headers))
        await eventually(lambda: len(services.relay), "the request is followed")
        await revoke_key(pool, key.key_id)
        async with asyncio.timeout(WITHIN_S), await asking as reply:
            assert reply.status == 401
            await _is_asked_to_end(redis_client, reply.headers["x-request-id"])


async def test_a_reader_whose_key_has_ended_has_left(
    door: TestServer, pool: asyncpg.Pool, new_account: NewAccount, redis_client: ArqRedis, ledger: Ledger
) -> None:
    """The request is another key's, and has no other reader."""
    services, account = door.app[SERVICES], await new_account(1_000)
    key = await create_key(pool, account, KeyRules())
    reservation = a_reservation(account)
    await ledger.reserve(reservation)
    job = a_job(id=reservation.id, account_id=account)
    await services.queue.enqueue(job, OPENAI, channel=services.relay.channel, key_id="key", rpm=None)
    async with ClientSession() as session:
        url, headers = f"/api/requests/{job.id}/stream", {"Authorization": f"Bearer {key.key}"}
        reading = asyncio.ensure_future(session.get(door.make_url(url), headers=headers))
        await eventually(lambda: len(services.relay), "the request is followed")
        await revoke_key(pool, key.key_id)
        async with asyncio.timeout(WITHIN_S), await reading as reply:
            assert reply.status == 401
    await _is_asked_to_end(redis_client, job.id)
