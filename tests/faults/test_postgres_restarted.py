"""Postgres is restarted and killed while requests reserve and settle, and its replies are lost after the commit."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.faults.checker import Promise
from tests.faults.conftest import Scale
from tests.faults.test_redis_restarted import until_answered
from tests.faults.trial import mixed, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures
from tests.harness.support import eventually

BEFORE_S, DOWN_S = 1.0, 0.7
AWAY = frozenset({"unavailable"})
MARKERS = {"reserve": b'"output_floor"', "settle": b'"hold_state"'}
"""What is only in the parameters of one of the two statements."""


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_reserve_fails_closed_and_settles_are_kept_while_postgres_is(
    how: str, cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    proof, pauses = f"5 Postgres {how}", []
    async with trial(cluster, f"postgres-{how}", seed, scale.limit_s) as run:
        async with run.traffic(scale.callers, mixed):
            for _ in range(scale.store_restarts):
                await asyncio.sleep(BEFORE_S)
                await (cluster.postgres.stop() if how == "stopped" else cluster.postgres.kill())
                await asyncio.sleep(DOWN_S)
                await cluster.postgres.start()
                pauses.append(await until_answered(run, time.time()))
        verdict = await run.check(Promise(errors=AWAY))
    assert not verdict.violations, verdict.violations
    figures.add(proof, f"times at lease {cluster.lease_s:g} s / requests", f"{len(pauses)} / {len(verdict.cases)}")
    figures.spread(proof, "until the next answer", pauses)
    figures.add(proof, "answered whole / shown an error", f"{len(verdict.finished)} / {verdict.told or 0}")
    figures.add(proof, "last hold after the last answer, s", verdict.settled_s)


@pytest.mark.parametrize("statement", ["reserve", "settle"])
async def test_nothing_happens_twice_when_the_reply_is_lost_of(
    statement: str, cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    proxy, times = cluster.proxies["postgres"], scale.store_restarts * 3
    before = proxy.replies_lost
    async with trial(cluster, f"lost-{statement}", seed, scale.limit_s) as run:
        async with run.traffic(scale.callers, mixed):
            await asyncio.sleep(BEFORE_S)
            proxy.lose_replies(MARKERS[statement], times)
            await eventually(lambda: proxy.replies_lost >= before + times, "so many replies are lost")
            await asyncio.sleep(BEFORE_S)
        verdict = await run.check(Promise(errors=AWAY))
    assert not verdict.violations, verdict.violations
    told = verdict.told or 0
    figures.add(
        f"5 {statement} reply lost", "times / requests / shown an error", f"{times} / {len(verdict.cases)} / {told}"
    )
