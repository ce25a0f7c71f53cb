"""A worker's answers on its metrics port. `GET /healthz` says whether its event loop turns, `GET /readyz` whether it
takes jobs and keeps its leases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from shared.stores.reach import Reach
    from workers.loop.leased_worker import LeasedWorker

STUCK_AFTER_LEASES = 3


class WorkerReadiness(msgspec.Struct, frozen=True, kw_only=True):
    """The readiness of a worker. `claim_age_s` is the number of seconds since it asked the queues for jobs,
    `renewal_age_s` since it renewed its leases. Both are shorter than a lease while all is well.
    """

    status: Literal["ready", "not ready"]
    postgres: bool
    redis: bool
    draining: bool
    running: int
    claim_age_s: float
    renewal_age_s: float


class Health:
    """The worker's pages: `pages` are served on the metrics port."""

    def __init__(self, worker: LeasedWorker, reach: Reach, lease_s: float) -> None:
        self._worker = worker
        self._reach = reach
        self._stuck_after_s = STUCK_AFTER_LEASES * lease_s
        self.pages = {"/healthz": self._healthz, "/readyz": self._readyz}

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, _: web.Request) -> web.Response:
        reached = await self._reach.look()
        worker, progress = self._worker, self._worker.progress
        moves = max(progress.claim_age_s, progress.renewal_age_s) < self._stuck_after_s
        ready = moves and self._reach.lately and not worker.draining
        body = WorkerReadiness(
            status="ready" if ready else "not ready",
            postgres=reached.postgres,
            redis=reached.redis,
            draining=worker.draining,
            running=len(worker.leases.held),
            claim_age_s=round(progress.claim_age_s, 3),
            renewal_age_s=round(progress.renewal_age_s, 3),
        )
        data = msgspec.json.encode(body)
        return web.Response(body=data, status=200 if ready else 503, content_type="application/json")
