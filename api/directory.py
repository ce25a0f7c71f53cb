"""Which workers are alive, as their heartbeats tell: what can be served, and why something cannot."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from shared import keys
from shared.errors import Overloaded, ProviderNotConfigured
from shared.heartbeat import Heartbeat, living_workers
from shared.scripts import UNREACHABLE

if TYPE_CHECKING:
    import redis.asyncio

    from shared.catalogue import Model
    from shared.settings import Settings

log = structlog.get_logger(__name__)


class Directory:
    """The living workers, read again every `HEARTBEAT_S`. `run` is its reader, a task of the owner."""

    def __init__(self, client: redis.asyncio.Redis, settings: Settings) -> None:
        self._client = client
        self._read_every_s = settings.heartbeat_s
        self._missing_s = settings.worker_missing_s
        self._started = time.monotonic()
        self._last_served: dict[tuple[str, str], float] = {}
        self.workers: list[Heartbeat] = []

    async def run(self) -> None:
        """Read until cancelled. While Redis is away the last picture stays."""
        while True:
            try:
                await self.read()
            except UNREACHABLE as error:
                log.warning("heartbeats not read", reason=type(error).__name__)
            await asyncio.sleep(self._read_every_s)

    async def read(self) -> None:
        """Read once. Raises redis-py's errors."""
        self.workers = await living_workers(self._client)
        now = time.monotonic()
        for worker in self.workers:
            for queue in worker.queues if not worker.draining else ():
                self._last_served.update(dict.fromkeys(((queue, api) for api in worker.apis), now))

    def serves(self, model: Model, lane: str = "interactive") -> bool:
        """Whether a living worker would take a request for `model` now."""
        queue = keys.queue(model.provider, lane)
        return any(worker.can_serve(queue, model.api) for worker in self.workers)

    def require(self, model: Model, lane: str = "interactive") -> None:
        """Raises `ProviderNotConfigured` when living workers of the queue lack the vendor, `Overloaded` when the queue has
        had no worker for `WORKER_MISSING_S`; a shorter gap (a deploy, a crash) is waited out in the queue.
        """
        if self.serves(model, lane):
            return
        queue = keys.queue(model.provider, lane)
        last_served = self._last_served.get((queue, model.api), self._started)
        if any(queue in worker.queues and not worker.draining for worker in self.workers):
            raise ProviderNotConfigured(
                f"{model.name} is not served here: no worker has credentials for its vendor. GET /api/models shows what is."
            )
        if time.monotonic() - last_served > self._missing_s:
            raise Overloaded(f"No worker is serving {model.name} at the moment: try again later.")
