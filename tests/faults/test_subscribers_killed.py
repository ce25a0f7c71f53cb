"""The front doors' subscriptions are cut again and again while streams run."""

from __future__ import annotations

import asyncio

from tests.faults.checker import Promise
from tests.faults.conftest import Scale
from tests.faults.trial import streams, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures

PROOF = "6 subscribers killed"
EVERY_S = 0.3


async def test_every_stream_is_byte_exact_although_subscriptions_are_cut(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    killed = 0
    async with trial(cluster, "subscribers", seed, scale.limit_s) as run:
        async with run.traffic(scale.callers, streams):
            for _ in range(scale.subscriber_kills):
                await asyncio.sleep(EVERY_S)
                killed += await cluster.valkey.kill_subscribers()
        verdict = await run.check(Promise())
    assert not verdict.violations, verdict.violations
    assert killed >= scale.subscriber_kills
    figures.add(PROOF, "subscriptions cut / streams, all byte-exact", f"{killed} / {len(verdict.finished)}")
