"""Redis is restarted, killed and emptied while traffic runs."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.faults.checker import Promise
from tests.faults.conftest import Scale
from tests.faults.trial import Trial, Verdict, mixed, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures

BEFORE_S, DOWN_S = 1.0, 0.7
RESUMES_WITHIN_S = 15.0
RESOLVED_WITHIN_S = 30.0
AWAY = frozenset({"unavailable", "provider_error"})
LOST_END = frozenset({"gone"})
"""Of an answer that was charged, and whose end was lost before its reader had it: he is told what it cost."""


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_traffic_resumes_after_redis_was(
    how: str, cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    proof, pauses = f"3 Redis {how}", []
    async with trial(cluster, f"redis-{how}", seed, scale.limit_s) as run:
        async with run.traffic(scale.callers, mixed):
            for _ in range(scale.store_restarts):
                await asyncio.sleep(BEFORE_S)
                await (cluster.valkey.stop() if how == "stopped" else cluster.valkey.kill())
                await asyncio.sleep(DOWN_S)
                await cluster.valkey.start()
                pauses.append(await until_answered(run, time.time()))
        verdict = await run.check(
            Promise(errors=AWAY, calls_max=scale.store_restarts + 1), settle_within_s=RESOLVED_WITHIN_S
        )
    assert not verdict.violations, verdict.violations
    _report(proof, cluster, pauses, verdict, figures)


async def test_every_hold_ends_after_redis_was_emptied(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    pauses = []
    async with trial(cluster, "flush", seed, scale.limit_s) as run:
        async with run.traffic(scale.callers, mixed):
            for _ in range(scale.store_restarts):
                await asyncio.sleep(BEFORE_S)
                await cluster.valkey.command("FLUSHALL")
                pauses.append(await until_answered(run, time.time()))
        errors, calls_max = AWAY | LOST_END, scale.store_restarts + 1
        lost = Promise(errors=errors, calls_max=calls_max, may_be_free=True, may_charge_unseen=True)
        verdict = await run.check(lost, settle_within_s=RESOLVED_WITHIN_S)
    assert not verdict.violations, verdict.violations
    assert not verdict.charged_in_silence
    _report("4 Redis emptied", cluster, pauses, verdict, figures)


async def until_answered(run: Trial, moment: float) -> float:
    """Wait for a request sent after `moment` to be answered; gives the seconds since then."""
    deadline = time.time() + RESUMES_WITHIN_S
    while True:
        ended = [one.ended_at for one in run.asked if one.sent_at > moment and one.status == 200 and one.ended_at]
        if ended:
            return min(ended) - moment
        assert time.time() < deadline, f"nothing was answered for {RESUMES_WITHIN_S:g} s"
        run.cluster.check_nobody_died()
        await asyncio.sleep(0.05)


def _report(proof: str, cluster: Cluster, pauses: list[float], verdict: Verdict, figures: Figures) -> None:
    figures.add(proof, f"times at lease {cluster.lease_s:g} s / requests", f"{len(pauses)} / {len(verdict.cases)}")
    figures.spread(proof, "until the next answer", pauses)
    figures.add(proof, "answered whole / shown an error", f"{len(verdict.finished)} / {verdict.told or 0}")
    figures.add(proof, "last hold after the last answer, s", verdict.settled_s)
