"""The living workers as their heartbeats describe them: what can be served, and why something cannot."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

import structlog

from shared.errors import Overloaded, ProviderNotConfigured
from shared.lanes import QueueName, provider_of
from shared.queue.heartbeat import Heartbeat, differing, lack, living_workers, serve
from shared.queue.upstreams import none_is_available
from shared.runtime.metrics import UPSTREAMS_DIFFERING
from shared.stores import keys
from shared.stores.redis_client import UNREACHABLE

if TYPE_CHECKING:
    import redis.asyncio

    from api.requests.upstream_watch import UpstreamWatch
    from shared.catalogue.models import Model
    from shared.settings import Settings

log = structlog.get_logger(__name__)


class Directory:
    """The living workers, read again every `HEARTBEAT_S`. The owner runs `run` as a task."""

    def __init__(self, client: redis.asyncio.Redis, upstreams: UpstreamWatch, settings: Settings) -> None:
        self._client = client
        self._upstreams = upstreams
        self._patience_s = settings.upstream_wait_s
        self._read_every_s = settings.heartbeat_s
        self._missing_s = settings.worker_missing_s
        self._started = time.monotonic()
        self._last_taken: dict[QueueName, float] = {}
        self._differing: dict[tuple[QueueName, str], list[str]] = {}
        self.workers: list[Heartbeat] = []

    async def run(self) -> None:
        """Read until cancelled. While Redis is away, the last known state stays."""
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
            self._last_taken.update(dict.fromkeys(filter(worker.takes, worker.claims), now))
        self._tell_differing()
        await self._upstreams.read(self.workers)

    def _tell_differing(self) -> None:
        """Log differences: all workers of a queue should hold the same upstreams, otherwise the result depends on the
        worker.
        """
        found = differing(self.workers)
        UPSTREAMS_DIFFERING.set(len(found))
        for (queue, upstream), workers in found.items():
            if self._differing.get((queue, upstream)) != workers:
                log.warning("workers hold different upstreams", queue=queue, upstream=upstream, workers=workers)
        self._differing = found

    def serves(self, model: Model, lane: str = "interactive") -> bool:
        """True if workers would take a request for `model` now: every worker that might take it must be able to call the
        model.
        """
        return serve(self.workers, model, keys.queue(model.provider, lane))

    def available(self, model: Model) -> bool:
        """True if a single request would be taken now and run soon."""
        return self.serves(model) and self._upstreams.unavailable_for_s(model) <= self._patience_s

    def require(self, model: Model, lane: str = "interactive") -> None:
        """Raise an error if a request for `model` cannot be served.

        `ProviderNotConfigured` if living workers lack the vendor's credentials. `Overloaded` if the queue has had no worker
        for `WORKER_MISSING_S`; a shorter gap (a deploy, a crash) is waited out in the queue. `ProviderBusy` if no upstream
        may be called for longer than a request may wait in the queue, or `OperatorCredentials` if that is because vendors
        refuse the operator's account.
        """
        if self.serves(model, lane):
            if lane == "interactive":
                self._require_open(model)
            return
        queue = keys.queue(model.provider, lane)
        if lack(self.workers, model, queue):
            raise ProviderNotConfigured(
                f"{model.name} is not served here: no worker has its vendor's credentials. GET /api/models shows what is."
            )
        if time.monotonic() - self._last_taken.get(queue, self._started) > self._missing_s:
            is_paused = self.is_paused(model, lane)
            why = "Its vendor is paused" if is_paused else f"No worker is serving {model.name} at the moment"
            raise Overloaded(f"{why}: try again later.")

    def _require_open(self, model: Model) -> None:
        wait_s = self._upstreams.unavailable_for_s(model)
        if wait_s > self._patience_s:
            known = wait_s if math.isfinite(wait_s) else None
            raise none_is_available(model.name, self._upstreams.why_unavailable(model), known)

    def is_paused(self, model: Model, lane: str = "interactive") -> bool:
        """True if an operator has paused the model's provider."""
        queue = keys.queue(model.provider, lane)
        return any(queue in worker.claims and provider_of(queue) in worker.paused for worker in self.workers)
