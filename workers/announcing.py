"""Writes a worker's heartbeat, and makes the worker follow the operators' switches."""

from __future__ import annotations

import socket
from importlib.metadata import version
from typing import TYPE_CHECKING

import structlog

from shared.operators.switches import switched_off
from shared.queue.heartbeat import Heartbeat, announce, say_goodbye
from shared.runtime.last_minute import LAST_MINUTE
from shared.stores import redis_client

if TYPE_CHECKING:
    import asyncpg

    from shared.settings import Settings
    from workers.loop.leased_worker import LeasedWorker
    from workers.upstreams.states import States
    from workers.vendors import Announcement

log = structlog.get_logger(__name__)
VERSION = version("rebootml")


class Announcer:
    """Writes the worker's heartbeat and follows the operators' switches: pauses of providers, and drains of upstreams and
    of the worker itself.
    """

    def __init__(
        self, worker: LeasedWorker, offer: Announcement, states: States, pool: asyncpg.Pool, settings: Settings
    ) -> None:
        self._worker = worker
        self._offer = offer
        self._states = states
        self._pool = pool
        self._settings = settings

    async def announce(self) -> None:
        """Write the heartbeat. Raises redis-py's errors."""
        worker = self._worker
        heartbeat = Heartbeat(
            id=worker.worker_id,
            queues=self._settings.worker_queues,
            claims=worker.queues,
            services=self._offer.services,
            upstreams=self._offer.upstreams,
            providers=self._offer.providers,
            unserved=self._offer.unserved,
            drained=tuple(sorted(self._states.drained)),
            slots=self._settings.worker_slots,
            running=len(worker.leases.held),
            draining=worker.draining,
            paused=tuple(sorted(worker.paused)),
            lately=LAST_MINUTE.told(),
            host=socket.gethostname(),
            version=VERSION,
        )
        await announce(worker.pool, heartbeat, self._settings.worker_seen_s)

    async def heed(self) -> bool:
        """Read the switches and follow them; returns whether anything changed. If asyncpg raises an error, that error
        is raised and nothing changes.
        """
        worker, states = self._worker, self._states
        before = worker.paused, states.drained, worker.draining
        off = await switched_off(self._pool)
        worker.pause(off.paused)
        states.drained = off.drained
        if worker.worker_id in off.draining:
            worker.stop_claiming()
        return (worker.paused, states.drained, worker.draining) != before

    async def heed_and_say_so(self) -> None:
        """Follow the switches, and write a heartbeat at once if anything changed: the operator waits until every worker
        has confirmed the change.
        """
        if await self.heed():
            await self.announce()

    async def say_goodbye(self) -> None:
        """Delete the heartbeat if Redis can be reached; otherwise it expires."""
        try:
            await say_goodbye(self._worker.pool, self._worker.worker_id)
        except redis_client.UNREACHABLE:
            log.info("no goodbye: the queue is unreachable")
