"""Those who write the same rows take turns instead of failing: who makes batches, files or keys of one account at once, who
cancels or revokes one thing twice, who gives credit while traffic has the account. They wait for `TURN_TIMEOUT_S`; traffic
itself waits for a lock for `LOCK_TIMEOUT_S` only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import asyncpg

from shared.stores.postgres import Connection, transaction

_LOCK_TIMEOUT = "SELECT set_config('lock_timeout', $1, true)"
_USUAL_LOCK_TIMEOUT = "SET LOCAL lock_timeout TO DEFAULT"
_turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
"""Of this process, by what is done to whom: who waits here has no connection, of which there are few."""


@asynccontextmanager
async def in_turn(
    source: asyncpg.Pool | Connection, lock: str, whose: str, within_s: float
) -> AsyncIterator[Connection]:
    """A transaction that has the lock which the query `lock` takes; of a connection, it is within its transaction. Raises one
    of `BUSY`, or `TimeoutError`, when the lock does not come within `within_s`.
    """
    async with _patient(source, lock, whose, within_s) as connection:
        await connection.execute(lock, whose, timeout=within_s + 1)
        await connection.execute(_USUAL_LOCK_TIMEOUT)  # who has one lock is not to wait long for the next one
        yield connection


async def patiently(
    pool: asyncpg.Pool, within_s: float, query: str, whose: str, *arguments: object
) -> list[asyncpg.Record]:
    """The rows of a query that locks what is of `whose` first. Raises as `in_turn` does."""
    async with _patient(pool, query, whose, within_s) as connection:
        rows: list[asyncpg.Record] = await connection.fetch(query, whose, *arguments, timeout=within_s + 1)
    return rows


@asynccontextmanager
async def _patient(
    source: asyncpg.Pool | Connection, what: str, whose: str, within_s: float
) -> AsyncIterator[Connection]:
    turn = _turns.setdefault((what, whose), asyncio.Lock())
    async with asyncio.timeout(within_s):
        await turn.acquire()
    try:
        async with transaction(source) as connection:
            await connection.execute(_LOCK_TIMEOUT, f"{int(within_s * 1000)}ms")
            yield connection
    finally:
        turn.release()
