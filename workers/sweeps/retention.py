"""Deletes expired rows: answers, inputs of responses, idempotency keys, sessions of the console. Requests and money are
kept for good.
"""

from __future__ import annotations

import asyncpg
import structlog

from shared.stores.lock_numbers import Lock
from shared.stores.postgres import load_queries
from workers.sweeps.locks import alone

log = structlog.get_logger(__name__)
SQL = load_queries("retention")


async def sweep_expired(pool: asyncpg.Pool, rows_max: int) -> dict[str, int]:
    """Delete expired rows, `rows_max` at a time, each time in a transaction of its own, so that nothing is locked for long.
    Returns the number of rows by table. Raises asyncpg's errors: the next sweep goes on.
    """
    deleted = {table: await _empty(pool, table, rows_max) for table in SQL}
    if any(deleted.values()):
        log.info("expired rows deleted", **deleted)
    return deleted


async def _empty(pool: asyncpg.Pool, table: str, rows_max: int) -> int:
    deleted = 0
    while True:
        async with alone(pool, Lock.RETENTION) as connection:
            rows: int = await connection.fetchval(SQL[table], rows_max) if connection else 0
        deleted += rows
        if not rows:
            return deleted
