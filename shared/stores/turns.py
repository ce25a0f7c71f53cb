"""Makes writers of the same rows take turns instead of failing: those who create batches, files or keys of one account
at the same time, cancel or revoke one thing twice, or credit an account that has traffic. They wait for
`TURN_TIMEOUT_S`; traffic itself waits for a lock for `LOCK_TIMEOUT_S` only.
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
"""The turns within this process, by lock and subject. Whoever waits here holds no connection, because there are few."""


@asynccontextmanager
async def in_turn(
    source: asyncpg.Pool | Connection, lock: str, whose: str, within_s: float
) -> AsyncIterator[Connection]:
    """A transaction that holds the lock which the query `lock` takes; if `source` is a connection, a part of its
    transaction. Raises one of `BUSY`, or `TimeoutError`, if the lock is not granted within `within_s`.
    """
    async with _patient(source, lock, whose, within_s) as connection:
        await connection.execute(lock, whose, timeout=within_s + 1)
        await connection.execute(_USUAL_LOCK_TIMEOUT)  # a holder of one lock must not wait long for the next
        yield connection


async def patiently(
    pool: asyncpg.Pool, within_s: float, query: str, whose: str, *arguments: object
) -> list[asyncpg.Record]:
    """The rows of a query that first locks the rows of `whose`. Raises as `in_turn` does."""
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
