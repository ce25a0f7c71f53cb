"""Many callers read much more slowly than the vendor speaks."""

from __future__ import annotations

import asyncio
from pathlib import Path

from deploy.simulator.script import Script
from tests.faults.checker import Promise
from tests.faults.clients import Asked, Caller
from tests.faults.conftest import Scale
from tests.faults.trial import Trial, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures

PROOF = "20 slow readers"
ANSWER = Script(tokens=2_700, size=1_500, first_ms=0, pace_ms=0)
"""4 MB: more than the kernel keeps for a connection, so that the rest is the front door's to keep, or not to."""
OUTPUT_LIMIT = 16_384
QUICK = Script(tokens=5, first_ms=0, pace_ms=0)
QUICK_REQUESTS = 60
SLOW_FOR_S = 3.0
READ_EVERY_S = 0.5
BYTES_PER_READER_MAX = 500_000


async def test_slow_readers_cost_little_memory_and_nobody_else_any_time(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    async with trial(cluster, "slow", seed, scale.limit_s) as run:
        alone = await _quick_times(run)
        before = {name: _resident_bytes(cluster, name) for name in cluster.doors}
        slow = [run.prepare("raw", ANSWER, OUTPUT_LIMIT) for _ in range(scale.slow_readers)]
        hurry = asyncio.Event()
        caller = Caller(run.api_key, cluster.patience_s, small_buffers=True)
        async with asyncio.TaskGroup() as group:
            for asked in slow:
                group.create_task(_read_slowly(run, asked, caller, hurry))
            await asyncio.sleep(SLOW_FOR_S)
            beside = await _quick_times(run)
            after = {name: _resident_bytes(cluster, name) for name in cluster.doors}
            taken = max(len(asked.received) for asked in slow)
            hurry.set()
        await caller.close()
        verdict = await run.check(Promise())
    assert not verdict.violations, verdict.violations
    assert taken < len(slow[0].question.expected) / 10, "the readers were not slow"

    growth = max(after[name] - before[name] for name in cluster.doors)
    figures.add(PROOF, f"{len(slow)} readers of 4 MB: most growth of a front door, MB", growth / 1e6)
    figures.spread(PROOF, "a quick request alone", alone)
    figures.spread(PROOF, "a quick request beside them", beside)
    assert growth <= len(slow) * BYTES_PER_READER_MAX


async def _quick_times(run: Trial) -> list[float]:
    return [(await run.send(run.prepare("json", QUICK))).took_s for _ in range(QUICK_REQUESTS)]


async def _read_slowly(run: Trial, asked: Asked, caller: Caller, hurry: asyncio.Event) -> None:
    """Take a little now and then, until it is time to hurry."""

    async def pause() -> None:
        await asyncio.wait({waiting}, timeout=READ_EVERY_S)

    waiting = asyncio.ensure_future(hurry.wait())
    await run.send(asked, caller=caller, after_piece=pause)


def _resident_bytes(cluster: Cluster, name: str) -> int:
    pages = int(Path(f"/proc/{cluster.pid(name)}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4_096
