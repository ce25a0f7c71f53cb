"""What readers cost a front door: downloads of large lines at once, slow ones by the dozen, answers that nobody reads.

Run by `make proofs`; `tests/e2e/test_bytes_out.py` is its short form.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
import asyncpg
import pytest

from shared.ledger.accounts import create_account
from shared.ledger.api_keys import KeyRules, create_key
from shared.money import NanoUsd
from tests.faults.conftest import ENVIRONMENTS
from tests.harness.caller import MODEL, Caller, told
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.figures import Figures
from tests.harness.readers import MB, Memory, Reader, at_most
from tests.harness.support import eventually, eventually_true

PROOF = "29 bytes out"
DOOR = "web-1"
LINES = 54
LARGE = told(tokens=2_650, size=1_500)
"""4 MB of text."""
ONE_MB = told(tokens=700, size=1_500)
QUICK = told(tokens=5)
OUTPUT_LIMIT = 16_384
GROWTH_MB = {1: 60, 4: 100, 8: 120}
"""By downloads at once; each is 214 MB."""
SLOW_READERS, SLOW_BYTES_PER_S, SLOW_MB = 60, 20_000, 160
UNREAD, UNREAD_MB = 100, 160
QUICK_REQUESTS = 100
STEADY_BYTES_PER_S = 4 * MB


class Service(NamedTuple):
    """One front door and one worker, a customer, and where the results of a batch of large lines are."""

    cluster: Cluster
    customer: Caller
    results: str

    def reader(self, buffer_bytes: int = 65_536) -> Reader:
        return Reader(self.cluster.url(DOOR), self.customer.key, buffer_bytes)

    @asynccontextmanager
    async def fresh_door(self) -> AsyncIterator[Memory]:
        """In place of the one that was there, so that its memory is that of one that has just begun."""
        await self.cluster.kill(DOOR)
        self.cluster.start(DOOR)
        await self.cluster.ready()
        yield Memory(self.cluster.pid(DOOR))


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    folder = tmp_path_factory.mktemp("bytes_out")
    async with (
        running_cluster(folder, ENVIRONMENTS[10], doors=1, workers=1, direct=True) as cluster,
        asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=2) as pool,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
    ):
        account = await create_account(pool, "someone", NanoUsd(10**12))
        customer = Caller(session, cluster, account.id, (await create_key(pool, account.id, KeyRules())).key)
        yield Service(cluster, customer, await _a_batch_of_large_lines(customer))


async def _a_batch_of_large_lines(customer: Caller) -> str:
    lines = [{"custom_id": f"id-{number}", **_asking(LARGE)} for number in range(LINES)]
    body = "\n".join(map(json.dumps, lines)).encode()
    headers = {"Content-Type": "application/x-ndjson"}
    batch = (await customer.request("POST", "/api/batches", data=body, headers=headers)).json["result"]

    async def ended() -> bool:
        found = (await customer.request("GET", f"/api/batches/{batch['id']}")).json["result"]
        return bool(found["counts"]["completed"] == LINES)

    await eventually_true(ended, "the batch has ended", 600)
    return f"/api/batches/{batch['id']}/results"


def _asking(text: str) -> dict[str, object]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "options": {"max_tokens": OUTPUT_LIMIT},
    }


@pytest.mark.parametrize("downloads", GROWTH_MB)
async def test_downloads_of_large_lines(service: Service, figures: Figures, downloads: int) -> None:
    async with service.fresh_door() as memory:
        began = time.monotonic()
        readers = [await service.reader().ask(service.results) for _ in range(downloads)]
        sizes = {len(body) for body in await asyncio.gather(*(reader.read() for reader in readers))}
        took_s, growth = time.monotonic() - began, memory.peak_growth_mb
    (size,) = sizes
    figures.add(
        PROOF, f"{downloads} downloads of {size / MB:.0f} MB at once: peak of the front door above idle, MB", growth
    )
    figures.add(PROOF, f"{downloads} downloads of {size / MB:.0f} MB at once: seconds", took_s)
    assert growth < GROWTH_MB[downloads]


async def test_a_steady_reader(service: Service, figures: Figures) -> None:
    async with service.fresh_door() as memory:
        reader = await service.reader().ask(service.results)
        body = await reader.read(at_most(STEADY_BYTES_PER_S))
        growth = memory.peak_growth_mb
    assert len(body.splitlines()) == LINES
    figures.add(PROOF, f"a reader at {STEADY_BYTES_PER_S / MB:.0f} MB/s: MB that it had", len(body) / MB)
    assert growth < GROWTH_MB[1]


async def test_many_slow_readers_and_others_beside_them(service: Service, figures: Figures) -> None:
    async with service.fresh_door() as memory:
        alone = await _quick_times(service)
        readers = [service.reader(4_096) for _ in range(SLOW_READERS)]
        tasks = [asyncio.create_task(_read_slowly(reader, service.results)) for reader in readers]
        await eventually(lambda: sum(bool(reader.received) for reader in readers) >= 1, "downloads have begun")
        beside = await _quick_times(service)
        growth = memory.peak_growth_mb
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for reader in readers:
        reader.close()
    what = f"{SLOW_READERS} readers of large lines at {SLOW_BYTES_PER_S / 1_000:.0f} KB/s"
    figures.add(PROOF, f"{what}: peak of the front door above idle, MB", growth)
    figures.spread(PROOF, "a quick request alone", alone)
    figures.spread(PROOF, f"a quick request beside {what}", beside)
    assert growth < SLOW_MB


async def _read_slowly(reader: Reader, path: str) -> None:
    await reader.ask(path)
    await reader.read(at_most(SLOW_BYTES_PER_S))


async def _quick_times(service: Service) -> list[float]:
    times = []
    for _ in range(QUICK_REQUESTS):
        began = time.monotonic()
        assert (await service.customer.chat(QUICK)).status == 200
        times.append(time.monotonic() - began)
    return times


async def test_answers_that_nobody_reads(service: Service, figures: Figures) -> None:
    async with service.fresh_door() as memory:
        readers = [await service.reader(4_096).ask("/api/endpoint", _asking(ONE_MB)) for _ in range(UNREAD)]
        began = time.monotonic()
        for reader in readers:
            await eventually(reader.is_over, "nobody is waited for", 300)
        took_s, growth = time.monotonic() - began, memory.peak_growth_mb
    figures.add(PROOF, f"{UNREAD} answers of 1 MB that nobody reads: peak of the front door above idle, MB", growth)
    figures.add(PROOF, f"{UNREAD} answers of 1 MB that nobody reads: seconds until none is waited for", took_s)
    assert growth < UNREAD_MB
