"""What a batch does to interactive callers, and how fast it is beside them.

Measured by `make proofs`: nothing here is a limit.
"""

from __future__ import annotations

import asyncio
import time

from deploy.simulator.script import Script
from tests.faults.batch_runs import BatchRun, batch_session, questions
from tests.faults.checker import Promise
from tests.faults.clients import Asked
from tests.faults.conftest import Scale
from tests.faults.test_batches import QUICK
from tests.faults.trial import Trial, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures, quantile

CALLERS = 64
LINES_PER_ANSWER = 25
"""So that the batch is still there when the last answer beside it has been measured."""
SLOW = Script(first_ms=2_000)
PACED = Script(tokens=20, first_ms=30, pace_ms=5)


async def test_a_batch_is_measured_against_interactive_callers(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    """Of the same requests, one way after the other, so that both meet the same machine."""
    count = scale.batch_lines // 2
    async with trial(cluster, "rate", seed, scale.limit_s) as run, batch_session(run) as session:
        began = time.monotonic()
        waiting = [run.prepare("json", QUICK) for _ in range(count)]
        await asyncio.gather(*(_ask_in_turn(run, waiting) for _ in range(CALLERS)))
        interactive = count / (time.monotonic() - began)
        batch = BatchRun(run, session, questions(run, count, "rate", QUICK))
        await batch.send()
        assert (await batch.ended())["counts"]["completed"] == count
    rate = count / batch.seconds
    figures.add(
        "batch", "per second: interactive, batch, ratio", f"{interactive:.0f}, {rate:.0f}, {rate / interactive:.2f}"
    )


async def _ask_in_turn(run: Trial, waiting: list[Asked]) -> None:
    while waiting:
        await run.send(waiting.pop())


async def test_interactive_callers_are_served_beside_a_batch(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    proof = "15 interactive beside a batch"
    async with trial(cluster, "beside", seed, scale.limit_s) as run, batch_session(run) as session:
        idle = await _answer_times(run, scale.latencies)
        lines = scale.latencies * LINES_PER_ANSWER
        batch = BatchRun(run, session, questions(run, lines, "beside", SLOW))
        await batch.send()
        await batch.done(0.02)
        busy = await _answer_times(run, scale.latencies)
        assert (await batch.view())["state"] == "in_progress", "the batch outlasts what is measured beside it"
        ended = await batch.ended()
        assert ended["counts"]["completed"] == lines
        verdict = await run.check(Promise())
    assert not verdict.violations, verdict.violations
    for share in (0.5, 0.99):
        times = [quantile(measured, share) * 1_000 for measured in (idle, busy)]
        figures.add(
            proof,
            f"idle -> with the batch, p{share * 100:g}, ms",
            f"{times[0]:.1f} -> {times[1]:.1f}: × {times[1] / times[0]:.2f}  (n={len(busy)})",
        )


async def _answer_times(run: Trial, count: int) -> list[float]:
    """Seconds of one caller's answers, one after the other."""
    times = []
    for _ in range(count):
        asked = await run.send(run.prepare("json", PACED))
        times.append(asked.took_s)
    return times
