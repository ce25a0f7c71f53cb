"""A large batch while workers are killed and Redis is restarted; beside interactive callers; beside small batches."""

from __future__ import annotations

import asyncio
import time

from deploy.simulator.script import Script
from tests.faults.batch_runs import BatchRun, Memory, batch_session, questions
from tests.faults.conftest import Scale
from tests.faults.trial import Trial, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures

MEASURE_EVERY_S = 0.5
QUICK = Script(first_ms=20)


async def test_every_line_is_answered_once_and_charged_once_while_workers_and_redis_die(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    proof = "16 batch with kills"
    async with trial(cluster, "batch", seed, scale.limit_s) as run, batch_session(run) as session:
        batch, memory = BatchRun(run, session, questions(run, scale.batch_lines, "kills", QUICK)), Memory(run)
        await batch.send()
        disturbing = asyncio.ensure_future(_disturb(run, batch, scale.batch_kills))
        measuring = asyncio.ensure_future(_measure(memory))
        ended = await batch.ended()
        measuring.cancel()
        kills = await disturbing
        assert kills, "the batch was over before the first kill"
        assert (ended["state"], ended["counts"]["completed"]) == ("completed", scale.batch_lines)
        assert not (wrong := await batch.wrong_results()), wrong
        books = await batch.books()
        assert books.lines == scale.batch_lines
        await run.until_no_hold(30)
        assert not (found := await run.check_books()), found
    figures.add(proof, "lines / worker kills, Redis restarts", f"{books.lines:,} / {kills}, 1")
    figures.add(proof, "lines per second, kills included", books.lines / batch.seconds)
    for kind in ("web", "worker"):
        first, second = memory.growth(kind)
        figures.add(proof, f"largest {kind}, first half -> second half, MiB", f"{first:.0f} -> {second:.0f}")


async def _disturb(run: Trial, batch: BatchRun, kills: int) -> int:
    """Kill workers as the batch goes on, and restart Redis in the middle; gives how many were killed."""
    for number in range(kills):
        await batch.done((number + 1) / (kills + 1))
        if (await batch.view())["state"] != "in_progress":
            return number
        worker = run.random.choice(run.cluster.workers)
        await run.cluster.kill(worker)
        run.cluster.start(worker)
        if number == kills // 2:
            await run.cluster.valkey.kill()
            await run.cluster.valkey.start()
    return kills


async def _measure(memory: Memory) -> None:
    while True:
        memory.measure()
        await asyncio.sleep(MEASURE_EVERY_S)


async def test_every_line_is_answered_although_redis_was_emptied(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    async with trial(cluster, "flushed", seed, scale.limit_s) as run, batch_session(run) as session:
        lines = scale.batch_lines // 3
        batch = BatchRun(run, session, questions(run, lines, "flushed", Script(first_ms=200)))
        await batch.send()
        await batch.done(0.2)
        await cluster.valkey.command("FLUSHALL")
        ended = await batch.ended()
        assert (ended["state"], ended["counts"]["completed"]) == ("completed", lines)
        assert not (wrong := await batch.wrong_results()), wrong
        await batch.books()
        await run.until_no_hold(30)
        assert not (found := await run.check_books()), found
    figures.add("4 Redis emptied", "lines of a batch, each answered and charged once", f"{lines:,}")


async def test_small_batches_do_not_wait_for_a_large_one(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    proof = "19 small batches beside a large one"
    async with (
        trial(cluster, "large", seed, scale.limit_s) as big,
        trial(cluster, "small", seed, scale.limit_s) as little,
        batch_session(big) as of_big,
        batch_session(little) as of_little,
    ):
        large = BatchRun(big, of_big, questions(big, scale.batch_lines, "large", Script(first_ms=600)))
        await large.send()
        await large.done(0.02)
        small = [
            BatchRun(little, of_little, questions(little, 10, f"small-{n}", Script(first_ms=100))) for n in range(20)
        ]
        began = time.monotonic()
        for batch in small:
            await batch.send()
        for batch in small:
            assert (await batch.ended())["state"] == "completed"
        took_s = time.monotonic() - began
        left = await large.view()
        assert left["state"] == "in_progress", "the large one is still there when the small ones have ended"
        await large.ended()
        for batch in (*small, large):
            assert not (wrong := await batch.wrong_results()), wrong
            await batch.books()
        for run in (big, little):
            await run.until_no_hold(30)
            assert not (found := await run.check_books()), found
    figures.spread(proof, "a batch of 10 lines", [batch.seconds for batch in small])
    figures.add(
        proof, "all twenty, and the large one, s", f"{took_s:.1f}, {large.seconds:.1f} ({scale.batch_lines:,} lines)"
    )
