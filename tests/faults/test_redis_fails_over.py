"""Redis fails over to a replica that had not got its last writes, while streams, JSON answers and a batch are under way."""

from __future__ import annotations

import asyncio
import time

import pytest

from deploy.simulator.script import Script
from tests.faults.batch_runs import BatchRun, batch_session, questions
from tests.faults.checker import Promise
from tests.faults.conftest import SCALE, Scale
from tests.faults.test_redis_restarted import AWAY, LOST_END, until_answered
from tests.faults.trial import Trial, Verdict, mixed, trial
from tests.harness.cluster import Cluster
from tests.harness.failover import Replica, following
from tests.harness.figures import Figures

BEFORE_S, LOST_S, DOWN_S, TWO_PRIMARIES_S = 0.5, 1.0, 0.3, 1.0
RESOLVED_WITHIN_S = 40.0
LINES_PER_FAILOVER = 100
TWO_ENDS = "request charged with another amount before"
"""The alert for the second end of a request that ran and ended at both primaries."""


@pytest.mark.parametrize("old_primary", ["killed", "lingers"] if SCALE.long else ["lingers"])
async def test_no_invariant_breaks_when_redis_loses_its_last_second(
    old_primary: str, cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    proof, pauses = f"20 Redis fails over, the old primary {old_primary}", []
    async with trial(cluster, f"failover-{old_primary}", seed, scale.limit_s) as run, batch_session(run) as session:
        lines = LINES_PER_FAILOVER * scale.failovers
        batch = BatchRun(run, session, questions(run, lines, "failover", Script(first_ms=300)))
        await batch.send()
        async with run.traffic(scale.callers, mixed):
            for number in range(scale.failovers):
                async with following(cluster, f"{old_primary}-{number}") as replica:
                    await asyncio.sleep(BEFORE_S)
                    await replica.cut_off()
                    await asyncio.sleep(LOST_S)
                    await _fail_over(run, replica, old_primary)
                    pauses.append(await until_answered(run, time.time()))
        await batch.ended()
        verdict = await run.check(_promise(scale, old_primary), settle_within_s=RESOLVED_WITHIN_S)
        assert not (wrong := await batch.wrong_results()), wrong
        books = await batch.books()
    assert not verdict.violations, verdict.violations
    assert not verdict.charged_in_silence
    assert books.lines == lines
    _report(proof, cluster, pauses, verdict, figures)
    figures.add(proof, "lines of a batch, each answered and charged once", f"{lines:,}")


async def _fail_over(run: Trial, replica: Replica, old_primary: str) -> None:
    """Either nobody answers for a moment, or two answer, each to some of our processes."""
    if old_primary == "killed":
        await replica.kill_old_primary()
        await asyncio.sleep(DOWN_S)
        await replica.promote()
    else:
        await replica.promote()
        replica.cut_some(run.random)
        await asyncio.sleep(TWO_PRIMARIES_S)
        await replica.kill_old_primary()


def _promise(scale: Scale, old_primary: str) -> Promise:
    """A vendor may be called again for what Redis has forgotten; who was shown an error may have had words for nothing."""
    lingers = old_primary == "lingers"
    return Promise(
        errors=AWAY | LOST_END,
        calls_max=2 * scale.failovers + 1,
        may_be_free=True,
        may_charge_unseen=True,
        may_forget=True,
        two_may_end=lingers,
        holds_may_lapse=lingers,
        alerts=(TWO_ENDS,) if lingers else (),
        zombies_may_call=True,
    )


def _report(proof: str, cluster: Cluster, pauses: list[float], verdict: Verdict, figures: Figures) -> None:
    called_again = sum(len(case.calls) > 1 for case in verdict.cases)
    figures.add(proof, f"times at lease {cluster.lease_s:g} s / requests", f"{len(pauses)} / {len(verdict.cases)}")
    figures.spread(proof, "until the next answer", pauses)
    figures.add(proof, "answered whole / shown an error", f"{len(verdict.finished)} / {verdict.told or 0}")
    figures.add(proof, "vendor called again", called_again)
    figures.add(proof, "last hold after the last answer, s", verdict.settled_s)
