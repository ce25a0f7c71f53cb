"""What a front door has open ends with its key, in the middle of whatever was under way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest
from aiohttp.test_utils import TestServer
from arq.connections import ArqRedis

from api.app import create_app
from api.services import SERVICES
from shared.ledger.api_keys import KeyRules, create_key, revoke_key
from shared.settings import Settings
from tests.harness.support import eventually
from tests.integration.conftest import NewAccount

WITHIN_S = 20
HEAD = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'


@pytest.fixture
async def door(settings: Settings, redis_client: ArqRedis) -> AsyncIterator[TestServer]:
    """A front door in this process."""
    assert await redis_client.ping()
    server = TestServer(create_app(msgspec.structs.replace(settings, key_ends_every_s=0.1)))
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
