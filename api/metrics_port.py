"""Pages that a front door serves on its metrics port beside metrics: how much waits in the queues, and the number by
which workers are scaled (`/scale`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog
from aiohttp import web

from shared.errors import Unavailable
from shared.lanes import short_name
from shared.runtime.metrics import QUEUE_JOBS, QUEUE_OLDEST_SECONDS, SLOTS, SLOTS_WANTED, WORKERS

if TYPE_CHECKING:
    from api.requests.directory import Directory
    from shared.queue.demand import Demand

log = structlog.get_logger(__name__)


class QueuesPage:
    """`get_scale` answers `GET /scale`; `refresh` is called before metrics are written."""

    def __init__(self, demand: Demand, directory: Directory) -> None:
        self._demand = demand
        self._directory = directory

    async def get_scale(self, _: web.Request) -> web.Response:
        """200 with `Scale`, or 503 while a store is away, so that a scaler changes nothing then."""
        try:
            scale = await self._demand.scale()
        except Unavailable as error:
            body, status = msgspec.json.encode({"error": error.body()}), error.status
            return web.Response(body=body, status=status, content_type="application/json", headers={"Retry-After": "5"})
        return web.Response(body=msgspec.json.encode(scale), content_type="application/json")

    async def refresh(self) -> None:
        """Set the gauges to the present values; unknown values are removed."""
        for gauge in (QUEUE_JOBS, QUEUE_OLDEST_SECONDS, SLOTS_WANTED, SLOTS, WORKERS):
            gauge.clear()
        self._tell_workers()
        try:
            scale = await self._demand.scale()
        except Unavailable as error:
            log.warning("queues not looked at", reason=error.message)
            return
        for deployment, slots in scale.slots_wanted.items():
            SLOTS_WANTED.labels(deployment).set(slots)
        for queue, depth in scale.queues.items():
            for state in ("due", "leased", "deferred"):
                QUEUE_JOBS.labels(queue, state).set(getattr(depth, state))
            QUEUE_OLDEST_SECONDS.labels(queue).set(depth.oldest_s)

    def _tell_workers(self) -> None:
        workers = self._directory.workers
        for queue in {queue for worker in workers for queue in worker.claims if worker.takes(queue)}:
            takers = [worker for worker in workers if worker.takes(queue)]
            name = short_name(queue)
            WORKERS.labels(name).set(len(takers))
            SLOTS.labels(name, "all").set(sum(worker.slots for worker in takers))
            SLOTS.labels(name, "free").set(sum(max(0, worker.slots - worker.running) for worker in takers))
