"""Who leaves a request has the whole grace to come back, on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from arq.connections import ArqRedis
from arq.constants import abort_jobs_ss

from api.requests.abandoned import Abandoned
from api.requests.relay import Relay
from shared.queue.queue import Queue
from shared.settings import Settings
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job
from tests.harness.support import eventually_true
from tests.integration.jobs import OPENAI

GRACE_S = 0.6


class Door:
    """A front door whose readers come and go."""

    def __init__(self, client: ArqRedis, scripts: Scripts, queue: Queue, abandoned: Abandoned, relay: Relay) -> None:
        self.client = client
        self.scripts = scripts
        self.queue = queue
        self.abandoned = abandoned
        self.relay = relay

    async def asked(self) -> str:
        """A request that has a reader, who has left already."""
        job = a_job()
        await self.queue.enqueue(job, OPENAI, channel=self.relay.channel, key_id="key", rpm=None)
        self.abandoned.add(job.id)
        return job.id

    async def now_ms(self) -> float:
        seconds, microseconds = await self.client.time()
        return float(seconds * 1_000 + microseconds / 1_000)

    async def cancelled_at_ms(self, request_id: str) -> float:
        return await eventually_true(lambda: self.client.zscore(abort_jobs_ss, request_id), "it is cancelled")


@pytest.fixture
async def door(redis_client: ArqRedis, lua: Scripts, queue: Queue, settings: Settings) -> AsyncIterator[Door]:
    short = msgspec.structs.replace(settings, abandoned_after_s=GRACE_S, settle_retry_s=0.01)
    relay = Relay(redis_client, lua, short, "web")
    async with asyncio.TaskGroup() as group:
        yield Door(redis_client, lua, queue, Abandoned(queue, relay, group, short), relay)


async def test_a_reader_who_comes_back_and_leaves_again_has_the_whole_grace(door: Door) -> None:
    request_id = await door.asked()
    await asyncio.sleep(GRACE_S / 2)
    reader = door.relay.follow(request_id)
    door.relay.forget(reader)
    left_ms = await door.now_ms()
    door.abandoned.add(request_id)
    assert await door.cancelled_at_ms(request_id) - left_ms > GRACE_S * 1_000 - 1


async def test_who_reads_at_the_end_of_the_grace_goes_on(door: Door) -> None:
    read, left = await door.asked(), await door.asked()
    with_reader = door.relay.follow(read)
    await door.cancelled_at_ms(left)
    assert await door.client.zscore(abort_jobs_ss, read) is None
    door.relay.forget(with_reader)
    door.abandoned.add(read)
    await door.cancelled_at_ms(read)
