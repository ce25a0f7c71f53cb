"""Cancels the running requests of keys that were revoked or have expired. Batches are `workers/batches/finish.py`'s."""

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
"""What runs on so long is asked for again: some requests run to their end, and Redis may have forgotten that it was asked."""


class EndedKeys:
    """`sweep` asks for the cancellation of what must stop. Every worker asks: twice changes nothing, and a worker that is
    stopped holds nobody up.
    """

    def __init__(self, pool: asyncpg.Pool, queue: Queue, settings: Settings) -> None:
        self._pool = pool
        self._queue = queue
        self._lately_s = settings.body_within_s + settings.deadline_max_s + settings.hold_grace_s
        self._asked: dict[str, float] = {}
        """What runs on, and when we asked."""

    async def sweep(self) -> int:
        """Returns for how many it has asked. What is running is looked through only when a key has ended lately.

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
        """The ids of all that still runs."""
        found: list[str] = []
        while True:
            after = found[-1] if found else ""
            rows = await self._pool.fetch(SQL["requests_to_stop"], ended, after, REQUESTS_PER_PAGE)
            found += [row["id"] for row in rows]
            if len(rows) < REQUESTS_PER_PAGE:
                return found
