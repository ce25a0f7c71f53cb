"""The work that waits in each queue, and the slots of workers that it needs: one number by which to scale workers.

Slots are wanted for jobs that are due or running, and for batch lines that could be fed, as far as the vendor takes
them: up to the limits of the models that batches run now, or the starting limit if they run none. Deferred and paused
work wants no slots. No worker has to be alive for the answer, and it costs the same however much waits.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec

from shared.batches.queries import BATCHES, rows_of
from shared.catalogue.upstreams import pace_name
from shared.errors import ModelNotFound
from shared.lanes import (
    FEEDS,
    LANES,
    Feed,
    QueueName,
    fed_queue,
    lanes_of,
    provider_of,
    queue_of,
    short_name,
    tier_of,
)
from shared.operators.switches import switched_off
from shared.stores import keys
from shared.stores.postgres import reached
from shared.vendors import PROVIDERS

if TYPE_CHECKING:
    import asyncpg

    from shared.catalogue.models import Catalogue
    from shared.settings import Settings
    from shared.stores.scripts import Scripts

QUEUES = tuple(queue_of(provider, lane) for provider in PROVIDERS for lane in LANES if lane in lanes_of(provider))
KEPT_S = 1.0
"""Seconds for which one answer serves all callers."""
EVERYTHING = "*"


class QueueDepth(msgspec.Struct, frozen=True):
    """One queue: its due, running and deferred jobs, and for how many seconds the oldest due job has waited."""

    due: int
    leased: int
    deferred: int
    oldest_s: float


class Scale(msgspec.Struct, frozen=True):
    """The answer of `/scale`: `slots_wanted` by provider, by `provider:lane`, and in all (`*`); `queues` by
    `provider:lane`.
    """

    slots_wanted: dict[str, int]
    queues: dict[str, QueueDepth]


async def depths_of(scripts: Scripts, lease_s: float) -> dict[QueueName, QueueDepth]:
    """The present depths of all queues. Raises `Unavailable`."""
    return _depths(await scripts.call("depths", [*QUEUES], [len(QUEUES), int(lease_s * 1000), 1]))


def _depths(found: list[list[int]]) -> dict[QueueName, QueueDepth]:
    """Parse the script's answer; a later release may append more to it."""
    return {
        queue: QueueDepth(due, leased, deferred, oldest_ms / 1000)
        for queue, (due, leased, deferred, oldest_ms) in zip(QUEUES, found, strict=False)
    }


class Demand:
    """Computes the demand with one question to Redis and two to Postgres."""

    def __init__(self, pool: asyncpg.Pool, scripts: Scripts, catalogue: Catalogue, settings: Settings) -> None:
        self._pool = pool
        self._scripts = scripts
        self._catalogue = catalogue
        self._settings = settings
        self._looking = asyncio.Lock()
        self._seen: tuple[float, Scale] | None = None

    async def scale(self) -> Scale:
        """The present demand, at most `KEPT_S` old. Raises `Unavailable`."""
        async with self._looking:
            if self._seen is None or time.monotonic() - self._seen[0] >= KEPT_S:
                self._seen = time.monotonic(), await self._look()
            return self._seen[1]

    async def _look(self) -> Scale:
        lines, models = await self._batches()
        paces = {(feed, name): None for feed in FEEDS for name in self._pace_names(feed, models[feed])}
        start = self._settings.batch_concurrency_start
        words = [len(QUEUES), int(self._settings.lease_s * 1000), start]
        found = await self._scripts.call("depths", [*QUEUES, *(keys.pace(name) for _, name in paces)], words)
        depths = _depths(found)
        limits: dict[Feed, int] = {}
        for (feed, _), limit in zip(paces, found[len(QUEUES) :], strict=True):
            limits[feed] = limits.get(feed, 0) + limit
        paused = await self._paused()
        wanted = {queue: depth.leased for queue, depth in depths.items()}
        for queue, depth in depths.items():
            wanted[queue] += 0 if provider_of(queue) in paused else depth.due
        for feed in FEEDS:
            if provider_of(fed_queue(feed)) in paused:
                continue
            takes = min(self._settings.batch_window_max, limits.get(feed, start)) - wanted[fed_queue(feed)]
            wanted[fed_queue(feed)] += min(lines[feed], max(0, takes))
        return Scale(_summed(wanted), {short_name(queue): depth for queue, depth in depths.items()})

    async def _batches(self) -> tuple[dict[Feed, int], dict[Feed, list[str]]]:
        """Batch lines that could be fed, counted up to a few thousand per feed, and the models that batches run."""
        rows = await rows_of(self._pool, BATCHES["waiting"], FEEDS, self._settings.batch_window_max)
        return {row["feed"]: row["lines"] for row in rows}, {row["feed"]: row["models"] for row in rows}

    async def _paused(self) -> frozenset[str]:
        """The names of vendors whose jobs no worker takes."""
        async with reached("Pauses"):
            return (await switched_off(self._pool)).paused

    def _pace_names(self, feed: Feed, models: list[str]) -> list[str]:
        names = []
        for name in models:
            try:
                model = self._catalogue.find(name)
            except ModelNotFound:  # the model is only in another release's catalogue
                continue
            upstreams = self._catalogue.upstreams.of(model)
            names += [pace_name(upstream.name, name, tier_of(feed)) for upstream in upstreams]
        return names


def _summed(by_queue: dict[QueueName, int]) -> dict[str, int]:
    wanted = {EVERYTHING: sum(by_queue.values())}
    for queue, slots in by_queue.items():
        wanted[provider_of(queue)] = wanted.get(provider_of(queue), 0) + slots
        wanted[short_name(queue)] = slots
    return wanted
