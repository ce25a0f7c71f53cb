"""Front doors are killed while their callers read, and while the same request comes again and again."""

from __future__ import annotations

import asyncio

from deploy.simulator.script import Script
from tests.faults.checker import Promise
from tests.faults.clients import FORMS, Asked
from tests.faults.conftest import Scale
from tests.faults.trial import Trial, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures
from tests.harness.support import eventually

RETRY_S = 0.1
REPEATS = 20


async def test_streams_go_on_at_another_front_door_byte_exact(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    resumed = 0
    async with trial(cluster, "door", seed, scale.limit_s) as run:
        for _ in range(scale.door_kills):
            resumed += await _round(cluster, run, scale.callers)
        verdict = await run.check(Promise())
    assert not verdict.violations, verdict.violations
    assert len(verdict.finished) == len(verdict.cases)
    assert resumed == len(verdict.cases)
    proof = "7 front door killed, stream resumed"
    figures.add(proof, "kills / streams joined byte-exact", f"{scale.door_kills} / {len(verdict.finished)}")


async def _round(cluster: Cluster, run: Trial, callers: int) -> int:
    """Streams at one front door; it dies under them, and all go on at the other one. Gives how many did. The vendor keeps
    the last piece of each until then, so that none is over before the last one has begun.
    """
    door, other = run.random.sample(cluster.doors, 2)
    asked = [run.prepare("sse", _long_answer(run)) for _ in range(callers)]
    async with asyncio.TaskGroup() as group:
        for one in asked:
            group.create_task(run.send(one, cluster.url(door)))
        await eventually(lambda: all(one.first_byte_at for one in asked), "all streams have begun")
        await cluster.kill(door)
    broken = [one for one in asked if one.ending == "broken"]
    for one in asked:
        await cluster.simulator.release(one.question.key)
    await asyncio.gather(*(run.go_on(one, cluster.url(other)) for one in broken))
    cluster.start(door)
    await cluster.ready()
    return len(broken)


def _long_answer(run: Trial) -> Script:
    tokens = run.random.randint(80, 150)
    return Script(tokens=tokens, first_ms=0, pace_ms=15, hold=tokens - 1, unicode=run.random.random() < 0.5)


async def test_one_idempotency_key_is_one_call_and_one_charge_while_front_doors_die(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    async with trial(cluster, "key", seed, scale.limit_s) as run:
        for number in range(scale.door_kills):
            first = run.prepare(FORMS[number % len(FORMS)], Script(tokens=40, first_ms=100, pace_ms=15))
            first.headers = {"Idempotency-Key": f"{first.question.key} of {seed}"}
            same = [first, *(run.again(first) for _ in range(REPEATS - 1))]
            async with asyncio.TaskGroup() as group:
                for one in same:
                    group.create_task(_until_answered(run, one))
                await asyncio.sleep(run.random.uniform(0.0, 0.5))
                door = run.random.choice(cluster.doors)
                await cluster.kill(door)
                cluster.start(door)
            await cluster.ready()
        verdict = await run.check(Promise())
    assert not verdict.violations, verdict.violations
    assert len(verdict.finished) == len(verdict.cases)
    assert len({case.asked.request_id for case in verdict.cases}) == scale.door_kills
    figures.add(
        "11 one Idempotency-Key",
        "keys / callers, front doors killed meanwhile",
        f"{scale.door_kills} / {len(verdict.cases)}",
    )


async def _until_answered(run: Trial, asked: Asked) -> None:
    """As a client does that was told that a repeat is safe."""
    while True:
        await run.send(asked)
        if asked.ending == "complete" and asked.status == 200:
            return
        asked.pieces = []
        asked.status = None
        await asyncio.sleep(RETRY_S)
