"""Many large bodies, unfinished ones, and what is small but dear: with the settings as they come no process takes more memory
than it should, and those who ask for little are served beside them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import redis.asyncio

from shared.settings import Settings
from tests.faults.bytes_in import ABUSES, Line, Sender, done_for_a_while, largest
from tests.faults.conftest import Scale
from tests.harness.bystander import bystander
from tests.harness.caller import Caller, told
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.customer import customer
from tests.harness.figures import Figures
from tests.harness.memory import NOW, forget_peak, megabytes
from tests.harness.servers import Simulator
from tests.harness.support import POLL_S

PROOF = "29 bytes in"
MEGABYTES_MAX = {"web-1": 400.0, "worker-1": 400.0, "redis": 600.0}
"""Of Redis: a queue's payloads, what is kept of ended requests, and room to spare."""
GROWTH_MB_MAX = 12.0
"""Of a front door that takes in one upload, whatever its size."""
SMALL_MODEL = "deepseek-chat"
"""Of another vendor than those that large bodies go to, whose simulator has other things to do."""
SMALL = told(tokens=3)
SHORT_S, LONG_S = 1.0, 15.0
"""How long it is done, at least once; so long, where waits are reported, that their 99th percentile is not the longest."""


class Service(NamedTuple):
    """One front door and one worker, one who asks for much and one who asks for little."""

    cluster: Cluster
    greedy: Caller
    modest: Caller


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    folder = tmp_path_factory.mktemp("bytes")
    other = Simulator(folder / "other vendor")
    (folder / "other vendor").mkdir()
    await other.start()
    vendor = {"DEEPSEEK_API_KEY": "simulated", "DEEPSEEK_BASE_URL": f"http://127.0.0.1:{other.port}/deepseek"}
    defaults = Settings.load({"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://"})
    as_it_comes = {"REFUSALS_PER_S": str(defaults.refusals_per_s)}
    try:
        async with (
            running_cluster(folder / "cluster", vendor | as_it_comes, doors=1, workers=1, direct=True) as cluster,
            customer(cluster) as greedy,
            customer(cluster) as modest,
        ):
            cluster.simulator.give_way()
            yield Service(cluster, greedy, modest)
    finally:
        await other.stop()


async def test_four_of_the_largest_bodies_are_served_at_once(service: Service, figures: Figures) -> None:
    async with _most_memory(service.cluster) as most:
        greedy = service.greedy
        sender, body = Sender(greedy.session, greedy.url(""), greedy.key, Line()), largest()
        assert await asyncio.gather(*(sender.send(body) for _ in range(4))) == [200] * 4
    _report(figures, "4 bodies of 20 MB", most)


async def test_a_batch_in_one_body_is_split_as_it_arrives(service: Service, scale: Scale, figures: Figures) -> None:
    megabytes_sent = 200 if scale.long else 20
    pid = service.cluster.pid("web-1")
    before = megabytes(pid, NOW)
    forget_peak(pid)
    reply = await service.modest.request(
        "POST", "/v1/messages/batches", data=requests_of(megabytes_sent), headers={"Content-Type": "application/json"}
    )
    assert (reply.status, "ends too early" in reply.json["error"]["message"]) == (400, True)
    growth = megabytes(pid) - before
    figures.add(PROOF, f"a message batch of {megabytes_sent} MB: growth of the front door, MB", f"{growth:.1f}")
    assert growth < GROWTH_MB_MAX


async def requests_of(size_mb: int) -> AsyncIterator[bytes]:
    """A body of so many megabytes whose last bracket is missing, so that none of it is run."""
    text = "word " * 2_000
    for number in range(size_mb * 100):
        message = {"role": "user", "content": text}
        params = {"model": SMALL_MODEL, "max_tokens": 1, "messages": [message]}
        request = json.dumps({"custom_id": str(number), "params": params}).encode()
        yield (b"," if number else b'{"requests":[') + request
    yield b"]"


@pytest.mark.parametrize("abuse", ABUSES)
async def test_others_are_served_and_memory_is_kept(
    service: Service, scale: Scale, figures: Figures, abuse: str
) -> None:
    clients, for_s = (60, LONG_S) if scale.long else (12, SHORT_S)
    modest = (service.modest.url(""), service.modest.key, SMALL_MODEL, SMALL)
    if scale.long:
        async with bystander(*modest) as alone:
            await asyncio.sleep(for_s)
        figures.spread(PROOF, f"{clients} clients, {abuse}: a small request alone", alone.took_s)
    async with _most_memory(service.cluster) as most, bystander(*modest) as beside:
        statuses = await done_for_a_while(abuse, service.greedy.url(""), service.greedy.key, clients, for_s)
    what = f"{clients} clients, {abuse}"
    figures.add(PROOF, f"{what}: statuses", dict(statuses))
    figures.spread(PROOF, f"{what}: a small request beside them", beside.took_s)
    _report(figures, what, most)
    assert beside.took_s
    assert not beside.refused
    assert set(statuses) <= ABUSES[abuse].allowed


def _report(figures: Figures, what: str, most: dict[str, float]) -> None:
    figures.add(PROOF, f"{what}: most memory, MB", ", ".join(f"{name} {size:.0f}" for name, size in most.items()))
    for name, size in most.items():
        assert size <= MEGABYTES_MAX[name], (name, size)


@contextlib.asynccontextmanager
async def _most_memory(cluster: Cluster) -> AsyncIterator[dict[str, float]]:
    """The most megabytes that each process had while the block ran; filled when it ends."""
    most: dict[str, float] = {}
    pids = {name: cluster.pid(name) for name in (*cluster.doors, *cluster.workers)}
    for pid in pids.values():
        forget_peak(pid)
    async with redis.asyncio.Redis.from_url(cluster.valkey.url) as client:

        async def look() -> None:
            while True:
                size = int((await client.info("memory"))["used_memory"]) / 1e6
                most["redis"] = max(size, most.get("redis", 0))
                await asyncio.sleep(POLL_S)

        looking = asyncio.ensure_future(look())
        try:
            yield most
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            most.update({name: megabytes(pid) for name, pid in pids.items()})
