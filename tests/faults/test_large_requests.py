"""Many large requests come at once: workers and Redis keep within their memory, and small requests are answered meanwhile."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import redis.asyncio

from deploy.simulator.script import Script
from tests.faults.checker import Promise
from tests.faults.conftest import Scale
from tests.faults.trial import Trial, trial
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures
from tests.harness.support import POLL_S

PROOF = "29 large requests"
IMAGE_BYTES = 2_000_000
EVERY_S = 0.1
LARGE = "[[sim first_ms=4000 pace_ms=0 tokens=20]] What is this?"
QUICK = Script(tokens=5, first_ms=0, pace_ms=0)
QUICK_REQUESTS = 20
WORKER_BYTES_MAX = 400_000_000
REDIS_BYTES_MAX = 600_000_000
"""Twice a queue's payloads, what is reserved for small ones, and room to spare."""


async def test_large_requests_cost_no_process_its_memory_and_no_small_one_its_answer(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    async with (
        trial(cluster, "large", seed, scale.limit_s) as run,
        trial(cluster, "huge", seed, scale.limit_s) as large,
    ):
        alone = [(await run.send(run.prepare("json", QUICK))).took_s for _ in range(QUICK_REQUESTS)]
        async with _most_memory(cluster) as most:
            asking = asyncio.ensure_future(_ask_all(cluster, large, scale.large_requests))
            beside = []
            while not asking.done():
                beside.append((await run.send(run.prepare("json", QUICK))).took_s)
            answered = asking.result()
        verdict = await run.check(Promise())
        await large.until_no_hold(scale.limit_s)
        violations = [*verdict.violations, *await large.books.ledger_check()]
    assert not violations, violations
    assert set(answered) <= {200, 503}, answered
    assert answered.count(200) >= len(answered) / 2, answered

    for name, size in most.items():
        figures.add(PROOF, f"{len(answered)} requests of 2.7 MB: most memory of {name}, MB", size / 1e6)
    figures.spread(PROOF, "a quick request alone", alone)
    figures.spread(PROOF, "a quick request beside them", beside)
    assert max(most[name] for name in cluster.workers) <= WORKER_BYTES_MAX
    assert most["redis"] <= REDIS_BYTES_MAX


async def _ask_all(cluster: Cluster, run: Trial, requests: int) -> list[int]:
    """The status of each answer."""
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n" + os.urandom(IMAGE_BYTES)).decode()
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": LARGE},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
    ]
    body = {"model": "openai-gpt-4o", "messages": [{"role": "user", "content": parts}], "options": {"max_tokens": 256}}
    doors = itertools.cycle(cluster.urls)
    headers = {"Authorization": f"Bearer {run.api_key}"}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(cluster.patience_s), headers=headers) as session:

        async def ask() -> int:
            async with session.post(f"{next(doors)}/api/endpoint", json=body) as answer:
                await answer.read()
                return answer.status

        asked = []
        for _ in range(requests):
            asked.append(asyncio.ensure_future(ask()))
            await asyncio.sleep(EVERY_S)
        return await asyncio.gather(*asked)


@contextlib.asynccontextmanager
async def _most_memory(cluster: Cluster) -> AsyncIterator[dict[str, int]]:
    """The most bytes that workers and Redis had while the block ran."""
    most: dict[str, int] = {}

    async def look() -> None:
        async with redis.asyncio.Redis.from_url(cluster.valkey.url) as client:
            while True:
                sizes = {name: _resident_bytes(cluster, name) for name in cluster.workers}
                sizes["redis"] = int((await client.info("memory"))["used_memory"])
                for name, size in sizes.items():
                    most[name] = max(size, most.get(name, 0))
                await asyncio.sleep(POLL_S)

    looking = asyncio.ensure_future(look())
    try:
        yield most
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def _resident_bytes(cluster: Cluster, name: str) -> int:
    pages = int(Path(f"/proc/{cluster.pid(name)}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4_096
