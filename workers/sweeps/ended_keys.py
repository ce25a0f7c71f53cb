"""Cancels the running requests of keys that were revoked or have expired. `workers/batches/finish.py` does that for
batches.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import asyncpg
import structlog

from shared.ledger.api_keys import SQL

if TYPE_CHECKING:
    from shared.queue.queue import Queue
    from shared.settings import Settings

log = structlog.get_logger(__name__)
REQUESTS_PER_PAGE = 1_000
AGAIN_AFTER_S = 30.0
"""Seconds after a cancellation until a request that still runs is cancelled again. Some requests run to their end, and
Redis may have forgotten the first cancellation.
"""


class EndedKeys:
    """Cancels what must stop: `sweep` asks for the cancellations. Every worker does that: asking twice changes nothing,
    and a stopped worker delays nobody.
    """

    def __init__(self, pool: asyncpg.Pool, queue: Queue, settings: Settings) -> None:
        self._pool = pool
        self._queue = queue
        self._lately_s = settings.body_within_s + settings.deadline_max_s + settings.hold_grace_s
        self._asked: dict[str, float] = {}
        """Requests that still run, each with the monotonic time at which its cancellation was asked for."""

    async def sweep(self) -> int:
        """Ask for the cancellations and return their number. Running requests are read only if a key has ended lately.
        Raises asyncpg's errors and `Unavailable`.
        """
        ended = [row["id"] for row in await self._pool.fetch(SQL["ended_lately"], self._lately_s)]
        running = await self._to_stop(ended) if ended else []
        self._asked = {one: self._asked[one] for one in running if one in self._asked}
        before = time.monotonic() - AGAIN_AFTER_S
        due = [one for one in running if self._asked.get(one, before) <= before]
        for one in due:
            await self._queue.cancel(one)
            self._asked[one] = time.monotonic()
        if due:
            log.info("requests of ended keys cancelled", requests=len(due))
        return len(due)

    async def _to_stop(self, ended: list[str]) -> list[str]:
        """The ids of all requests of these keys that still run."""
        found: list[str] = []
        while True:
            after = found[-1] if found else ""
            rows = await self._pool.fetch(SQL["requests_to_stop"], ended, after, REQUESTS_PER_PAGE)
            found += [row["id"] for row in rows]
            if len(rows) < REQUESTS_PER_PAGE:
                return found
