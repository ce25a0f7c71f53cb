from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from arq.connections import ArqRedis
from redis.asyncio.client import PubSub

from shared import keys
from shared.errors import ProviderError, Unavailable
from shared.job import Chunk, Done, Event, Failed, unpack_settlement
from shared.journal import Heard, JournalWriter, LeaseLost, parse_message, read_journal
from shared.ledger_rows import Settlement
from shared.money import Usage
from shared.queue import Claim, Queue
from shared.scripts import Scripts
from tests.builders import a_job, a_release, a_reservation
from tests.integration.jobs import claim_one, enqueue
from tests.support import eventually
from workers.journal_writer import UNSENT_BYTES_MAX, ChunkWriter

DONE = Done("stop", Usage(1, 1), 5)


def _record(request_id: str) -> Settlement:
    return a_release(a_reservation("acc_x", id=request_id))


@pytest.fixture
async def claimed(queue: Queue) -> Claim:
    await enqueue(queue, a_job())
    return await claim_one(queue)


@pytest.fixture
def journal(lua: Scripts, claimed: Claim) -> JournalWriter:
    return JournalWriter(lua, claimed.id, claimed.epoch, live_s=60)


@pytest.fixture
async def front_door(redis_client: ArqRedis, claimed: Claim) -> AsyncIterator[PubSub]:
    """Subscribed to the channel that the job was enqueued with."""
    async with redis_client.pubsub() as subscriber:
        await subscriber.subscribe("relay:web")
        assert (await subscriber.get_message(timeout=5) or {})["type"] == "subscribe"
        yield subscriber


async def _hear(subscriber: PubSub) -> Heard:
    message = await subscriber.get_message(timeout=5)
    assert message is not None
    return parse_message(message["data"])


async def test_events_are_kept_in_order_and_heard_with_their_numbers(
    journal: JournalWriter, redis_client: ArqRedis, front_door: PubSub
) -> None:
    events: list[Event] = [Chunk("Hel"), Chunk("lo \0 \N{SNOWMAN}"), DONE]
    for event in events:
        await journal.append(event)
    assert await read_journal(redis_client, journal.request_id) == events
    assert [await _hear(front_door) for _ in events] == [
        Heard(journal.request_id, number, event) for number, event in enumerate(events)
    ]


async def test_a_part_of_the_journal_can_be_read(journal: JournalWriter, redis_client: ArqRedis) -> None:
    for letter in "abcde":
        await journal.append(Chunk(letter))
    assert await read_journal(redis_client, journal.request_id, 1, 3) == [Chunk("b"), Chunk("c"), Chunk("d")]
    assert await read_journal(redis_client, journal.request_id, 3) == [Chunk("d"), Chunk("e")]
    assert await read_journal(redis_client, journal.request_id, 5) == []


async def test_an_append_whose_reply_was_lost_is_repeated_without_effect(
    journal: JournalWriter, redis_client: ArqRedis, front_door: PubSub
) -> None:
    await journal.append(Chunk("a"))
    journal.length = 0  # as if the reply had not come
    await journal.append(Chunk("a"))
    await journal.append(Chunk("b"))
    assert await read_journal(redis_client, journal.request_id) == [Chunk("a"), Chunk("b")]
    assert [(await _hear(front_door)).sequence for _ in range(2)] == [0, 1]


async def test_the_last_event_and_the_settle_record_are_written_in_one_step(
    journal: JournalWriter, redis_client: ArqRedis
) -> None:
    record = _record(journal.request_id)
    await journal.append(Chunk("a"))
    assert await redis_client.hlen(keys.SETTLES) == 0  # type: ignore[misc] # typed for both clients
    await journal.append(DONE, record)
    stored = await redis_client.hget(keys.SETTLES, journal.request_id)  # type: ignore[misc]
    assert unpack_settlement(stored or b"") == record


async def test_a_fenced_writer_writes_neither_event_nor_settle_record(
    lua: Scripts, claimed: Claim, redis_client: ArqRedis
) -> None:
    zombie = JournalWriter(lua, claimed.id, claimed.epoch - 1, live_s=60)
    with pytest.raises(LeaseLost):
        await zombie.append(DONE, _record(claimed.id))
    assert await read_journal(redis_client, claimed.id) == []
    assert await redis_client.hlen(keys.SETTLES) == 0  # type: ignore[misc]


async def test_a_journal_lives_on_with_every_event_and_then_expires(
    journal: JournalWriter, redis_client: ArqRedis
) -> None:
    await journal.append(Chunk("a"))
    await redis_client.pexpire(keys.journal(journal.request_id), 10)
    await journal.append(Chunk("b"))
    assert 50_000 < await redis_client.pttl(keys.journal(journal.request_id)) <= 60_000


# -- the chunk writer


class SlowJournal:
    """A journal that is written only while `open`; it remembers what came together."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.open = asyncio.Event()
        self.waiting = 0
        self.errors: list[Exception] = []

    async def append(self, event: Event, settlement: Settlement | None = None) -> None:
        self.waiting += 1
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.events.append(event)


def _writer(journal: SlowJournal | JournalWriter, patience_s: float = 60) -> ChunkWriter:
    return ChunkWriter(journal, retry_s=0.001, patience_s=patience_s)  # type: ignore[arg-type] # a hand-written fake


async def test_the_first_piece_goes_at_once_and_what_piles_up_meanwhile_goes_together() -> None:
    journal = SlowJournal()
    writer = _writer(journal)
    await writer.write(Chunk("a"))
    await eventually(lambda: journal.waiting, "the first piece is under way")
    for letter in "bcd":
        await writer.write(Chunk(letter))
    journal.open.set()
    await writer.end(DONE, _record(a_job().id))
    assert journal.events == [Chunk("a"), Chunk("bcd"), DONE]


async def test_a_vendor_is_read_no_faster_than_the_journal_takes_it() -> None:
    journal = SlowJournal()
    writer = _writer(journal)
    await writer.write(Chunk("a"))
    blocked = asyncio.ensure_future(writer.write(Chunk("x" * (UNSENT_BYTES_MAX + 1))))
    await eventually(lambda: journal.waiting, "the first piece is under way")
    assert not blocked.done()
    journal.open.set()
    await blocked
    await writer.end(DONE, _record(a_job().id))
    assert "".join(event.text for event in journal.events if isinstance(event, Chunk)) == "a" + "x" * 65_537


async def test_text_waits_for_a_redis_that_is_away_and_is_sent_in_order() -> None:
    journal = SlowJournal()
    journal.open.set()
    journal.errors = [Unavailable("away")] * 5
    writer = _writer(journal)
    for letter in "abc":
        await writer.write(Chunk(letter))
    await writer.end(DONE, _record(a_job().id))
    assert "".join(event.text for event in journal.events if isinstance(event, Chunk)) == "abc"
    assert journal.events[-1] == DONE


async def test_patience_with_redis_has_an_end() -> None:
    journal = SlowJournal()
    journal.open.set()
    journal.errors = [Unavailable("away")] * 100_000
    with pytest.raises(Unavailable):
        await _writer(journal, patience_s=0.01).end(DONE, _record(a_job().id))


async def test_a_lost_lease_is_raised_to_whoever_writes_next() -> None:
    journal = SlowJournal()
    journal.open.set()
    journal.errors = [LeaseLost("x")]
    writer = _writer(journal)
    await writer.write(Chunk("a"))
    with pytest.raises(LeaseLost):
        await writer.end(DONE, _record(a_job().id))
    assert journal.events == []


async def test_a_failure_is_told_after_the_text_that_came_before_it(
    journal: JournalWriter, redis_client: ArqRedis
) -> None:
    writer = _writer(journal)
    failure = Failed(ProviderError("cut").body())
    for letter in "abc":
        await writer.write(Chunk(letter))
    await writer.end(failure, _record(journal.request_id))
    *chunks, last = await read_journal(redis_client, journal.request_id)
    assert "".join(event.text for event in chunks if isinstance(event, Chunk)) == "abc"
    assert last == failure
