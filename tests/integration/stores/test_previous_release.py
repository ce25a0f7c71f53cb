"""The previous release goes on while the database is migrated, and on the new schema."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest

from shared.batches.batches import batch_from_row, find_batch
from shared.batches.files import File, Line, add_lines
from shared.batches.queries import BATCHES
from shared.batches.results import results_kept_until
from shared.ids import new_id
from shared.ledger.api_keys import revoke_key
from shared.ledger.check import check_ledger
from shared.ledger.ended_keys import ended_since
from shared.stores import migrations as migrations_module
from shared.stores.migrations import migrate, migrations
from shared.stores.postgres import Connection
from tests.harness.builders import a_reservation, a_settlement
from tests.harness.support import eventually_true
from tests.integration.batches.batching import ASKED, a_batch, all_results, an_item, feed, ready_cursors, the_end_of
from tests.integration.books import old_account, somebody_waits_for_a_lock

PREVIOUS = 6
"""The last migration of the previous release; these are its calls."""
RESERVE = "SELECT request_id, outcome, granted_limit, granted_hold, needed, existing_id FROM reserve($1::jsonb, $2)"
SETTLE = "SELECT request_id, outcome, charged FROM settle($1::jsonb)"
SETTLEMENT_FIELDS_BESIDE = ("answer", "keep_until", "batch_line", "void")
"""What it sends in another way, or does not know."""
BEGIN = """
INSERT INTO files (id, account_id, day, form, filename, created_at, expires_at)
VALUES ($1, $2, now()::date, 'native', 'lines', now(), now() + interval '30 days')
RETURNING id, account_id, day, form, filename, endpoint, state, bytes, lines, bad_lines, created_at, expires_at
"""
READY = "UPDATE files SET state = 'ready', lines = 2 WHERE id = $1 AND state = 'uploading'"
CREATE = """
INSERT INTO batches (
    id, account_id, key_id, file_id, file_day, day, form, endpoint, total, created_at, started_at, expires_at, state)
SELECT $1, $2, 'key', f.id, f.day, f.day, f.form, '/api/endpoint', f.lines, f.created_at, now(),
    now() + interval '1 day', 'in_progress'
FROM files f WHERE f.id = $3
"""
CREATE_KEY = """
INSERT INTO api_keys (id, account_id, name, secret_sha256, scopes) VALUES ($1, $2, '', sha256(''), '{inference}')
"""
BATCH = "SELECT * FROM batches WHERE id = $1"
KEEP = "INSERT INTO batch_answers (day, batch_id, number, answer) VALUES ($1, $2, $3, $4)"
USAGE = "SELECT requests, failed, tokens_input, charged_nano FROM usage_by_day"


@pytest.fixture
async def previous(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[str, asyncpg.Pool, str]]:
    """A database as the previous release left it, and an account with a thousand nano-USD."""
    with monkeypatch.context() as patched:
        patched.setattr(migrations_module, "migrations", lambda: migrations()[:PREVIOUS])
        patched.setattr(migrations_module, "function_files", list)
        await migrate(empty_database_url)
    async with asyncpg.create_pool(empty_database_url, min_size=2, max_size=4) as pool:
        yield empty_database_url, pool, await old_account(pool, 1_000)


def _json(row: msgspec.Struct, *, without: tuple[str, ...] = ()) -> str:
    fields = {name: value for name, value in msgspec.to_builtins(row).items() if name not in without}
    return msgspec.json.encode([fields]).decode()


async def _request(connection: Connection, account: str, *, charge: int) -> str:
    """Reserve as the previous release does; gives the settlement to send."""
    reservation = a_reservation(account)
    (row,) = await connection.fetch(RESERVE, _json(reservation), 100)
    assert tuple(row)[:4] == (reservation.id, "admitted", 1, 100)
    settlement = a_settlement(reservation, charge, tokens_input=charge)
    return _json(settlement, without=SETTLEMENT_FIELDS_BESIDE)


async def _begin_file(pool: asyncpg.Pool, account: str) -> File:
    (row,) = await pool.fetch(BEGIN, new_id("file"), account)
    return File(**row)


async def test_its_prepared_calls_go_on_and_what_it_settled_before_and_after_is_rolled_up(
    previous: tuple[str, asyncpg.Pool, str],
) -> None:
    url, pool, account = previous
    connection = await asyncpg.connect(url)
    before, between = [await _request(connection, account, charge=charge) for charge in (3, 4)]
    assert await connection.fetchval(SETTLE, before, column=1) == "settled"
    assert await migrate(url)
    after = await _request(connection, account, charge=5)
    for settlement in (between, after):
        assert await connection.fetchval(SETTLE, settlement, column=1) == "settled"
    await connection.close()
    assert [tuple(row) for row in await pool.fetch(USAGE)] == [(3, 0, 12, 12)]
    assert (await check_ledger(pool)).violations == []


async def test_its_batches_go_on_beside_it_and_are_kept_as_the_setting_says(
    previous: tuple[str, asyncpg.Pool, str],
) -> None:
    """It reads whole rows, so that a new column would be too much for it."""
    url, pool, account = previous
    file = await _begin_file(pool, account)
    await add_lines(pool, file, [Line(number=n, custom_id=str(n), feed="openai", asked=ASKED) for n in (1, 2)])
    await pool.execute(READY, file.id)
    batch_id = new_id("batch")
    await pool.execute(CREATE, batch_id, account, file.id)
    await pool.execute(BATCHES["create_cursors"], batch_id, file.id, file.day)
    (before,) = await pool.fetch(BATCH, batch_id)
    batch = batch_from_row(before)
    first, second = [an_item(batch, number) for number in (1, 2)]
    assert (await feed(pool, batch, first)).requests == [first.id]
    await migrate(url)
    assert [row["batch_id"] for row in await ready_cursors(pool)] == [batch_id]
    assert (await feed(pool, batch, second, after=1)).requests == [second.id]
    for item in (first, second):
        settlement = _json(the_end_of(item), without=SETTLEMENT_FIELDS_BESIDE)
        assert await pool.fetchval(SETTLE, settlement, column=1) == "settled"
        await pool.execute(KEEP, batch.day, batch.id, item.batch_number, b"answer")
    (after,) = await pool.fetch(BATCH, batch_id)
    assert list(after.keys()) == list(before.keys())
    batch = await find_batch(pool, account, batch_id)
    assert [result.answer for result in await all_results(pool, batch)] == [b"answer"] * 2
    assert results_kept_until(batch, 7) == batch.created_at + timedelta(7)
    assert (await check_ledger(pool)).violations == []


async def test_what_keys_began_that_it_rotated_or_revoked_goes_on_and_later_ends_stop_what_they_should(
    previous: tuple[str, asyncpg.Pool, str],
) -> None:
    """It wrote no successor, and nothing ended with its keys."""
    url, pool, account = previous
    keys = rotated, revoked, phased_out, later = [f"key{number:09d}" for number in range(4)]
    await pool.executemany(CREATE_KEY, [(key, account) for key in keys])
    await pool.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", revoked)
    expires = "UPDATE api_keys SET expires_at = now() + make_interval(secs => $2) WHERE id = $1"
    await pool.execute(expires, rotated, 0)
    await pool.execute(expires, phased_out, 3_600)
    before = datetime.now(UTC)
    await migrate(url)
    after = datetime.now(UTC)
    await pool.execute(expires, phased_out, 0)
    await revoke_key(pool, later)
    began = {key: await a_batch(pool, account) for key in keys}
    for key, batch in began.items():
        await pool.execute("UPDATE batches SET key_id = $2, created_at = $3 WHERE id = $1", batch.id, key, before)
    to_change = {row["id"]: row["reason"] for row in await pool.fetch(BATCHES["of_ended_keys"])}
    assert to_change == {began[later].id: "key_revoked"}
    fed = {row["key_id"] for row in await ready_cursors(pool)}
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
