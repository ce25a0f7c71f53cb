"""A worker is stopped for longer than its lease and then goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from shared.stores import keys
from tests.faults.checker import Promise, calls_after_first_byte
from tests.faults.conftest import Scale
from tests.faults.trial import Trial, mixed, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures
from tests.harness.support import eventually, eventually_true

PROOF = "2 worker paused"
LOST_WORKER = frozenset({"provider_error"})
QUEUE = keys.queue("openai", "interactive")
FENCED = ("attempt fenced", "finish fenced", "lease lost")


async def test_a_worker_that_slept_past_its_lease_has_no_effect_any_more(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    asleep_s = cluster.lease_s * 1.5 + 1
    async with trial(cluster, "pause", seed, scale.limit_s) as run:
        async with run.traffic(scale.callers, mixed):
            for _ in range(scale.worker_pauses):
                await run.answers_have_begun(scale.callers // 2)
                worker = run.random.choice(await _busy_workers(cluster))
                cluster.pause(worker)
                await asyncio.sleep(asleep_s)
                before = len(_fenced(run))
                cluster.resume(worker)
                await _until_more_are_fenced(run, before)
        promise = Promise(errors=LOST_WORKER, calls_max=scale.worker_pauses + 1, zombies_may_call=True)
        verdict = await run.check(promise)
        fenced = len(_fenced(run))
    assert not verdict.violations, verdict.violations
    figures.add(PROOF, f"pauses of {asleep_s:g} s at lease {cluster.lease_s:g} s", scale.worker_pauses)
    figures.add(PROOF, "requests / effects of zombies fenced", f"{len(verdict.cases)} / {fenced}")
    wasted = sum(calls_after_first_byte(case) for case in verdict.cases)
    figures.add(PROOF, "vendor calls of zombies for streams that others had begun", wasted)


async def _busy_workers(cluster: Cluster) -> list[str]:
    """Those that hold a lease now: a pause of another one would show nothing."""

    async def ask() -> list[str]:
        async with Redis.from_url(cluster.valkey.url) as client:
            leased = await client.zrangebyscore(QUEUE, time.time() * 1_000, "inf")
            owners = [await client.hget(keys.run(one.decode()), "owner") or b"" for one in leased]
        busy = {owner.decode().partition(".")[0] for owner in owners}
        return [name for name in cluster.workers if cluster.worker_id(name) in busy]

    return await eventually_true(ask, "a worker runs something")


async def _until_more_are_fenced(run: Trial, before: int) -> None:
    await eventually(lambda: len(_fenced(run)) > before, "a zombie is fenced, so the pause has hit somebody")


def _fenced(run: Trial) -> list[str]:
    """What workers logged of attempts that were not theirs any more."""
    return [line for line in run.new_log_lines() if any(f'"event":"{event}"' in line for event in FENCED)]
