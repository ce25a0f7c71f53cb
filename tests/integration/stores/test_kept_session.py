from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import asyncpg
import msgspec
import pytest

from shared.settings import Settings
from shared.stores import postgres
from shared.stores.postgres import UNREACHABLE, KeptSession
from tests.harness.proxy import Proxy

SESSION = "SELECT pg_backend_pid() AS pid"


class Door(NamedTuple):
    """A connection through a proxy, and the pool that it is from."""

    kept: KeptSession
    pool: asyncpg.Pool
    proxy: Proxy

    async def session(self) -> int:
        return int((await self.kept.fetch(SESSION))[0]["pid"])


@pytest.fixture
async def door(settings: Settings) -> AsyncIterator[Door]:
    url = urlsplit(settings.database_url)
    socket = parse_qs(url.query)
    proxy = Proxy(Path(f"{socket['host'][0]}/.s.PGSQL.{socket['port'][0]}"))
    await proxy.open()
    through = msgspec.structs.replace(
        settings,
        database_url=f"postgresql://{url.username}@127.0.0.1:{proxy.port}{url.path}",
        database_timeout_s=0.3,
        database_connections_max=2,
    )
    pool = await postgres.connect(through, application="test")
    kept = KeptSession(pool)
    yield Door(kept, pool, proxy)
    await kept.release()
    await asyncio.wait_for(pool.close(), timeout=10)
    await proxy.close()


async def test_one_connection_is_kept_between_queries(door: Door) -> None:
    assert await door.session() == await door.session()
    await door.kept.release()
    assert await door.pool.fetchval("SELECT 1") == 1


async def test_a_query_that_the_server_refuses_leaves_the_connection(door: Door) -> None:
    session = await door.session()
    with pytest.raises(asyncpg.DivisionByZeroError):
        await door.kept.fetch("SELECT 1 / 0")
    assert await door.session() == session


async def test_a_connection_that_was_cut_is_replaced(door: Door) -> None:
    session = await door.session()
    door.proxy.cut()
    await asyncio.sleep(0.05)
    assert await door.session() != session


async def test_a_connection_that_is_cut_under_a_query_is_lost_and_replaced(door: Door) -> None:
    await door.session()
    asked = asyncio.ensure_future(door.kept.fetch("SELECT pg_sleep(5)"))
    await asyncio.sleep(0.05)
    door.proxy.cut()
    with pytest.raises(UNREACHABLE):
        await asked
    assert await door.session()


async def test_a_session_with_a_server_that_writes_nothing_is_replaced(door: Door, settings: Settings) -> None:
    """As after a failover: the address leads to the new primary, the session to what is a standby now."""
    session = await door.session()
    await door.kept.fetch("SET default_transaction_read_only = on")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await door.kept.fetch("CREATE TABLE anything (id integer)")
    assert await door.session() != session


@pytest.mark.parametrize("new_too", [False, True])
async def test_a_connection_that_falls_silent_is_lost_and_replaced(door: Door, new_too: bool) -> None:  # noqa: FBT001
    await door.session()
    for _ in range(3):
        door.proxy.black_hole(new_too=new_too)
        with pytest.raises(UNREACHABLE):
            await door.session()
        if new_too:
            await door.proxy.heal()
        await door.pool.expire_connections()
        assert await door.session()


async def test_a_query_that_is_cancelled_leaves_no_connection_behind(door: Door) -> None:
    for _ in range(5):  # more than the pool has
        asked = asyncio.ensure_future(door.kept.fetch("SELECT pg_sleep(5)"))
        await asyncio.sleep(0.05)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    assert await door.session()
