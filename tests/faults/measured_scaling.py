"""What more workers bring: answers a second with 1, 2, 4 and 8 of them, on a vendor that takes half a second for each.

Measured by `make proofs`: nothing here is a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from shared.queue.heartbeat import living_workers
from tests.e2e.conftest import customers
from tests.harness.caller import Caller, told
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.figures import Figures
from tests.harness.support import eventually_true

PROOF = "scaling"
WORKERS = (1, 2, 4, 8)
SLOTS = 10
VENDOR_S = 0.5
WARM_UP_S, MEASURED_S = 3.0, 15.0
SAMPLE_S = 0.5
QUESTION = told(tokens=1, first_ms=int(VENDOR_S * 1000))


class Load:
    """More callers than there are slots, each of whom asks again as soon as he has his answer."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.answers = 0

    async def _ask(self) -> None:
        while True:
            reply = await self._caller.chat(QUESTION)
            assert reply.status == 200, reply.body
            self.answers += 1

    @contextlib.asynccontextmanager
    async def running(self, callers: int) -> AsyncIterator[None]:
        tasks = [asyncio.ensure_future(self._ask()) for _ in range(callers)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [one for one in ended if not isinstance(one, asyncio.CancelledError)]
        assert not failed, failed[:3]


async def test_throughput_with_more_workers_is_measured(
    tmp_path_factory: pytest.TempPathFactory, figures: Figures
) -> None:
    environment = {"WORKER_SLOTS": str(SLOTS), "BATCH_SLOTS_RESERVED": "1", "WORKER_QUEUES": "openai:interactive"}
    folder = tmp_path_factory.mktemp("scaling")
    async with (
        running_cluster(folder, environment, doors=2, workers=0, direct=True) as cluster,
        asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=2) as books,
        customers(cluster, books) as make,
        Redis.from_url(cluster.valkey.url) as client,
    ):
        caller = await make(1_000_000_000_000)
        one = 0.0
        for workers in WORKERS:
            await _with(cluster, client, workers)
            load = Load(caller)
            async with load.running(2 * SLOTS * workers):
                await asyncio.sleep(WARM_UP_S)
                a_second, busy, idle = await _measure(load, client)
            one = one or a_second
            figures.add(
                PROOF,
                f"{workers} workers: answers a second, of {workers} times one's, slots running, cores idle",
                f"{a_second:6.1f}  {100 * a_second / one / workers:5.1f} %  {busy:2.0f} of {workers * SLOTS}  {idle:.0f} %",
            )


async def _with(cluster: Cluster, client: Redis, workers: int) -> None:
    for number in range(len(cluster.workers), workers):
        cluster.start(f"worker-{number + 1}")

    async def all_say_hello() -> bool:
        return len(await living_workers(client)) == workers

    await eventually_true(all_say_hello, f"{workers} workers say hello", deadline_s=120)
    await cluster.ready()


async def _measure(load: Load, client: Redis) -> tuple[float, float, float]:
    """Answers a second, the median of how many jobs run, as the workers say, and what is left of the machine in percent."""
    before, began, running, cores = load.answers, time.monotonic(), [], _cores()
    while time.monotonic() - began < MEASURED_S:
        await asyncio.sleep(SAMPLE_S)
        running.append(sum(worker.running for worker in await living_workers(client)))
    idle, all_of_it = (now - then for now, then in zip(_cores(), cores, strict=True))
    return (load.answers - before) / (time.monotonic() - began), statistics.median(running), 100 * idle / all_of_it


def _cores() -> tuple[int, int]:
    """Ticks that all cores were idle, and all ticks; Linux only."""
    ticks = [int(word) for word in Path("/proc/stat").read_text("ascii").partition("\n")[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)
