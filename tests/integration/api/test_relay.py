"""A front door's followers on a real Redis: every event once and in order, whatever the channel does."""

from __future__ import annotations

import asyncio
import random
import time

import msgspec
import pytest
from arq.connections import ArqRedis

from api.requests.follower import DoorClosed, Follower, RequestLost, RequestOverdue
from api.requests.relay import Relay
from shared.ids import new_id
from shared.job import Chunk, Done, Event
from shared.lanes import QueueName
from shared.money import Usage
from shared.queue.claims import Room
from shared.queue.journal import Heard
from shared.queue.queue import Queue
from shared.settings import Settings
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job
from tests.harness.support import eventually_true
from tests.integration.conftest import running
from tests.integration.jobs import lose_claim
from tests.integration.journals import DirectJournal

DONE = Done("stop", Usage(1, 1), 1)
LARGE = 1_000_000
QUEUE = keys.queue("openai", "interactive")


@pytest.fixture
def impatient(settings: Settings) -> Settings:
    """A front door that looks into the journal after a tenth of a second of silence."""
    return msgspec.structs.replace(settings, relay_silence_s=0.1, relay_buffer_bytes=40)


async def started(queue: Queue, scripts: Scripts, channel: str = "nobody") -> DirectJournal:
    """A request that a worker has claimed and may journal."""
    job = a_job(id=new_id("req"))
    await queue.enqueue(job, QUEUE, channel=channel, key_id="key", rpm=None)
    claims = await queue.claim("worker", [room(QUEUE)], 100)
    return DirectJournal(scripts, next(one for one in claims if one.id == job.id), live_s=60)


def room(name: QueueName) -> Room:
    return Room(name, 100, 100)


def chunks(count: int) -> list[Chunk]:
    return [Chunk(f"piece {number} ") for number in range(count)]


async def everything(follower: Follower) -> list[Event]:
    async with asyncio.timeout(20):
        return [event async for event in follower]


async def test_events_heard_live_come_once_and_in_order(queue: Queue, lua: Scripts, settings: Settings) -> None:
    journal = await started(queue, lua)
    follower = Follower(journal.request_id, lua, settings)
    events: list[Event] = [*chunks(5), DONE]
    for number, event in enumerate(events):
        await journal.append(event)
        follower.hear(Heard(journal.request_id, number, event))
    assert await everything(follower) == [*chunks(5), DONE]


@pytest.mark.parametrize("seed", range(12))
async def test_a_lossy_repeating_channel_changes_nothing(
    queue: Queue, lua: Scripts, impatient: Settings, seed: int
) -> None:
    """Messages are lost, repeated and reordered while the follower reads; the journal fills up what is missing."""
    chance = random.Random(seed)
    journal = await started(queue, lua)
    follower = Follower(journal.request_id, lua, impatient)
    events: list[Event] = [*chunks(60), DONE]
    reading = asyncio.create_task(everything(follower))
    heard: list[tuple[int, Event]] = []
    for number, event in enumerate(events):
        await journal.append(event)
        heard += [(number, event)] * chance.choice([0, 1, 1, 2])
        chance.shuffle(heard)
        while heard and chance.random() < 0.7:
            follower.hear(Heard(journal.request_id, *heard.pop()))
        if chance.random() < 0.1:
            follower.look_up()
    assert await reading == events


async def test_what_is_heard_while_the_journal_is_read_is_not_doubled(
    queue: Queue, lua: Scripts, settings: Settings
) -> None:
    journal = await started(queue, lua)
    follower = Follower(journal.request_id, lua, settings)
    events: list[Event] = [*chunks(3), DONE]
    for event in events:
        await journal.append(event)
    follower.look_up()
    reading = asyncio.create_task(everything(follower))
    await asyncio.sleep(0)  # the read is under way
    follower.hear(Heard(journal.request_id, 0, chunks(3)[0]))
    assert await reading == [*chunks(3), DONE]


async def test_a_slow_reader_is_buffered_up_to_the_limit_only(queue: Queue, lua: Scripts, impatient: Settings) -> None:
    journal = await started(queue, lua)
    follower = Follower(journal.request_id, lua, impatient)
    events: list[Event] = [*chunks(100), DONE]
    for number, event in enumerate(events):
        await journal.append(event)
        follower.hear(Heard(journal.request_id, number, event))
        assert len(follower.buffer) <= 1
    assert await everything(follower) == events


async def test_a_large_event_passes_and_many_are_never_in_memory_at_once(
    queue: Queue, lua: Scripts, settings: Settings
) -> None:
    journal = await started(queue, lua)
    events: list[Event] = [*(Chunk(f"{number}" * LARGE) for number in range(8)), DONE]
    relay = a_relay(lua, settings, relay_bytes_max=4 * LARGE)
    follower = relay.follow(journal.request_id)
    for number, event in enumerate(events):
        await journal.append(event)
        follower.hear(Heard(journal.request_id, number, event))
        assert follower.buffer.bytes < 1.1 * LARGE
    found = []
    async with asyncio.timeout(20):
        async for event in follower:
            found.append(event)
            assert follower.buffer.bytes < 1.1 * LARGE
    assert found == events
    assert relay._room.used == 0


async def test_large_events_of_many_readers_wait_for_their_turn(queue: Queue, lua: Scripts, settings: Settings) -> None:
    journal = await started(queue, lua)
    relay = a_relay(lua, settings, relay_bytes_max=4 * LARGE)
    await journal.append(Chunk("x" * LARGE))
    await journal.append(DONE)
    followers = [relay.follow(journal.request_id) for _ in range(12)]
    for number, follower in enumerate(followers):
        follower.buffer.owner = f"acc_{number}"
        follower.look_up()
    reading = [asyncio.create_task(a_slow_reader(follower)) for follower in followers]
    while not all(one.done() for one in reading):
        assert relay._room.used <= 4 * LARGE
        await asyncio.sleep(0.01)
    assert [await one for one in reading] == [LARGE] * len(followers)
    assert relay._room.used == 0


async def test_readers_that_stop_leave_the_others_their_small_events_and_let_them_go_on(
    queue: Queue, lua: Scripts, settings: Settings
) -> None:
    """There is no room at all beside what each reader has of its own."""
    journal = await started(queue, lua)
    relay = a_relay(lua, settings, relay_bytes_max=LARGE)
    stopped = [relay.follow(journal.request_id) for _ in range(100)]
    reader = relay.follow(journal.request_id)
    reading = asyncio.create_task(everything(reader))
    events: list[Event] = [*(Chunk(f"{number} " * 100) for number in range(400)), DONE]
    for number, event in enumerate(events):
        await journal.append(event)
        for follower in (*stopped, reader):
            follower.hear(Heard(journal.request_id, number, event))
        assert relay._room.used <= LARGE
    assert await reading == events
    for follower in stopped:
        relay.forget(follower)
    assert relay._room.used == 0


async def test_without_room_for_a_large_event_the_request_goes_on_without_its_reader(
    queue: Queue, lua: Scripts, settings: Settings
) -> None:
    journal = await started(queue, lua)
    relay = a_relay(lua, settings, relay_bytes_max=LARGE, relay_within_s=0.1)
    held = [await relay._room.hold(LARGE, owner, within_s=1) for owner in ("acc_1", "acc_2")]
    await journal.append(Chunk("x" * LARGE))
    follower = relay.follow(journal.request_id)
    follower.look_up()
    with pytest.raises(DoorClosed, match=r"is charged.*GET /api/requests"):
        await everything(follower)
    for one in held:
        one.release()
    await journal.append(DONE)
    assert [type(event) for event in await everything(follower)] == [Chunk, Done]


def a_relay(lua: Scripts, settings: Settings, **changes: float) -> Relay:
    """Whose channel says nothing: its followers are told by hand."""
    return Relay(lua._client, lua, msgspec.structs.replace(settings, **changes), "door")


async def a_slow_reader(follower: Follower) -> int:
    """Takes a while for each event; gives the length of the text."""
    length = 0
    async for event in follower:
        length += len(event.text) if isinstance(event, Chunk) else 0
        await asyncio.sleep(0.02)
    return length


async def test_a_request_that_redis_has_forgotten_is_lost(
    queue: Queue, lua: Scripts, impatient: Settings, redis_client: ArqRedis
) -> None:
    journal = await started(queue, lua)
    follower = Follower(journal.request_id, lua, impatient)
    await redis_client.flushdb()
    with pytest.raises(RequestLost):
        await everything(follower)


@pytest.mark.parametrize("live", [True, False], ids=["live", "in the journal"])
async def test_what_another_claim_begins_anew_is_not_what_goes_on(
    queue: Queue, lua: Scripts, impatient: Settings, redis_client: ArqRedis, *, live: bool
) -> None:
    """Redis failed over and lost a stream that had begun, claim and all; its job runs again while its reader is there."""
    relay = Relay(redis_client, lua, impatient, "door")
    async with running(relay.run()) if live else running():
        if live:
            await eventually_true(lambda: redis_client.pubsub_numsub(relay.channel), "the relay listens")
        job = a_job()
        await queue.enqueue(job, QUEUE, channel=relay.channel, key_id="key", rpm=None)
        (forgotten,) = await queue.claim("worker", [room(QUEUE)], 1)
        follower = relay.follow(job.id)
        for event in chunks(2):
            await DirectJournal(lua, forgotten, live_s=60, length=follower.sequence).append(event)
            assert await anext(follower) == event
        await lose_claim(redis_client, forgotten)
        await redis_client.delete(keys.journal(job.id))
        await redis_client.hdel(keys.run(job.id), "begun")  # type: ignore[misc] # typed for both clients
        (again,) = await queue.claim("another", [room(QUEUE)], 1)
        journal = DirectJournal(lua, again, live_s=60)
        for piece in chunks(4):
            await journal.append(piece)
        await journal.append(DONE)
        with pytest.raises(RequestLost):
            await everything(follower)


async def test_a_request_of_which_nothing_was_read_may_begin_anew(
    queue: Queue, lua: Scripts, impatient: Settings, redis_client: ArqRedis
) -> None:
    old = await started(queue, lua)
    follower = Follower(old.request_id, lua, impatient)
    follower.hear(Heard(old.request_id, 1, Chunk("what came first was missed"), b"worker.1"))
    await redis_client.flushdb()
    with pytest.raises(RequestLost):
        await everything(follower)
    await queue.enqueue(a_job(id=old.request_id), QUEUE, channel="nobody", key_id="key", rpm=None, epoch=1_000)
    (again,) = await queue.claim("another", [room(QUEUE)], 1)
    await DirectJournal(lua, again, live_s=60).append(DONE)
    assert await everything(follower) == [DONE]


async def test_a_silent_request_is_overdue_after_its_time(queue: Queue, lua: Scripts, impatient: Settings) -> None:
    journal = await started(queue, lua)
    follower = Follower(journal.request_id, lua, impatient)
    follower.overdue_at = time.time()
    with pytest.raises(RequestOverdue):
        await everything(follower)


async def test_streams_survive_the_loss_of_every_subscription(
    queue: Queue, lua: Scripts, settings: Settings, redis_client: ArqRedis
) -> None:
    relay = Relay(redis_client, lua, settings, "door")
    async with running(relay.run()):
        await eventually_true(lambda: redis_client.pubsub_numsub(relay.channel), "the relay listens")
        journal = await started(queue, lua, relay.channel)
        follower = relay.follow(journal.request_id)
        reading = asyncio.create_task(everything(follower))
        for number, event in enumerate(chunks(200)):
            await journal.append(event)
            if number % 20 == 0:
                await redis_client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
        await journal.append(DONE)
        assert await reading == [*chunks(200), DONE]


async def test_a_message_that_cannot_be_read_stops_nobody(
    queue: Queue, lua: Scripts, settings: Settings, redis_client: ArqRedis
) -> None:
    relay = Relay(redis_client, lua, settings, "door")
    async with running(relay.run()):
        journal = await started(queue, lua, relay.channel)
        follower = relay.follow(journal.request_id)
        for garbage in (b"", b"a b", b"a b c", b"req 1 \xff\xff"):
            await redis_client.publish(relay.channel, garbage)
        await journal.append(DONE)
        assert await everything(follower) == [DONE]
