"""Cleans up files: gives up silent uploads, and deletes lines that are no longer needed.

Lines are deleted in small statements, so that nothing is locked for long. Lines whose partition will soon be dropped are
left to that.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import structlog

from shared import clock
from shared.batches.queries import FILES
from shared.batches.quota import LINE_BYTES
from shared.stores.lock_numbers import Lock
from workers.sweeps.locks import alone

if TYPE_CHECKING:
    from shared.settings import Settings

log = structlog.get_logger(__name__)
FILES_PER_LOOK = 100
UNTIL_ITS_DAY_IS_GONE = timedelta(days=2)
WHILE_A_BATCH_IS_OPEN = timedelta(hours=1)


async def sweep_files(pool: asyncpg.Pool, settings: Settings) -> int:
    """Clean up every file that is due, and return their number. Raises asyncpg's errors: the next sweep goes on."""
    looked_at = 0
    async with alone(pool, Lock.FILES) as connection:
        if connection is None:
            return 0
        while rows := await pool.fetch(FILES["due"], FILES_PER_LOOK, settings.batch_days_kept):
            for row in rows:
                await _look_at(pool, row, settings)
            looked_at += len(rows)
    return looked_at


async def _look_at(pool: asyncpg.Pool, row: asyncpg.Record, settings: Settings) -> None:
    file_id, needed_until = row["id"], row["needed_until"]
    if row["state"] == "uploading":  # given up now, its lines are deleted below
        if await pool.fetchval(FILES["give_up"], file_id) is None:
            return
        log.warning("upload given up", file=file_id)
    if row["state"] == "ready" and row["is_current"]:
        await pool.execute(FILES["count_again"], file_id)
    elif row["has_open_batch"]:
        await _look_later(pool, file_id, clock.utc_now() + WHILE_A_BATCH_IS_OPEN, keeps=True)
    elif needed_until is not None:
        await _for_each_page(pool, row, "empty_lines", settings)
        await _look_later(pool, file_id, needed_until, keeps=True)
    elif row["goes_with_day"]:
        await _look_later(pool, file_id, clock.utc_now() + UNTIL_ITS_DAY_IS_GONE)
    else:
        await _for_each_page(pool, row, "delete_lines", settings)
        await _look_later(pool, file_id, None)


async def _for_each_page(pool: asyncpg.Pool, row: asyncpg.Record, query: str, settings: Settings) -> None:
    place, lines = 0, 0
    limits = (settings.retention_rows_max, settings.files_sweep_bytes)
    while (end := await pool.fetchval(FILES["page_end"], row["id"], row["day"], place, *limits)) is not None:
        status = await pool.execute(FILES[query], row["id"], row["day"], place, end)
        lines += int(status.rpartition(" ")[2])
        place = end
    if lines:
        log.info("lines of a file swept", file=row["id"], what=query, lines=lines)


async def _look_later(pool: asyncpg.Pool, file_id: str, at: datetime | None, *, keeps: bool = False) -> None:
    """Set the next time for the file; None means never. With `keeps`, the lines that are left still count towards the
    quota.
    """
    await pool.execute(FILES["look_later"], file_id, at, LINE_BYTES if keeps else 0)
