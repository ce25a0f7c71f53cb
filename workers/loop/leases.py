"""The leases of a worker's runs: they are renewed while the runs go on, and a run whose lease is lost is cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from shared.errors import Unavailable
from shared.queue.queue import Queue
from shared.runtime.metrics import LEASES_LOST
from workers.loop.lease import CancelReason, Lease
from workers.loop.progress import Progress

log = structlog.get_logger(__name__)
AFTER_OUTAGE_S = 1.0


class Leases(dict[str, Lease]):
    """By job, the lease of each run. `tasks` are arq's tasks of the job functions. The owner runs `renew` and `tell_calls` as
    tasks.
    """

    def __init__(
        self,
        queue: Queue,
        tasks: Mapping[str, asyncio.Task[Any]],
        progress: Progress,
        *,
        lease_s: float,
        calls_told_every_s: float,
    ) -> None:
        super().__init__()
        self._queue = queue
        self._tasks = tasks
        self._progress = progress
        self._lease_s = lease_s
        self._calls_told_every_s = calls_told_every_s
        self.outage = False
        """True if Redis was away, so that all leases may have lapsed."""
        self.claim_not_before = 0.0
        """The monotonic time until which others may renew their leases after an outage."""

    @property
    def held(self) -> list[Lease]:
        """The leases that are to be renewed."""
        return [lease for lease in self.values() if lease.is_held]

    async def renew(self) -> None:
        """Renew all leases, three times within `lease_s`, until cancelled."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            try:
                await self.renew_once()
                self._progress.renewed()
            except Unavailable as error:
                self.outage = True
                log.warning("leases not renewed", reason=error.message, jobs=len(self.held))

    async def tell_calls(self) -> None:
        """Renew the leases whose vendor calls Redis does not know yet, until cancelled. Calls that end sooner cost no
        renewal.
        """
        while True:
            await asyncio.sleep(self._calls_told_every_s)
            try:
                if untold := [lease for lease in self.held if lease.has_new_call]:
                    await self._renew(untold)
            except Unavailable as error:
                log.info("vendor calls not told", reason=error.message)

    async def renew_once(self) -> None:
        """Renew all leases. After an outage Redis is asked even if there are none, to see whether it answers again. Raises
        `Unavailable`.
        """
        if self.held or self.outage:
            await self._renew(self.held)

    async def renew_after_outage(self) -> None:
        """When Redis comes back, all leases have lapsed: renew ours, give others time to renew theirs, and only then claim.
        Redis must answer first, also for a worker that has nothing to renew. Raises `Unavailable`.
        """
        if self.outage:
            await self.renew_once()
            self.outage = False
            self.claim_not_before = time.monotonic() + AFTER_OUTAGE_S

    def cancel(self, lease: Lease, reason: CancelReason) -> None:
        """Cancel the run, unless it has ended or was cancelled because its lease is lost."""
        task = self._tasks.get(lease.job_id) if lease.has_begun else None
        if task and not task.done() and lease.cancelled_for != "lost":
            lease.cancelled_for = reason
            task.cancel()

    async def _renew(self, held: Sequence[Lease]) -> None:
        calls = {lease.job_id: lease.vendor_call for lease in held if lease.vendor_call}
        lost = set(await self._queue.renew([lease.claim for lease in held], calls))
        for lease in held:
            lease.told_call = calls.get(lease.job_id, lease.told_call)
            # a job that has ended, or may have, while Redis was asked has not lost its lease
            ended = lease.job_id not in self._tasks or lease.is_writing_end
            if lease.job_id in lost and not ended:
                log.warning("lease lost", job_id=lease.job_id)
                LEASES_LOST.inc()
                self.cancel(lease, "lost")
