"""Cancels the running requests of keys that were revoked or have expired. Batches are `workers/batches/finish.py`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import structlog

from shared.ledger.api_keys import SQL

if TYPE_CHECKING:
    from shared.queue.queue import Queue
    from shared.settings import Settings

log = structlog.get_logger(__name__)
REQUESTS_PER_SWEEP = 10_000


async def sweep_ended_keys(pool: asyncpg.Pool, queue: Queue, settings: Settings) -> int:
    """Ask for their cancellation; returns for how many. Every worker asks: twice changes nothing, and a worker that is
    stopped holds nobody up. What is running is looked through only when a key has ended lately.

    Raises asyncpg's errors and `Unavailable`.
    """
    lately_s = settings.body_within_s + settings.request_deadline_s + settings.hold_grace_s
    ended = [row["id"] for row in await pool.fetch(SQL["ended_lately"], lately_s)]
    if not ended:
        return 0
    rows = await pool.fetch(SQL["requests_to_stop"], ended, REQUESTS_PER_SWEEP)
    for row in rows:
        await queue.cancel(row["id"])
    if rows:
        log.info("requests of ended keys cancelled", requests=len(rows))
    return len(rows)
