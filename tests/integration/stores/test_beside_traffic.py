"""Tables are changed beside traffic: while a long transaction reads them, requests are admitted all the same."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import asyncpg
import msgspec
import pytest

from shared.ledger.accounts import create_account
from shared.ledger.api_keys import KeyRules, create_key, find_key
from shared.ledger.ledger import Ledger
from shared.ledger.rows import Grant
from shared.money import NanoUsd
from shared.settings import Settings
from shared.stores import migrations as migrations_module
from shared.stores import postgres
from shared.stores.brief_locks import LockTaken, brief_locks, when_free
from shared.stores.migrations import Migration, MigrationError, migrate, migrations
from tests.harness.builders import a_reservation, a_settlement
from tests.harness.support import eventually_true
from tests.integration.books import reserve_all
from tests.integration.conftest import execute, running
from workers.sweeps.partitions import sweep_days, sweep_months

CALLERS = 20
Sweep = Callable[[asyncpg.Pool, Settings], Coroutine[Any, Any, None]]
TRIES = 3
"""So often a change must have let traffic pass before the long transaction ends."""
NEXT = len(migrations()) + 1
NAMED = r"pid \d+ \(reader\), whose transaction has been running for \d+ s,"
ALTER = "ALTER TABLE accounts ADD COLUMN note text; ALTER TABLE requests ADD COLUMN note text"
LAST_MONTH = "SELECT to_char(now() AT TIME ZONE 'UTC' + interval '3 months', '\"requests\"_YYYY_MM')"
LAST_DAY = "SELECT to_char(now() AT TIME ZONE 'UTC' + interval '3 days', '\"batch_items\"_YYYY_MM_DD')"


class Service(NamedTuple):
    """A migrated database and the ledger that a front door has on it, with the locks' own limits."""

    url: str
    pool: asyncpg.Pool
    ledger: Ledger
    settings: Settings
    account: str

    async def admits(self) -> None:
        """Many callers at once, each of whom is admitted, and whose hold ends."""
        reservations = [a_reservation(self.account, hold=1) for _ in range(CALLERS)]
        answers = await reserve_all(self.ledger, *reservations)
        assert [type(answer) for answer in answers] == [Grant] * CALLERS
        ends = await asyncio.gather(*(self.ledger.settle(a_settlement(one, charge=1)) for one in reservations))
        assert set(ends) == {"settled"}


@pytest.fixture
async def service(fresh_database_url: str, settings: Settings) -> AsyncIterator[Service]:
    settings = msgspec.structs.replace(settings, database_url=fresh_database_url)
    async with await postgres.connect(settings, application="tests") as pool:
        ledger = Ledger(pool, settings)
        account = (await create_account(pool, "someone", NanoUsd(1_000_000))).id
        async with running(ledger.run_reserve(), ledger.run_settle()):
            yield Service(fresh_database_url, pool, ledger, settings, account)


@asynccontextmanager
async def a_long_read(url: str, *tables: str) -> AsyncIterator[None]:
    """A snapshot, as `rebootml ledger check` has it."""
    reader = await asyncpg.connect(url, server_settings={"application_name": "reader"})
    try:
        async with reader.transaction(isolation="repeatable_read", readonly=True):
            for table in tables:
                await reader.fetch(f"SELECT FROM {table}")
            yield
    finally:
        await reader.close()


@pytest.fixture
def next_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Migration(NEXT, "alters", ALTER, "x")
    monkeypatch.setattr(migrations_module, "migrations", lambda: [*migrations(), one])


@pytest.mark.usefixtures("next_migration")
async def test_requests_are_admitted_while_a_migration_waits_for_a_long_read(service: Service) -> None:
    waits: list[str] = []
    async with a_long_read(service.url, "requests"):
        migrating = asyncio.ensure_future(migrate(service.url, on_wait=waits.append))
        while len(waits) < TRIES:
            await service.admits()
            assert not migrating.done()
    assert await migrating == [f"{NEXT:04d}_alters"]
    assert any(re.fullmatch(NAMED, who) for who in waits)
    await service.admits()


VACUUMS = "SELECT pid FROM pg_stat_progress_vacuum WHERE relid = $1::regclass"


@asynccontextmanager
async def an_autovacuum(url: str, table: str) -> AsyncIterator[asyncpg.Connection]:
    """One of `table` that would take long; gives a superuser's connection."""
    operator = await asyncpg.connect(url)
    try:
        await operator.execute(
            f"ALTER TABLE {table} SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,"
            " autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0)"
        )
        await _set(operator, "SET autovacuum = 'on'", "SET autovacuum_naptime = '1s'")
        await eventually_true(lambda: operator.fetch(VACUUMS, table), "an autovacuum runs")
        yield operator
    finally:
        await _set(operator, "RESET autovacuum", "RESET autovacuum_naptime")
        await operator.close()


async def _set(operator: asyncpg.Connection, *settings: str) -> None:
    for setting in settings:
        await operator.execute(f"ALTER SYSTEM {setting}")
    await operator.execute("SELECT pg_reload_conf()")


@pytest.fixture
async def vacuumed(fresh_database_url: str) -> str:
    """The URL of a database with a table `dead` that wants to be vacuumed."""
    await execute(fresh_database_url, "CREATE TABLE dead AS SELECT n FROM generate_series(1, 50000) n")
    await execute(fresh_database_url, "UPDATE dead SET n = n + 1")
    return fresh_database_url


async def _alter(changing: asyncpg.Connection, asking: asyncpg.Connection) -> None:
    async with brief_locks(changing, 0.1, asking):
        await changing.execute("ALTER TABLE dead ADD COLUMN note text")


async def test_an_autovacuum_makes_way_for_a_change(vacuumed: str) -> None:
    async with an_autovacuum(vacuumed, "dead") as operator:
        changing = await asyncpg.connect(vacuumed)
        await when_free(partial(_alter, changing, operator), within_s=20)
        await changing.close()


async def test_an_autovacuum_that_may_not_be_cancelled_is_named(vacuumed: str) -> None:
    await execute(vacuumed, "DROP ROLE IF EXISTS nobody; CREATE ROLE nobody")
    async with an_autovacuum(vacuumed, "dead"):
        changing, asking = [await asyncpg.connect(vacuumed) for _ in range(2)]
        await asking.execute("SET ROLE nobody")
        with pytest.raises(LockTaken, match=r"^an autovacuum of dead, pid \d+,$"):
            await when_free(partial(_alter, changing, asking), within_s=0.5)
        await changing.close()
        await asking.close()
    await execute(vacuumed, "DROP ROLE nobody")


TRANSACTIONS = "DO $$ BEGIN FOR n IN 1..110000 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$"


async def test_an_autovacuum_against_the_wraparound_of_numbers_goes_on(vacuumed: str) -> None:
    await execute(vacuumed, "ALTER TABLE dead SET (autovacuum_freeze_max_age = 100000, autovacuum_freeze_min_age = 0)")
    await execute(vacuumed, TRANSACTIONS)
    async with an_autovacuum(vacuumed, "dead") as operator:
        (before,) = await operator.fetch(VACUUMS, "dead")
        changing = await asyncpg.connect(vacuumed)
        with pytest.raises(LockTaken, match=rf"^an autovacuum of dead, pid {before['pid']},$"):
            await when_free(partial(_alter, changing, operator), within_s=0.5)
        assert await operator.fetch(VACUUMS, "dead") == [before]
        await changing.close()


INDEX = "CREATE INDEX CONCURRENTLY IF NOT EXISTS keys_by_name ON api_keys (name);\n"


async def test_requests_are_admitted_and_keys_found_while_an_index_is_built(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for whoever is changing the table, and nobody waits for it."""
    one = Migration(NEXT, "indexes", INDEX, "x", concurrently=True)
    monkeypatch.setattr(migrations_module, "migrations", lambda: [*migrations(), one])
    key = await create_key(service.pool, service.account, KeyRules())
    changing = await asyncpg.connect(service.url)
    async with changing.transaction():
        await changing.execute("UPDATE api_keys SET name = 'other' WHERE id = $1", key.key_id)
        migrating = asyncio.ensure_future(migrate(service.url))
        await eventually_true(lambda: _index_is_begun(service.pool), "the index is being built")
        await service.admits()
        assert await find_key(service.pool, key.key_id)
        assert not migrating.done()
    assert await migrating == [f"{NEXT:04d}_indexes"]
    await changing.close()


async def _index_is_begun(pool: asyncpg.Pool) -> bool:
    return await pool.fetchval("SELECT to_regclass('keys_by_name')") is not None


@pytest.mark.usefixtures("next_migration")
async def test_a_migration_that_never_gets_its_lock_ends_in_words_and_leaves_nothing(service: Service) -> None:
    async with a_long_read(service.url, "requests"):
        with pytest.raises(MigrationError, match=NAMED + " stands in the way"):
            await migrate(service.url, within_s=0.3)
    notes = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'accounts'::regclass AND attname = 'note'"
    assert await service.pool.fetchval(notes) == 0


@pytest.mark.parametrize(
    ("sweep", "last", "read"),
    [(sweep_months, LAST_MONTH, "requests"), (sweep_days, LAST_DAY, "batch_items")],
    ids=["months", "days"],
)
async def test_requests_are_admitted_while_partitions_wait_for_a_long_read(
    service: Service, sweep: Sweep, last: str, read: str
) -> None:
    name = await service.pool.fetchval(last)
    await execute(service.url, f"DROP TABLE {name}")

    async def is_there() -> bool:
        return await service.pool.fetchval("SELECT to_regclass($1)", name) is not None

    async with a_long_read(service.url, read):
        sweeping = asyncio.ensure_future(sweep(service.pool, service.settings))
        await eventually_true(lambda: _has_been_refused(service.pool), "a try was given up")
        await service.admits()
        assert not sweeping.done()
        assert not await is_there()
    await sweeping
    assert await is_there()


async def _has_been_refused(pool: asyncpg.Pool) -> bool:
    """Postgres counts transactions that were rolled back."""
    counted = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    return bool(await pool.fetchval(counted))
