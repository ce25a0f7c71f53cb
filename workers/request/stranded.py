"""Finds requests in queues from which no worker takes jobs, because the provider is paused or its workers are gone.

A request that another model may serve goes on with that model, as after a failure of its own model. A request that
somebody wants to cancel ends, and its hold is released, if no vendor was ever called for it. All others stay until
workers come back or their deadline passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from shared.errors import Cancelled, Overloaded
from shared.lanes import lane_of, lanes_of, queue_of
from shared.ledger.settlement import Settlement
from shared.queue.heartbeat import living_workers, serve, takers_of
from shared.queue.known import cancelled_among, has_journal, job_of
from shared.stores.lock_numbers import Lock
from shared.vendors import PROVIDERS
from workers.request.billing import Received
from workers.request.fallbacks import tried_now
from workers.request.past import Waiting, look_back_at_calls, packed_lost, waiting_of
from workers.request.reporting import report_fallback
from workers.request.resuming import resume_calls
from workers.sweeps.locks import alone

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg
    import redis.asyncio

    from shared.lanes import QueueName
    from shared.ledger.settler import Settler
    from shared.queue.heartbeat import Heartbeat
    from shared.queue.queue import Queue
    from workers.upstreams.routes import Routes

log = structlog.get_logger(__name__)
LOOKED_AT_ONCE = 500
NOBODY = Overloaded("No worker takes requests for its model now.")


class Stranded:
    """Moves stranded requests on, or ends them. Call `sweep` at intervals; only one worker at a time does it."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        client: redis.asyncio.Redis,
        queue: Queue,
        settler: Settler,
        routes: Routes,
        *,
        after_s: float,
    ) -> None:
        """A request that has waited for less than `after_s` seconds stays."""
        self._pool = pool
        self._client = client
        self._queue = queue
        self._settler = settler
        self._routes = routes
        self._after_s = after_s

    async def sweep(self) -> int:
        """Move on or end all stranded requests, and return their number. Raises redis-py's and asyncpg's errors and
        `Unavailable`.
        """
        async with alone(self._pool, Lock.STRANDED) as connection:
            workers = await living_workers(self._client) if connection else []
            if not workers:
                return 0
            queues = [queue_of(provider, lane) for provider in PROVIDERS for lane in lanes_of(provider)]
            return sum([await self._look_at(queue, workers) for queue in queues if not takers_of(workers, queue)])

    async def _look_at(self, queue: QueueName, workers: Sequence[Heartbeat]) -> int:
        seconds, _ = await self._client.time()
        before_ms = int((seconds - self._after_s) * 1000)
        found: list[Waiting] = []
        cancelled: set[str] = set()
        while ids := await self._client.zrangebyscore(queue, "-inf", before_ms, len(found), LOOKED_AT_ONCE):
            request_ids = [one.decode() for one in ids]
            found += await waiting_of(self._client, request_ids)
            cancelled |= await cancelled_among(self._client, request_ids)
        done = 0
        for one in found:
            if one.id in cancelled and not one.epoch:
                done += await self._end(queue, one)
            elif one.goes_on:
                done += await self._goes_on(queue, workers, one.id, one.epoch)
        return done

    async def _end(self, queue: QueueName, one: Waiting) -> bool:
        """End a request for which no vendor was called. False if a worker has it after all."""
        if not one.account_id or not await self._queue.bury(one.id, queue, or_void=False):
            return False
        error = Cancelled("The request was cancelled.")
        self._settler.settle_soon(Settlement.uncharged(one.id, one.account_id, error))
        return True

    async def _goes_on(self, queue: QueueName, workers: Sequence[Heartbeat], job_id: str, epoch: int) -> bool:
        job = await job_of(self._client, job_id)
        if job is None or await has_journal(self._client, job_id):
            return False
        past = await look_back_at_calls(self._client, job_id)
        received = Received(lost=list(past.lost))
        resume_calls(received, job, past, epoch, self._routes.cost_factor)
        calls = received.calls
        tried = await tried_now(self._client, job, queue, NOBODY.code, calls - job.calls_before)
        if tried is None or job.left_s() <= 0:
            return False
        then = job.at_next(tried)
        # without a worker, the request would wait in the next model's queue as well
        if not serve(workers, then.model, queue_of(then.model.provider, lane_of(queue))):
            return False
        is_moved = await self._queue.pass_on(queue, then, epoch, calls=calls, lost=packed_lost(received))
        if is_moved:
            report_fallback(job, then, NOBODY)
        return is_moved
