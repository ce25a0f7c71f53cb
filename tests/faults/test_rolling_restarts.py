"""Workers and front doors are replaced under load, one of each after the other, as a deploy does."""

from __future__ import annotations

import asyncio

from tests.faults.checker import Promise
from tests.faults.conftest import Scale
from tests.faults.trial import mixed, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures

PROOF = "13 rolling restarts"
DOORS = ("web-a", "web-b")
BETWEEN_S = 0.5


async def test_a_deploy_cuts_no_stream_and_refuses_nobody(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    took_s = []
    for door in DOORS:
        cluster.start(door, shared=True)
    try:
        await cluster.until_log(DOORS[-1], "front door open")
        async with trial(cluster, "deploy", seed, scale.limit_s) as run:
            async with run.traffic(scale.callers, mixed, url=lambda: cluster.shared_url):
                for _ in range(scale.rolling_restarts):
                    for pair in zip(cluster.workers, DOORS, strict=True):
                        await asyncio.sleep(BETWEEN_S)
                        took_s += await asyncio.gather(*(_replace(cluster, name) for name in pair))
            verdict = await run.check(Promise())
    finally:
        for door in DOORS:
            await cluster.drain(door)
    assert not verdict.violations, verdict.violations
    assert len(verdict.finished) == len(verdict.cases)
    figures.add(PROOF, "processes replaced / requests, all answered whole", f"{len(took_s)} / {len(verdict.cases)}")
    figures.spread(PROOF, "drain", took_s)


async def _replace(cluster: Cluster, name: str) -> float:
    """Drain it while its successor starts; give the seconds the drain took."""
    successor = f"{name}-next"
    shared = name in DOORS
    cluster.start(successor, shared=shared)
    await cluster.until_log(successor, "front door open" if shared else "worker started")
    took_s = await cluster.drain(name)
    cluster.rename(successor, name)
    return took_s
