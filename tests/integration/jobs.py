"""What tests of the queue say to Redis in place of time passing."""

from __future__ import annotations

from arq.constants import in_progress_key_prefix
from redis.asyncio import Redis

from shared.job import Job
from shared.lanes import QueueName
from shared.queue.admission import RateState
from shared.queue.claims import Claim, Room
from shared.queue.queue import Queue
from shared.stores import keys

OPENAI, OPENAI_BATCH = keys.queue("openai", "interactive"), keys.queue("openai", "batch")
GEMINI, GEMINI_BATCH = keys.queue("gemini", "interactive"), keys.queue("gemini", "batch")
PLENTY = 1_000
CHANNEL = "relay:web"


def room(name: QueueName = OPENAI, provider: int = PLENTY, lane: int = PLENTY) -> Room:
    return Room(name, provider, lane)


async def enqueue(
    queue: Queue, job: Job, name: QueueName = OPENAI, *, rpm: int | None = None, epoch: int = 0
) -> RateState:
    return await queue.enqueue(job, name, channel=CHANNEL, key_id="key", rpm=rpm, epoch=epoch)


async def claim(queue: Queue, worker: str = "wrk_a", *rooms: Room, jobs_max: int = PLENTY) -> list[Claim]:
    return await queue.claim(worker, rooms or [room()], jobs_max)


async def claim_one(queue: Queue, worker: str = "wrk_a") -> Claim:
    (only,) = await claim(queue, worker)
    return only


async def let_lease_lapse(client: Redis, job_id: str, name: QueueName = OPENAI) -> None:
    """As if the lease's time had passed."""
    await make_due(client, job_id, name)
    await client.delete(in_progress_key_prefix + job_id)


async def lose_claim(client: Redis, one: Claim) -> None:
    """As if Redis had failed over to a replica that had not got the claim yet."""
    await let_lease_lapse(client, one.id, one.queue)
    await client.hincrby(keys.run(one.id), "epoch", -1)  # type: ignore[misc] # typed for both clients
    await client.hdel(keys.run(one.id), "owner")  # type: ignore[misc]


async def until_the_next_millisecond(client: Redis) -> None:
    """So that what comes now is later by Redis's clock."""
    now = (await client.time())[1] // 1_000
    while (await client.time())[1] // 1_000 == now:
        pass


async def make_due(client: Redis, job_id: str, name: QueueName = OPENAI) -> None:
    """As if the time had come that the job is deferred to."""
    seconds, _ = await client.time()
    assert await client.zadd(name, {job_id: seconds * 1000 - 1}, xx=True, ch=True) == 1
