"""Batches that are cancelled, run out of time or out of credit, each at a moment drawn by lot."""

from __future__ import annotations

import asyncio
import random
import time
from decimal import Decimal
from typing import Any

from deploy.simulator.script import Script
from shared.money import usd_to_nano
from tests.faults.batch_runs import LOOK_S, BatchRun, batch_session, questions
from tests.faults.conftest import Scale
from tests.faults.trial import Trial, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures

LINES_MIN, LINES_MAX = 100, 600
AT_ONCE = 4
STILL_TO_COME_S = 1.0
"""After the end of a batch: whatever would still start does so within it."""
ENDED_BY = {"cancelled": BatchRun.cancel, "expired": BatchRun.expire}
LITTLE = Decimal("0.0001")
"""A few lines' holds."""


async def test_batches_that_are_cancelled_or_expire_at_any_point_end_with_every_line(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    async with trial(cluster, "ends", seed, scale.limit_s) as run, batch_session(run) as session:
        batches, ended_by = [], []
        for number in range(scale.batch_ends):
            lines = run.random.randint(LINES_MIN, LINES_MAX)
            asked = questions(run, lines, f"{number}", Script(first_ms=run.random.choice((50, 400, 1_000))))
            batches.append(BatchRun(run, session, asked))
            ended_by.append(run.random.choice(sorted(ENDED_BY)))
        shares = [run.random.uniform(0, 0.95) for _ in batches]
        limit = asyncio.Semaphore(AT_ONCE)

        async def end_one(batch: BatchRun, how: str, share: float) -> dict[str, Any]:
            async with limit:
                return await _ended(batch, how, share)

        ends = await asyncio.gather(*(end_one(*one) for one in zip(batches, ended_by, shares, strict=True)))
        await asyncio.sleep(STILL_TO_COME_S)
        assert not (late := await _calls_after_the_end(run, batches, ends)), late
        for batch, how, end in zip(batches, ended_by, ends, strict=True):
            counts = end["counts"]
            assert end["state"] in {how, "completed"}
            assert counts["completed"] + counts[how] == counts["total"] == len(batch.questions)
            assert not (wrong := await batch.wrong_results(excuse=how)), wrong
            await batch.books(excuse=how)
        await run.until_no_hold(30)
        assert not (found := await run.check_books()), found
    early = sum(end["state"] != "completed" for end in ends)
    lines = sum(end["counts"]["total"] for end in ends)
    figures.add(
        "17 batches that end early",
        "batches, ended before their time, lines, answered",
        f"{len(ends)}, {early}, {lines:,}, {sum(end['counts']['completed'] for end in ends):,}",
    )


async def _ended(batch: BatchRun, how: str, share: float) -> dict[str, Any]:
    await batch.send()
    await batch.done(share)
    await ENDED_BY[how](batch)
    end = await batch.ended()
    return {**end, "seen_at": time.time()}


async def _calls_after_the_end(run: Trial, batches: list[BatchRun], ends: list[dict[str, Any]]) -> list[str]:
    """Vendor calls that began after their batch was seen to have ended."""
    seen_at = {
        question.key: end["seen_at"] for batch, end in zip(batches, ends, strict=True) for question in batch.questions
    }
    calls = await run.cluster.simulator.calls(run.account_id)
    assert calls
    return [call.key for call in calls if call.started_at > seen_at[call.key]]


async def test_a_batch_without_credit_waits_for_it_however_little_comes_at_a_time(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    lot = random.Random(f"{seed} credit")
    lines, pauses, top_ups = scale.batch_lines_unpaid, 0, 0
    async with trial(cluster, "credit", seed, scale.limit_s, LITTLE) as run, batch_session(run) as session:
        batch = BatchRun(run, session, questions(run, lines, "credit", Script(first_ms=20)))
        await batch.send()
        while (view := await batch.view())["state"] != "completed":
            assert view["state"] in {"validating", "in_progress", "paused", "finalizing"}, view
            if view["state"] == "paused":
                pauses += 1
                assert view["paused_for"] == "insufficient_credit"
            if view["state"] == "paused" or (
                pauses and lot.random() < 0.02
            ):  # once it has waited, also when it need not
                top_ups += 1
                await run.add_credit(lot.randint(1, usd_to_nano(LITTLE)))
            await asyncio.sleep(LOOK_S * lot.random())
        assert pauses
        assert not (wrong := await batch.wrong_results()), wrong
        await batch.books()
        await run.until_no_hold(30)
        assert not (found := await run.check_books()), found
    figures.add("17 batches out of credit", "lines, seen paused, top-ups", f"{lines:,}, {pauses}, {top_ups}")
