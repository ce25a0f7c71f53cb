"""A vendor is paused and resumed, and a worker drained and replaced, under load: nobody's request is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import asyncpg
import pytest

from shared.operators.operators import create_operator, create_token
from tests.faults.checker import Promise
from tests.faults.conftest import Scale
from tests.faults.trial import mixed, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures
from tests.harness.support import eventually_true

PROOF = "14 switched off by operators"
PAUSED_S = 1.5
Call = Callable[[str, str], Awaitable[Any]]


@pytest.fixture
async def operate(cluster: Cluster) -> AsyncIterator[Call]:
    """Calls of the operators' API."""
    name = f"night.{time.monotonic_ns()}"
    async with asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=1) as pool:
        await create_operator(pool, name)
        token = (await create_token(pool, name, ("routing", "read"), None)).token
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:

        async def call(method: str, path: str) -> Any:
            async with session.request(method, f"{cluster.urls[0]}/operator/{path}") as response:
                assert response.status == 200, await response.text()
                return (await response.json())["result"]

        yield call


async def test_whoever_asks_a_paused_vendor_is_answered_when_it_is_resumed(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures, operate: Call
) -> None:
    async def is_idle() -> bool:
        queues = (await operate("GET", "queues"))["queues"]
        (queue,) = (one for one in queues if one["name"] == "openai:interactive")
        return bool(queue["running"] == 0 < queue["ready"])

    async with trial(cluster, "paused", seed, scale.limit_s) as run:
        async with run.traffic(scale.callers, mixed):
            for _ in range(scale.switches):
                await run.answers_have_begun(1)
                await operate("POST", "queues/openai/pause")
                await eventually_true(is_idle, "what ran has ended, and others wait")
                await asyncio.sleep(PAUSED_S)
                assert await is_idle()
                await operate("POST", "queues/openai/resume")
        verdict = await run.check(Promise())
    assert not verdict.violations, verdict.violations
    assert len(verdict.finished) == len(verdict.cases)
    figures.add(PROOF, "pauses / requests, all answered whole", f"{scale.switches} / {len(verdict.cases)}")


async def test_a_drained_worker_ends_what_it_has_and_is_replaced(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures, operate: Call
) -> None:
    async with trial(cluster, "drained", seed, scale.limit_s) as run:
        async with run.traffic(scale.callers, mixed):
            for _ in range(scale.switches):
                for name in cluster.workers:
                    await run.answers_have_begun(1)
                    await cluster.until_log(name, "worker started")  # one that was killed may have said so before it
                    worker_id = cluster.worker_id(name)
                    assert (await operate("POST", f"workers/{worker_id}/drain"))["draining"]
                    await cluster.until_log(name, "worker draining")
                    await eventually_true(lambda drained=worker_id: _runs_nothing(operate, drained), "it is idle")  # type: ignore[misc]
                    await cluster.drain(name)
                    cluster.start(name)
                    await cluster.until_log(name, "worker started")
        verdict = await run.check(Promise())
    assert not verdict.violations, verdict.violations
    assert len(verdict.finished) == len(verdict.cases)
    replaced = scale.switches * len(cluster.workers)
    figures.add(PROOF, "workers drained / requests, all answered whole", f"{replaced} / {len(verdict.cases)}")


async def _runs_nothing(operate: Call, worker_id: str) -> bool:
    workers = await operate("GET", "workers")
    return all(one["running"] == 0 for one in workers if one["id"] == worker_id)
