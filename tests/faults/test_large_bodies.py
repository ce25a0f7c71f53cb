"""Large bodies, many of them and unfinished ones: with the settings as they come a front door stays within its memory, and
those who ask for little are served beside them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.faults.conftest import Scale
from tests.harness.caller import MODEL, Caller, told
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.customer import customer
from tests.harness.figures import Figures
from tests.harness.memory import NOW, forget_peak, megabytes

PROOF = "29 bytes"
MEGABYTES_MAX = 400.0
"""Of a front door, whatever is sent to it."""
LARGEST = 19_900_000
UNFINISHED_FOR_S = 3.0
REFUSED = {413, 429, 503}
QUICK_REQUESTS = 40


@pytest.fixture(scope="module")
async def small_cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A front door and a worker with the settings as they come."""
    folder = tmp_path_factory.mktemp("bytes")
    async with running_cluster(folder, {}, doors=1, workers=1, direct=True) as running:
        yield running


@pytest.fixture
async def caller(small_cluster: Cluster) -> AsyncIterator[Caller]:
    async with customer(small_cluster) as one:
        yield one


def with_image(size: int) -> bytes:
    """A request of about `size` bytes."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (size // 4 * 4)}}
    content = [{"type": "text", "text": told(tokens=3)}, image]
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "options": {"max_tokens": 10}}
    return json.dumps(body).encode()


async def sent(caller: Caller, body: bytes) -> int:
    """The status of the answer."""
    headers = {"Content-Type": "application/json"}
    return (await caller.request("POST", "/api/endpoint", data=body, headers=headers)).status


async def quick_times(caller: Caller) -> list[float]:
    """Seconds of small requests, all of which are served."""
    seconds = []
    for _ in range(QUICK_REQUESTS):
        began = time.monotonic()
        assert (await caller.chat(told(tokens=3), max_tokens=10)).status == 200
        seconds.append(time.monotonic() - began)
    return seconds


async def test_four_of_the_largest_bodies_are_served_at_once(
    small_cluster: Cluster, caller: Caller, figures: Figures
) -> None:
    pid, body = small_cluster.pid("web-1"), with_image(LARGEST)
    idle = megabytes(pid, NOW)
    forget_peak(pid)
    assert await asyncio.gather(*(sent(caller, body) for _ in range(4))) == [200] * 4
    figures.add(
        PROOF, "4 bodies of 20 MB at once: front door before and at most, MB", f"{idle:.0f}, {megabytes(pid):.0f}"
    )
    assert megabytes(pid) <= MEGABYTES_MAX


async def test_many_large_bodies_are_served_or_refused_in_words(
    small_cluster: Cluster, caller: Caller, scale: Scale, figures: Figures
) -> None:
    pid, body, many = small_cluster.pid("web-1"), with_image(14_000_000), 60 if scale.long else 12
    forget_peak(pid)
    async with customer(small_cluster) as other, asyncio.TaskGroup() as group:
        alone = await quick_times(other)
        answers = [group.create_task(sent(caller, body)) for _ in range(many)]
        beside = await quick_times(other)
    statuses = Counter(answer.result() for answer in answers)
    figures.add(PROOF, f"{many} bodies of 14 MB at once: statuses", dict(statuses))
    figures.add(PROOF, f"{many} bodies of 14 MB at once: front door at most, MB", megabytes(pid))
    figures.spread(PROOF, "a small request alone", alone)
    figures.spread(PROOF, "a small request beside them", beside)
    assert set(statuses) <= {200, *REFUSED}
    assert statuses[200] >= 4
    assert megabytes(pid) <= MEGABYTES_MAX


async def test_bodies_that_lack_their_last_byte_take_no_room_from_small_ones(
    small_cluster: Cluster, caller: Caller, scale: Scale, figures: Figures
) -> None:
    pid, body, many = small_cluster.pid("web-1"), with_image(LARGEST), 60 if scale.long else 20
    forget_peak(pid)
    host, _, port = small_cluster.url("web-1").removeprefix("http://").partition(":")
    writers = [(await asyncio.open_connection(host, int(port)))[1] for _ in range(many)]
    head = (
        f"POST /api/endpoint HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {caller.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for writer in writers:
        writer.writelines((head.encode(), body[:-1]))
    async with customer(small_cluster) as other:
        await asyncio.sleep(UNFINISHED_FOR_S)
        beside = await quick_times(other)
    for writer in writers:
        writer.transport.abort()
    figures.add(PROOF, f"{many} bodies of 20 MB short of a byte: front door at most, MB", megabytes(pid))
    figures.spread(PROOF, "a small request beside bodies short of a byte", beside)
    assert megabytes(pid) <= MEGABYTES_MAX
