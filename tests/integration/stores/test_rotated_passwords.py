"""Passwords that change at the server and in the file, one after the other: who connects meanwhile comes through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from deploy.local import valkey
from deploy.local.data_dir import make_private, socket_folder
from shared.settings import Settings
from shared.stores.redis_client import connect
from tests.harness.servers import Valkey


class Secured(msgspec.Struct):
    """A server, and the file that says how it is reached."""

    server: Valkey
    file: Path
    settings: Settings

    def write(self, password: str) -> None:
        login = f":{password}@" if password else ""
        self.file.write_text(self.server.url.replace("unix://", f"unix://{login}"), encoding="utf-8")

    async def require(self, before: str, password: str) -> None:
        async with Redis.from_url(self.server.url, password=before or None) as client:
            await client.config_set("requirepass", password)


@pytest.fixture
async def secured(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> AsyncIterator[Secured]:
    """A Redis of this test's own that asks for `first`, as the file says."""
    folder = tmp_path_factory.mktemp("secured")
    make_private(folder)
    with socket_folder(folder / "valkey") as sockets:
        server = Valkey(valkey.Valkey(folder, sockets))
        await server.start()
        file = folder / "redis_url"
        given = {"DATABASE_URL": settings.database_url, "REDIS_URL_FILE": str(file), "REDIS_TIMEOUT_S": "10"}
        file.write_text(server.url, encoding="utf-8")
        secured = Secured(server, file, Settings.load(given))
        await secured.require("", "first")
        secured.write("first")
        try:
            yield secured
        finally:
            await server.stop()


async def test_a_connection_is_made_with_the_password_of_the_moment(secured: Secured) -> None:
    async with connect(secured.settings, Redis) as client:
        assert await client.ping()
        await secured.require("first", "second")
        assert await client.ping()  # it stands already
        secured.write("second")
        await client.connection_pool.disconnect()
        assert await client.ping()


async def test_the_file_may_change_before_the_server_does(secured: Secured) -> None:
    async with connect(secured.settings, Redis) as client:
        assert await client.ping()
        secured.write("second")
        await client.connection_pool.disconnect()
        assert await client.ping()
        await secured.require("first", "second")
        await client.connection_pool.disconnect()
        assert await client.ping()


async def test_who_connects_between_the_two_steps_waits_for_the_second(secured: Secured) -> None:
    async with connect(secured.settings, Redis) as client:
        await secured.require("first", "second")
        waiting = asyncio.ensure_future(client.ping())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        secured.write("second")
        assert await waiting


async def test_a_password_that_stays_wrong_is_refused(secured: Secured) -> None:
    secured.write("wrong")
    hasty = msgspec.structs.replace(secured.settings, redis_timeout_s=0.2, redis_url=secured.file.read_text("utf-8"))
    async with connect(hasty, Redis) as client:
        with pytest.raises(RedisConnectionError, match="invalid username-password pair"):
            await client.ping()
