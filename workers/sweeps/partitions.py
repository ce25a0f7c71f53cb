"""Maintains partitions: creates those of coming months and days long before they are needed, and drops expired days while
traffic goes on.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import structlog

from shared.ledger.ledger import SQL
from shared.stores.brief_locks import brief_locks, when_free
from shared.stores.lock_numbers import Lock
from shared.stores.postgres import load_queries
from workers.sweeps.locks import alone

if TYPE_CHECKING:
    from shared.settings import Settings

log = structlog.get_logger(__name__)
MONTHS_AHEAD, DAYS_AHEAD = 3, 3
DAILY = ("file_lines", "batch_items", "batch_answers")
DAYS = load_queries("days")


async def sweep_months(pool: asyncpg.Pool, settings: Settings) -> None:
    """Maintain the months of requests and ledger. Raises asyncpg's errors."""
    if made := await _change(pool, settings, Lock.MONTHS, SQL["ensure_partitions"], MONTHS_AHEAD):
        log.info("months made", partitions=made)


async def sweep_days(pool: asyncpg.Pool, settings: Settings) -> None:
    """Maintain the days of batches. Raises asyncpg's errors."""
    if changed := await _change(pool, settings, Lock.DAYS, SQL["rotate_days"], DAYS_AHEAD, settings.batch_days_kept):
        log.info("days made or dropped", partitions=changed)
    for table in DAILY:
        await _empty_default(pool, table, settings)


async def _empty_default(pool: asyncpg.Pool, table: str, settings: Settings) -> None:
    """Delete rows that were stored when their day had no partition, a page at a time, once their day would have been
    dropped.
    """
    rows = 0
    for row in await pool.fetch(DAYS["over"].format(table=table), settings.batch_days_kept, DAYS_AHEAD):
        status = ""
        while status != "DELETE 0":
            async with alone(pool, Lock.DAYS) as connection:
                if connection is None:
                    return
                status = await connection.execute(
                    DAYS["delete"].format(table=table), row["day"], settings.retention_rows_max
                )
            rows += int(status.rpartition(" ")[2])
    if rows:
        log.info("rows of days without a partition deleted", table=table, rows=rows)


async def _change(pool: asyncpg.Pool, settings: Settings, lock: int, query: str, *arguments: int) -> int:
    """Create or drop partitions and return their number; 0 if another worker is doing it."""
    return await when_free(partial(_once, pool, settings, lock, query, *arguments), within_s=settings.ddl_within_s)


async def _once(pool: asyncpg.Pool, settings: Settings, lock: int, query: str, *arguments: int) -> int:
    async with alone(pool, lock) as connection:
        if connection is None:
            return 0
        async with brief_locks(connection, settings.ddl_lock_timeout_s, pool):
            return int(await connection.fetchval(query, *arguments))
