"""The previous release goes on while the database is migrated, and on the new schema."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest

from deploy.cli.ledger_check import check_ledger
from shared.batches.queries import BATCHES
from shared.ledger.accounts import create_account
from shared.ledger.api_keys import KeyRules, create_key, revoke_key
from shared.ledger.ended_keys import ended_since
from shared.money import NanoUsd
from shared.stores import migrations as migrations_module
from shared.stores.migrations import migrate, migrations
from shared.stores.postgres import Connection
from tests.harness.builders import a_reservation, a_settlement
from tests.harness.support import eventually_true
from tests.integration.batches.batching import a_batch
from tests.integration.books import somebody_waits_for_a_lock

PREVIOUS = 3
"""The last migration of the previous release; these are its calls."""
KEYS_END_WITH_NOTHING = 6
"""The last migration of releases in which what a key began went on after its end."""
RESERVE = "SELECT request_id, outcome, granted_limit, granted_hold, needed, available FROM reserve($1::jsonb, $2)"
SETTLE = "SELECT request_id, outcome, charged FROM settle($1::jsonb)"
RESERVATION_FIELDS_SINCE = ("metadata", "idempotency_key", "fingerprint", "keep_until")
SETTLEMENT_FIELDS_SINCE = ("answer", "keep_until", "batch_line", "void")
USAGE = "SELECT requests, failed, tokens_input, charged_nano FROM usage_by_day"


@pytest.fixture
async def previous(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[str, asyncpg.Pool, str]]:
    """A database as the previous release left it, and an account with a thousand nano-USD."""
    with monkeypatch.context() as patched:
        patched.setattr(migrations_module, "migrations", lambda: migrations()[:PREVIOUS])
        await migrate(empty_database_url)
    async with asyncpg.create_pool(empty_database_url, min_size=2, max_size=4) as pool:
        yield empty_database_url, pool, (await create_account(pool, "someone", NanoUsd(1_000))).id


def _json(row: msgspec.Struct, *, without: tuple[str, ...]) -> str:
    fields = {name: value for name, value in msgspec.to_builtins(row).items() if name not in without}
    return msgspec.json.encode([fields]).decode()


async def _request(connection: Connection, account: str, *, charge: int) -> str:
    """Reserve as the previous release does; gives the settlement to send."""
    reservation = a_reservation(account)
    (row,) = await connection.fetch(RESERVE, _json(reservation, without=RESERVATION_FIELDS_SINCE), 100)
    assert tuple(row)[:4] == (reservation.id, "admitted", 1, 100)
    settlement = a_settlement(reservation, charge, tokens_input=charge)
    return _json(settlement, without=SETTLEMENT_FIELDS_SINCE)


async def test_its_prepared_calls_go_on_and_what_it_settled_before_and_after_is_rolled_up(
    previous: tuple[str, asyncpg.Pool, str],
) -> None:
    url, pool, account = previous
    connection = await asyncpg.connect(url)
    before, between = [await _request(connection, account, charge=charge) for charge in (3, 4)]
    assert await connection.fetchval(SETTLE, before, column=1) == "settled"
    assert "0004_requests_again" in await migrate(url)
    after = await _request(connection, account, charge=5)
    for settlement in (between, after):
        assert await connection.fetchval(SETTLE, settlement, column=1) == "settled"
    await connection.close()
    assert [tuple(row) for row in await pool.fetch(USAGE)] == [(3, 0, 12, 12)]
    assert (await check_ledger(pool)).violations == []


async def test_what_keys_began_that_it_rotated_or_revoked_goes_on_and_later_ends_stop_what_they_should(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wrote no successor, and nothing ended with its keys."""
    with monkeypatch.context() as patched:
        patched.setattr(migrations_module, "migrations", lambda: migrations()[:KEYS_END_WITH_NOTHING])
        await migrate(empty_database_url)
    async with asyncpg.create_pool(empty_database_url, min_size=1, max_size=4) as pool:
        account = (await create_account(pool, "someone", NanoUsd(1_000))).id
        rotated, revoked, phased_out, later = [(await create_key(pool, account, KeyRules())).key_id for _ in range(4)]
        await revoke_key(pool, revoked)
        expires = "UPDATE api_keys SET expires_at = now() + make_interval(secs => $2) WHERE id = $1"
        await pool.execute(expires, rotated, 0)
        await pool.execute(expires, phased_out, 3_600)
        before = datetime.now(UTC)
        await migrate(empty_database_url)
        after = datetime.now(UTC)
        await pool.execute(expires, phased_out, 0)
        await revoke_key(pool, later)
        keys = (rotated, revoked, phased_out, later)
        began = {key: await a_batch(pool, account) for key in keys}
        for key, batch in began.items():
            await pool.execute("UPDATE batches SET key_id = $2, created_at = $3 WHERE id = $1", batch.id, key, before)
        to_change = {row["id"]: row["reason"] for row in await pool.fetch(BATCHES["of_ended_keys"])}
        assert to_change == {began[later].id: "key_revoked"}
        fed = {row["key_id"] for row in await pool.fetch(BATCHES["open_cursors"], "openai", 100)}
        assert fed == {rotated, revoked, phased_out}
        assert await ended_since(pool, [(key, before) for key in keys]) == {(later, before): "key_revoked"}
        ended = await ended_since(pool, [(key, after) for key in keys])
        assert {key for key, _ in ended} == set(keys)


async def test_a_settlement_that_waited_for_the_migration_is_rolled_up(
    previous: tuple[str, asyncpg.Pool, str],
) -> None:
    """It goes on with the body of `settle` that it began with."""
    _, pool, account = previous
    async with pool.acquire() as migrating, pool.acquire() as settling:
        settlement = await _request(settling, account, charge=7)
        async with migrating.transaction():
            for migration in migrations()[PREVIOUS:]:
                if not migration.concurrently:
                    await migrating.execute(migration.sql)
            waiting = asyncio.ensure_future(settling.fetchval(SETTLE, settlement, column=1))
            await eventually_true(lambda: somebody_waits_for_a_lock(pool), "the settlement waits for the migration")
        assert await waiting == "settled"
    assert [tuple(row) for row in await pool.fetch(USAGE)] == [(1, 0, 7, 7)]
    assert (await check_ledger(pool)).violations == []
