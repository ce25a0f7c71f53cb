"""Takes requests back: releases their holds, and keeps their jobs from running."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shared.errors import RebootError, Unavailable
from shared.job import JobHead
from shared.ledger.settlement import Settlement
from shared.stores import keys

if TYPE_CHECKING:
    from shared.ledger.settler import Settler
    from shared.queue.queue import Queue
    from shared.settings import Settings


class TakingBack:
    """`take_back` ends a request before its caller is told an error; `bury` only keeps its job from running."""

    def __init__(self, queue: Queue, settler: Settler, group: asyncio.TaskGroup, settings: Settings) -> None:
        self._queue = queue
        self._settler = settler
        self._group = group
        self._retry_s = settings.settle_retry_s

    async def bury(self, job: JobHead, lane: str) -> bool:
        """Make sure that the request never runs any more; False if a worker has it. Raises `Unavailable`."""
        return await self._queue.bury(job.id, keys.queue(job.model.provider, lane), or_void=False)

    async def take_back(self, job: JobHead, lane: str, error: RebootError) -> bool:
        """Make sure that nothing is ever charged for the request, and, as soon as Redis answers, that it does not run. False
        if it had ended before. Raises `Unavailable` if Postgres does not answer; the request is given up nevertheless,
        unless it has ended.
        """
        self._group.create_task(self._keep_from_running(job, lane))
        settlement = Settlement.uncharged(job.id, job.account_id, error, void=True)
        return await self._settler.settle(settlement) != "repeated"

    async def _keep_from_running(self, job: JobHead, lane: str) -> None:
        """Bury the job. If a worker has it, the job becomes void and is cancelled, and the worker ends it."""
        while True:
            try:
                if not await self._queue.bury(job.id, keys.queue(job.model.provider, lane)):
                    await self._queue.cancel(job.id)
            except Unavailable:
                await asyncio.sleep(self._retry_s)
            else:
                return
