"""What is kept no longer goes, in small steps; what is kept, and all that is money, stays."""

from __future__ import annotations

import asyncpg
import pytest

from shared.ledger.api_keys import KeyRules, create_key
from shared.stores.lock_numbers import Lock
from tests.integration.conftest import NewAccount
from workers.sweeps.retention import SQL, sweep_expired

ANSWERS = """
    INSERT INTO answers SELECT 'req_' || n || $1, '\\x00', now() + make_interval(secs => $2) FROM generate_series(1, $3) n
"""
KEYS = """
    INSERT INTO idempotency_keys
    SELECT $1, sha256(format('%s %s', n, $2::float)::bytea), sha256(''), 'req', now(),
        now() + make_interval(secs => $2::float)
    FROM generate_series(1, $3) n
"""
RESPONSES = """
    INSERT INTO responses (request_id, account_id, attended, told, input, bytes, keep_until)
    SELECT format('req_%s %s', n, $2::float), $1, true, '', '', 10, now() + make_interval(secs => $2::float)
    FROM generate_series(1, $3) n
"""
SESSIONS = """
    INSERT INTO console_sessions
    SELECT sha256(format('%s %s %s', n, $1::text, $2::float)::bytea), $1, true, now() + make_interval(secs => $2::float)
    FROM generate_series(1, $3) n
"""
ROOM = """
    INSERT INTO response_room AS m VALUES ($1, $2)
    ON CONFLICT (account_id) DO UPDATE SET bytes = m.bytes + EXCLUDED.bytes
"""


@pytest.fixture
async def account(pool: asyncpg.Pool, new_account: NewAccount) -> str:
    await pool.execute("TRUNCATE answers, idempotency_keys, responses, response_room, console_sessions")
    return await new_account(1_000)


async def _fill(pool: asyncpg.Pool, account: str, *, lives_s: float, rows: int) -> None:
    await pool.execute(ANSWERS, f"{account}{lives_s}", lives_s, rows)
    await pool.execute(KEYS, account, lives_s, rows)
    await pool.execute(RESPONSES, account, lives_s, rows)
    await pool.execute(ROOM, account, 10 * rows)
    key = await create_key(pool, account, KeyRules())
    await pool.execute(SESSIONS, key.key_id, lives_s, rows)


def _deleted(answers: int, keys: int, responses: int, sessions: int) -> dict[str, int]:
    return {"answers": answers, "idempotency_keys": keys, "responses": responses, "console_sessions": sessions}


async def _left(pool: asyncpg.Pool) -> tuple[int, ...]:
    return tuple([await pool.fetchval(f"SELECT count(*) FROM {table}") for table in SQL])


@pytest.mark.parametrize("rows_max", [1, 3, 7, 100])
async def test_what_has_expired_is_deleted_and_what_is_kept_stays(
    pool: asyncpg.Pool, account: str, rows_max: int
) -> None:
    await _fill(pool, account, lives_s=-1, rows=7)
    await _fill(pool, account, lives_s=60, rows=4)
    assert await sweep_expired(pool, rows_max) == _deleted(7, 7, 7, 7)
    assert await _left(pool) == (4, 4, 4, 4)
    assert await sweep_expired(pool, rows_max) == _deleted(0, 0, 0, 0)


async def test_what_is_deleted_of_responses_leaves_room_for_others(
    pool: asyncpg.Pool, account: str, new_account: NewAccount
) -> None:
    other = await new_account(1_000)
    await _fill(pool, account, lives_s=-1, rows=7)
    await _fill(pool, account, lives_s=60, rows=4)
    await pool.execute(RESPONSES, other, -2, 5)
    await pool.execute(ROOM, other, 50)
    assert (await sweep_expired(pool, 3))["responses"] == 12
    rooms = await pool.fetch("SELECT account_id, bytes FROM response_room")
    assert {row["account_id"]: row["bytes"] for row in rooms} == {account: 40, other: 0}


async def test_a_step_deletes_no_more_rows_than_it_may_the_oldest_first(pool: asyncpg.Pool, account: str) -> None:
    for lives_s in (-1, -3, -2):
        await _fill(pool, account, lives_s=lives_s, rows=2)
    for table, query in SQL.items():
        assert await pool.fetchval(query, 3) == 3
        left = await pool.fetch(
            f"SELECT round(extract(epoch FROM now() - keep_until)) AS age FROM {table} ORDER BY age"
        )
        assert [row["age"] for row in left] == sorted(row["age"] for row in left)[:3]


async def test_one_worker_deletes_at_a_time(pool: asyncpg.Pool, account: str) -> None:
    await _fill(pool, account, lives_s=-1, rows=2)
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1)", Lock.RETENTION)
        assert await sweep_expired(pool, 10) == _deleted(0, 0, 0, 0)
    assert await sweep_expired(pool, 10) == _deleted(2, 2, 2, 2)


async def test_a_key_that_is_used_again_just_now_is_left_alone_and_nobody_waits_for_it(
    pool: asyncpg.Pool, account: str
) -> None:
    await _fill(pool, account, lives_s=-1, rows=3)
    async with pool.acquire() as reserving, reserving.transaction():
        await reserving.execute(
            "UPDATE idempotency_keys SET keep_until = now() + interval '1 day' WHERE key ="
            " (SELECT key FROM idempotency_keys ORDER BY key LIMIT 1)"
        )
        assert (await sweep_expired(pool, 10))["idempotency_keys"] == 2
    assert (await sweep_expired(pool, 10))["idempotency_keys"] == 0
    assert await _left(pool) == (0, 1, 0, 0)


@pytest.mark.parametrize("table", SQL)
async def test_expired_rows_are_found_by_their_index(pool: asyncpg.Pool, account: str, table: str) -> None:
    await _fill(pool, account, lives_s=60, rows=5_000)
    await _fill(pool, account, lives_s=-1, rows=20)
    await pool.execute(f"ANALYZE {table}")
    plan = "\n".join(row[0] for row in await pool.fetch(f"EXPLAIN {SQL[table].replace('$1', '10')}"))
    assert f"{table}_by_end" in plan, plan
    assert "Seq Scan" not in plan, plan
