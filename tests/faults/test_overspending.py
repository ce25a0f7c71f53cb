"""Many requests at the same moment on credit for a few, through several front doors."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from deploy.simulator.script import Script
from tests.faults.checker import Promise, cost
from tests.faults.clients import Question
from tests.faults.conftest import Scale
from tests.faults.trial import Trial, Verdict, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures
from tests.harness.support import eventually

PROOF = "9 overspending"
REQUESTS, AFFORDABLE = 40, 7
OUTPUT_LIMIT = 256
"""What is never lowered: all of it is held, or nothing."""
REFUSED = frozenset({"insufficient_credit"})
SCRIPT = Script(tokens=5, first_ms=0, pace_ms=0, hold=0)


async def test_credit_for_k_admits_k_of_n_and_refuses_nobody_once_holds_are_resolved(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    admitted = 0
    for attempt in range(scale.overspends):
        async with trial(cluster, f"overspend-{attempt}", seed, scale.limit_s, Decimal(0)) as run:
            verdict = await _rush(run)
        assert not verdict.violations, verdict.violations
        assert len(verdict.finished) == AFFORDABLE + 1  # all that were affordable, and the one that came later
        admitted += AFFORDABLE
    refused = scale.overspends * (REQUESTS - AFFORDABLE)
    figures.add(PROOF, f"tries of {REQUESTS} on credit for {AFFORDABLE}: admitted / refused", f"{admitted} / {refused}")


async def _rush(run: Trial) -> Verdict:
    """All at once, the vendor held back until the last one is decided; then one more."""
    rush = [run.prepare("raw", SCRIPT, OUTPUT_LIMIT) for _ in range(REQUESTS)]
    await run.add_credit((AFFORDABLE + 1) * hold_nano(rush[0].question) - 1)
    tasks = [asyncio.create_task(run.send(asked)) for asked in rush]
    decided = lambda: sum(task.done() for task in tasks) >= REQUESTS - AFFORDABLE  # noqa: E731
    await eventually(decided, "all but the affordable are refused")
    for asked in rush:
        await run.cluster.simulator.release(asked.question.key)
    await asyncio.gather(*tasks)
    await run.until_no_hold(within_s=10)
    later = run.prepare("json", Script(tokens=5, first_ms=0, pace_ms=0), OUTPUT_LIMIT)
    await run.send(later)
    return await run.check(Promise(errors=REFUSED))


def hold_nano(question: Question) -> int:
    """The most that it can cost: a token per byte of the message and 8 for its frame, and the whole output limit."""
    return cost(len(question.message.encode()) + 8, OUTPUT_LIMIT)
