"""Workers are killed again and again under load."""

from __future__ import annotations

import asyncio
import time

from tests.faults.checker import Case, Promise
from tests.faults.conftest import Scale
from tests.faults.trial import Verdict, mixed, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures

PROOF = "1 worker kill -9"
LOST_WORKER = frozenset({"provider_error"})
SAME_MOMENT_S = 0.5


async def test_a_killed_worker_loses_nothing_and_charges_nothing_twice(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    killed_at = []
    async with trial(cluster, "kill", seed, scale.limit_s) as run:
        async with run.traffic(scale.callers, mixed):
            for _ in range(scale.worker_kills):
                await run.answers_have_begun(1)
                await asyncio.sleep(run.random.uniform(0.2, 1.2))
                worker = run.random.choice(cluster.workers)
                killed_at.append(time.time())
                await cluster.kill(worker)
                cluster.start(worker)
                await cluster.until_log(worker, "worker started")
        await cluster.ready()
        verdict = await run.check(Promise(errors=LOST_WORKER, calls_max=scale.worker_kills + 1))
        claims = await run.books.claims([case.row.id for case in verdict.cases if case.row])
    assert not verdict.violations, verdict.violations

    recoveries = recovery_times(verdict, killed_at, claims)
    figures.add(PROOF, f"kills at lease {cluster.lease_s:g} s / requests", f"{len(killed_at)} / {len(verdict.cases)}")
    figures.spread(PROOF, "from the kill to the next call or the end", [took_s for took_s, _ in recoveries])
    figures.add(
        PROOF, "jobs whose next worker was killed, too, before it called", sum(again > 0 for _, again in recoveries)
    )
    figures.add(PROOF, "last hold after the last answer, s", verdict.settled_s)
    if scale.long:
        assert all(took_s <= (1 + again) * cluster.lease_s + 1 for took_s, again in recoveries)


def recovery_times(verdict: Verdict, killed_at: list[float], claims: dict[str, int]) -> list[tuple[float, int]]:
    """For each job that ran in a killed worker: the seconds until its next attempt began, or else until its caller was told;
    and how many workers took it without calling its vendor, because they were killed, too. Each of them costs a lease.
    """
    times = []
    for moment in killed_at:
        for case in verdict.cases:
            lost = [c for c in case.calls if c.ended_at and 0 <= c.ended_at - moment < SAME_MOMENT_S]
            if any(call.ending == "client_gone" for call in lost):
                taken = claims.get(case.row.id, 0) if case.row else 0
                times.append((_resumed_at(case, moment) - moment, max(0, taken - len(case.calls))))
    return times


def _resumed_at(case: Case, moment: float) -> float:
    return min((call.started_at for call in case.calls if call.started_at > moment), default=case.asked.ended_at)
