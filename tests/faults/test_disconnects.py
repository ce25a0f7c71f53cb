"""Callers go away: before the first piece, after every piece, and after the last one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deploy.simulator.script import Script
from tests.faults.checker import Case, Promise, estimate
from tests.faults.clients import Asked, Form
from tests.faults.conftest import Scale
from tests.faults.reading import read
from tests.faults.trial import Trial, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures
from tests.harness.support import POLL_S

PROOF = "12 disconnects"
TOKENS = 24
FOR_EVER_MS = 3_600_000


async def test_a_caller_who_leaves_at_any_piece_pays_what_was_received_and_the_vendor_call_ends(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    left: list[Case] = []
    for attempt in range(scale.disconnects):
        async with trial(cluster, f"leave-{attempt}", seed, scale.limit_s) as run:
            forms: tuple[Form, ...] = ("raw", "sse")
            async with asyncio.TaskGroup() as group:
                for form in forms:
                    for pieces in range(1, TOKENS + 1):
                        group.create_task(_leave_after(run, form, pieces))
                for asked in (*forms, "json"):
                    group.create_task(_leave_before_the_answer(run, asked))
            verdict = await run.check(Promise())
        assert not verdict.violations, verdict.violations
        left += verdict.cases
    for case in left:
        _check_left(case)
    figures.add(PROOF, "requests left at every piece", len(left))
    figures.spread(PROOF, "from leaving to the end of the vendor call", [_cancelled_after_s(case) for case in left])


async def _leave_after(run: Trial, form: Form, pieces: int) -> None:
    """The vendor sends so many pieces and then waits for ever; the caller reads them and goes."""
    asked = run.prepare(form, Script(tokens=TOKENS, first_ms=0, pace_ms=1, hold=pieces, unicode=pieces % 2 == 0))
    text = "".join(asked.question.pieces[:pieces]).encode()
    async with _leaving(run, asked) as sending:
        while read(asked).text != text:
            assert not sending.done(), (asked.ending, asked.received)
            await asyncio.sleep(POLL_S)


async def _leave_before_the_answer(run: Trial, form: Form) -> None:
    asked = run.prepare(form, Script(tokens=TOKENS, first_ms=FOR_EVER_MS))
    async with _leaving(run, asked):
        await run.cluster.simulator.call_begins(asked.question.key)


@asynccontextmanager
async def _leaving(run: Trial, asked: Asked) -> AsyncIterator[asyncio.Task[Asked]]:
    """Ask, and go away at the end of the block."""
    sending = asyncio.create_task(run.send(asked))
    try:
        yield sending
    finally:
        sending.cancel()
        await asyncio.wait({sending})


def _check_left(case: Case) -> None:
    """One call, ended by us at that piece; the hold is captured for the input and what was received, not more."""
    (call,), row = case.calls, case.row
    assert row is not None
    assert call.ending == "client_gone", case
    assert call.tokens_sent == max(case.question.script.hold, 0), case
    assert (row.state, row.hold_state) == ("cancelled", "settled"), case
    assert row.charged_nano == estimate(case.question, len(case.reading.text), call.tokens_sent), case


def _cancelled_after_s(case: Case) -> float:
    return (case.calls[0].ended_at or 0) - case.asked.ended_at
