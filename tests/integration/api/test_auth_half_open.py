"""A door whose connections to Postgres are all half-open finds that out once, not once for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import asyncpg
import msgspec
import pytest

from api.auth import Authenticator
from shared.errors import Unavailable
from shared.ledger.api_keys import KeyRules, create_key
from shared.ledger.ledger import Ledger
from shared.ledger.rows import Grant
from shared.settings import Settings
from shared.stores.postgres import connect
from tests.harness.builders import a_reservation
from tests.harness.proxy import Proxy
from tests.integration.conftest import NewAccount, running

CONNECTIONS = 4


class Door(NamedTuple):
    """What a front door asks Postgres with, through a proxy; `account` and `key` are a customer's."""

    authenticator: Authenticator
    ledger: Ledger
    pool: asyncpg.Pool
    proxy: Proxy
    settings: Settings
    account: str
    key: str

    async def connect(self) -> None:
        """Open all connections that the pool may have."""
        await asyncio.gather(*(self.pool.fetch("SELECT pg_sleep(0.1)") for _ in range(CONNECTIONS)))

    async def authenticate(self) -> str:
        return (await self.authenticator.authenticate({"x-api-key": self.key}, "inference")).account_id

    async def reserve(self) -> Grant:
        granted = await self.ledger.reserve(a_reservation(self.account))
        assert isinstance(granted, Grant)
        return granted


@pytest.fixture
async def door(pool: asyncpg.Pool, settings: Settings, new_account: NewAccount) -> AsyncIterator[Door]:
    account = await new_account(1_000_000_000)
    new = await create_key(pool, account, KeyRules(name="ci"))
    parts = urlsplit(settings.database_url)
    socket = parse_qs(parts.query)
    proxy = Proxy(Path(f"{socket['host'][0]}/.s.PGSQL.{socket['port'][0]}"))
    await proxy.open()
    through = msgspec.structs.replace(
        settings,
        database_url=f"postgresql://postgres@127.0.0.1:{proxy.port}{parts.path}",
        database_connections_max=CONNECTIONS,
        database_timeout_s=0.3,
        auth_cache_s=0.0,
    )
    behind = await connect(through, application="test")
    ledger = Ledger(behind, through)
    authenticator = Authenticator(behind, through, ledger.distrust_connections)
    try:
        async with running(ledger.run_reserve(), ledger.run_settle()):
            yield Door(authenticator, ledger, behind, proxy, through, account, new.key)
    finally:
        behind.terminate()
        await proxy.close()


async def test_only_the_first_look_up_waits_for_a_dead_connection(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    await door.connect()
    door.proxy.black_hole(new_too=False)
    with pytest.raises(Unavailable):
        await door.authenticate()
    assert await door.authenticate() == door.account
    await asyncio.sleep(4 * door.settings.database_timeout_s)  # what was expired is closed in the background meanwhile
    assert "never retrieved" not in caplog.text


async def test_a_dead_connection_that_a_look_up_found_is_not_found_once_more_by_the_hold(door: Door) -> None:
    await door.connect()
    await door.reserve()
    door.proxy.black_hole(new_too=False)
    with pytest.raises(Unavailable):
        await door.authenticate()
    assert await door.authenticate() == door.account
    assert await door.reserve()


async def test_a_dead_connection_that_a_hold_found_is_not_found_once_more_by_a_look_up(door: Door) -> None:
    await door.reserve()
    await door.authenticate()
    door.proxy.black_hole(new_too=False)
    with pytest.raises(Unavailable):
        await door.reserve()
    assert await door.authenticate() == door.account


async def test_a_look_up_does_not_wait_until_a_dead_connection_has_also_cancelled_it(door: Door) -> None:
    """The pool's own queries do, for as long again."""
    await door.connect()
    door.proxy.black_hole(new_too=False)
    ended: list[str] = []
    by_the_pool = asyncio.ensure_future(door.pool.fetch("SELECT 1"))
    by_the_pool.add_done_callback(lambda _: ended.append("the pool"))
    look_up = asyncio.ensure_future(door.authenticate())
    look_up.add_done_callback(lambda _: ended.append("the look-up"))
    await asyncio.wait([by_the_pool, look_up])
    assert isinstance(by_the_pool.exception(), TimeoutError)
    assert isinstance(look_up.exception(), Unavailable)
    assert ended == ["the look-up", "the pool"]
