"""Redis says nothing for a while, then goes on where it was: it answers late, and has run what it was sent meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deploy.simulator.script import Script
from tests.faults.checker import Promise
from tests.faults.conftest import Scale
from tests.faults.trial import trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures

PROOF = "3 Redis stalled"
STREAMS, REQUESTS = 20, 12


async def test_streams_go_on_after_redis_stalled_for_longer_than_a_lease(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    stall_s = cluster.lease_s * 1.5
    script = Script(tokens=int(stall_s * 1.5 / 0.02), first_ms=0, pace_ms=20)
    async with trial(cluster, "stall", seed, scale.limit_s) as run:
        streams = [run.prepare("raw", script) for _ in range(STREAMS)]
        tasks = [asyncio.create_task(run.send(asked)) for asked in streams]
        for asked in streams:
            await cluster.simulator.call_begins(asked.question.key)
        async with stalled(cluster):
            await asyncio.sleep(stall_s)
        await asyncio.gather(*tasks)
        verdict = await run.check(Promise())
    assert not verdict.violations, verdict.violations
    figures.add(
        PROOF, f"streams through a stall of {stall_s:g} s at lease {cluster.lease_s:g} s, all whole", len(streams)
    )


async def test_who_is_told_503_while_redis_is_stalled_is_never_charged(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    async with trial(cluster, "late", seed, scale.limit_s) as run:
        await run.send(run.prepare("json", Script(first_ms=0, pace_ms=0)))  # the front doors learn Redis's clock
        async with stalled(cluster):
            late = [run.prepare("json", Script(tokens=9, first_ms=0, pace_ms=0)) for _ in range(REQUESTS)]
            await asyncio.gather(*(run.send(asked) for asked in late))
        verdict = await run.check(Promise(errors=frozenset({"unavailable"})))
    assert not verdict.violations, verdict.violations
    told = [case for case in verdict.cases if case.reading.error]
    assert len(told) == REQUESTS
    assert sum(row.charged_nano for case in told for row in case.rows) == 0
    figures.add(PROOF, "told 503 / charged", f"{len(told)} / 0")


@asynccontextmanager
async def stalled(cluster: Cluster) -> AsyncIterator[None]:
    cluster.valkey.pause()
    try:
        yield
    finally:
        cluster.valkey.resume()
