"""Connections that stay open and say nothing any more: to Redis, to Postgres, to the vendor."""

from __future__ import annotations

import asyncio
import itertools
import random
import time

from deploy.simulator.script import Script
from tests.faults.checker import Promise
from tests.faults.clients import Asked, Form
from tests.faults.conftest import Scale
from tests.faults.test_redis_restarted import until_answered
from tests.faults.trial import Trial, Verdict, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures
from tests.harness.support import eventually

PROOF = "8 black hole"
DETECTED_WITHIN_S = 15.0
AWAY = frozenset({"unavailable", "overloaded"})
LOST_WORKER = frozenset({"provider_error"})
SILENT_VENDOR = frozenset({"provider_timeout"})


def long_streams(lot: random.Random) -> tuple[Form, Script]:
    """Streams that take a second or two, a piece every 50 ms."""
    return lot.choice(("raw", "sse")), Script(tokens=lot.randint(20, 40), first_ms=0, pace_ms=50)


async def test_half_open_connections_to_redis_are_found_and_replaced(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    async with trial(cluster, "hole-redis", seed, scale.limit_s) as run:
        async with run.traffic(scale.callers, long_streams):
            detected_s = await _half_open(run, "redis", scale.callers)
        verdict = await run.check(Promise(errors=LOST_WORKER, calls_max=2))
    _report("Redis, half-open", verdict, detected_s, figures)


async def test_half_open_connections_to_postgres_are_found_and_replaced(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    async with trial(cluster, "hole-postgres", seed, scale.limit_s) as run:
        async with run.traffic(scale.callers, long_streams):
            detected_s = await _half_open(run, "postgres", scale.callers)
        verdict = await run.check(Promise(errors=AWAY))
    _report("Postgres, half-open", verdict, detected_s, figures)


async def test_a_vendor_that_falls_silent_ends_its_streams_and_no_others(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    cluster.proxies["vendor"].cut()  # what workers keep of an earlier proof's connections would be silent, too
    async with trial(cluster, "hole-vendor", seed, scale.limit_s) as run:
        async with run.traffic(scale.callers, long_streams):
            detected_s = await _half_open(run, "vendor", scale.callers)
        verdict = await run.check(Promise(errors=SILENT_VENDOR))
    _report("vendor, half-open", verdict, detected_s, figures)


async def test_requests_are_refused_in_time_while_a_store_says_nothing_at_all(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    for store in ("redis", "postgres"):
        proxy = cluster.proxies[store]
        async with trial(cluster, f"silent-{store}", seed, scale.limit_s) as run:
            proxy.black_hole(new_too=True)
            try:
                asked = [run.prepare("json", Script(tokens=3, first_ms=0, pace_ms=0)) for _ in range(scale.callers)]
                await asyncio.gather(*(run.send(one) for one in asked))
            finally:
                await proxy.heal()
            await cluster.ready()
            verdict = await run.check(Promise(errors=AWAY))
        assert {one.status for one in asked} == {503}, verdict.told
        _report(f"{store}, entirely", verdict, max(one.took_s for one in asked), figures)


async def _half_open(run: Trial, where: str, callers: int) -> float:
    """Silence what is connected while half of the callers read, until all that was under way has ended and something new was
    answered; gives the longest that any caller heard nothing meanwhile, in seconds.
    """
    proxy = run.cluster.proxies[where]
    await run.answers_have_begun(callers // 2)
    began = time.time()
    under_way = [one for one in run.asked if one.ending == "running"]
    proxy.black_hole(new_too=False)
    await until_answered(run, began)
    await eventually(lambda: all(one.ended_at for one in under_way), "what was under way has ended")
    await proxy.heal()
    return max(_longest_silence_s(one, began, time.time()) for one in run.asked)


def _longest_silence_s(asked: Asked, began: float, until: float) -> float:
    """Between two signs of life of one request; what was before `began` does not count."""
    heard = [asked.sent_at, *(moment for moment, _ in asked.pieces), asked.ended_at or until]
    moments = [max(moment, began) for moment in heard]
    return max(later - earlier for earlier, later in itertools.pairwise(moments))


def _report(what: str, verdict: Verdict, detected_s: float, figures: Figures) -> None:
    assert not verdict.violations, verdict.violations
    assert detected_s <= DETECTED_WITHIN_S
    figures.add(PROOF, f"{what}: longest silence, s / shown an error", f"{detected_s:.2f} / {verdict.told or 0}")
