"""What goes out takes little memory of a front door, however large it is and however slowly it is read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import NamedTuple

import asyncpg
import pytest

from tests.e2e.conftest import NewCaller, customers
from tests.e2e.test_batches import line, sent, until
from tests.harness.caller import MODEL, Caller, expected, told
from tests.harness.cluster import Cluster
from tests.harness.readers import MB, Memory, Reader, at_most
from tests.harness.support import eventually

DOOR = "web-9"
LINES = 8
LARGE = told(tokens=2_600, size=1_500)
"""3.9 MB of text."""
ONE_MB = told(tokens=700, size=1_500)
UNREAD = 12


class Results(NamedTuple):
    """Of a batch that has ended: whose they are, and where."""

    owner: Caller
    path: str


@pytest.fixture(scope="module")
async def results(cluster: Cluster, books: asyncpg.Pool) -> AsyncIterator[Results]:
    """Large lines, 31 MB together."""
    async with customers(cluster, books) as new_caller:
        owner = await new_caller()
        batch = await sent(owner, [line(f"id-{number}", LARGE, max_tokens=16_384) for number in range(LINES)])
        assert (await until(owner, batch["id"]))["counts"]["completed"] == LINES
        yield Results(owner, f"/api/batches/{batch['id']}/results")


@pytest.fixture(scope="module")
async def door(cluster: Cluster) -> AsyncIterator[str]:
    """A front door of these tests' own, where a reader has a second to take something."""
    cluster.start(
        DOOR,
        WRITE_TIMEOUT_S="1",
        ANSWER_BYTES_MAX="8000000",
        RELAY_BYTES_MAX="16000000",
        HELD_STREAMS_BYTES_MAX="8000000",
    )
    await cluster.ready()
    yield cluster.url(DOOR)
    await cluster.kill(DOOR)


def assert_whole(body: bytes) -> None:
    lines = [json.loads(one) for one in body.splitlines()]
    assert [one["custom_id"] for one in lines] == [f"id-{number}" for number in range(LINES)]
    assert {one["result"]["response"] for one in lines} == {expected(LARGE)}


@pytest.mark.parametrize(("downloads", "growth_mb"), [(1, 60), (8, 120)])
async def test_downloads_of_large_lines_take_little_memory_however_many_there_are(
    cluster: Cluster, door: str, results: Results, downloads: int, growth_mb: int
) -> None:
    memory = Memory(cluster.pid(DOOR))
    readers = [await Reader(door, results.owner.key).ask(results.path) for _ in range(downloads)]
    bodies = await asyncio.gather(*(reader.read() for reader in readers))
    assert memory.peak_growth_mb < growth_mb
    assert len(set(bodies)) == 1
    assert_whole(bodies[0])


async def test_a_steady_reader_of_large_lines_has_all_of_them(door: str, results: Results) -> None:
    """The first lines take several times as long as a reader may take nothing."""
    pace = at_most(1.5 * MB)

    async def slow_at_first(received: int) -> None:
        if received < 6 * MB:
            await pace(received)

    reader = await Reader(door, results.owner.key).ask(results.path)
    assert_whole(await reader.read(slow_at_first))


async def test_answers_that_nobody_reads_are_bounded_have_an_end_and_can_be_fetched(
    cluster: Cluster, door: str, new_caller: NewCaller
) -> None:
    caller = (await new_caller()).at(door)
    memory = Memory(cluster.pid(DOOR))
    body = {"model": MODEL, "messages": [{"role": "user", "content": ONE_MB}], "options": {"max_tokens": 16_384}}
    readers = [await Reader(door, caller.key, 4_096).ask("/api/endpoint", body) for _ in range(UNREAD)]
    for reader in readers:
        await eventually(reader.is_over, "who takes nothing is cut off")
        reader.close()
    assert memory.peak_growth_mb < 60
    page = (await caller.request("GET", f"/api/requests?limit={2 * UNREAD}")).json["result"]["requests"]
    assert [one["state"] for one in page] == ["succeeded"] * UNREAD
    answer = (await caller.request("GET", f"/api/requests/{page[0]['id']}")).json["result"]
    assert answer["response"] == expected(ONE_MB)


async def test_streams_that_repeat_their_answers_are_bounded_and_all_come_to_their_ends(
    cluster: Cluster, door: str, new_caller: NewCaller
) -> None:
    """Together they repeat three times as much as there is room for."""
    caller = (await new_caller()).at(door)
    memory = Memory(cluster.pid(DOOR))
    body = {"model": MODEL, "input": ONE_MB, "stream": True, "max_output_tokens": 16_384}
    readers = [await Reader(door, caller.key).ask("/v1/responses", body) for _ in range(2 * UNREAD)]
    streams = await asyncio.gather(*(reader.read() for reader in readers))
    assert memory.peak_growth_mb < 30
    for stream in streams:
        *_, last = (line for line in stream.splitlines() if line.startswith(b"data: "))
        (message,) = json.loads(last.removeprefix(b"data: "))["response"]["output"]
        assert message["content"][0]["text"] == expected(ONE_MB)
