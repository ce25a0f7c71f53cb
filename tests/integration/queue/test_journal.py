from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from arq.connections import ArqRedis
from redis.asyncio.client import PubSub

from shared.chat import CallPiece
from shared.errors import ProviderError, Unavailable
from shared.job import Chunk, Done, Event, Failed, Served, unpack_settlement
from shared.ledger.settlement import Settlement
from shared.money import Usage
from shared.queue.claims import Claim
from shared.queue.journal import (
    Heard,
    Journal,
    LeaseLost,
    RequestVoid,
    append_all,
    parse_message,
    read_on,
)
from shared.queue.queue import Queue
from shared.stores import keys
from shared.stores.redis_connections import Word
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job, a_release, a_reservation, a_settlement
from tests.harness.journals import read_journal
from tests.harness.support import eventually
from tests.integration.conftest import running
from tests.integration.jobs import OPENAI, claim_one, enqueue
from tests.integration.journals import DirectJournal
from workers.request.journal_writer import UNSENT_BYTES_MAX, JournalFlusher, JournalWriter

DONE = Done("stop", Usage(1, 1), 5)


def _record(request_id: str) -> Settlement:
    return a_release(a_reservation("acc_x", id=request_id))


@pytest.fixture
async def claimed(queue: Queue) -> Claim:
    await enqueue(queue, a_job())
    return await claim_one(queue)


@pytest.fixture
def journal(lua: Scripts, claimed: Claim) -> DirectJournal:
    return DirectJournal(lua, claimed, live_s=60)


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
    (heard,) = parse_message(message["data"])
    return heard


async def test_events_are_kept_in_order_and_heard_with_their_numbers(
    journal: DirectJournal, redis_client: ArqRedis, front_door: PubSub
) -> None:
    events: list[Event] = [Chunk("Hel"), Chunk("lo \0 \N{SNOWMAN}"), DONE]
    for event in events:
        await journal.append(event)
    assert await read_journal(redis_client, journal.request_id) == events
    assert [await _hear(front_door) for _ in events] == [
        Heard(journal.request_id, number, event) for number, event in enumerate(events)
    ]


async def test_front_doors_are_told_who_began_the_journal_unless_they_are_of_the_previous_release(
    queue: Queue, lua: Scripts, journal: DirectJournal, claimed: Claim, redis_client: ArqRedis, front_door: PubSub
) -> None:
    channel = keys.channel("newer")
    async with redis_client.pubsub() as newer:
        await newer.subscribe(channel)
        assert await newer.get_message(timeout=5)
        await queue.listen(claimed.id, channel)
        events: list[Event] = [Chunk("a"), DONE]
        for event in events:
            await journal.append(event)
        for number, event in enumerate(events):
            assert await _hear(newer) == Heard(claimed.id, number, event, claimed.owner.encode())
            assert await _hear(front_door) == Heard(claimed.id, number, event)


async def test_a_part_of_the_journal_can_be_read(journal: DirectJournal, redis_client: ArqRedis) -> None:
    for letter in "abcde":
        await journal.append(Chunk(letter))
    assert await read_journal(redis_client, journal.request_id, 1, 3) == [Chunk("b"), Chunk("c"), Chunk("d")]
    assert await read_journal(redis_client, journal.request_id, 3) == [Chunk("d"), Chunk("e")]
    assert await read_journal(redis_client, journal.request_id, 5) == []


async def test_a_read_is_bounded_by_bytes_and_names_the_size_of_a_first_event_that_has_more(
    journal: DirectJournal, lua: Scripts
) -> None:
    for text in ("a", "b" * 1_000, "c", *"defghijklmnopqrst"):
        await journal.append(Chunk(text))

    async def read(first: int, bytes_max: int, first_bytes_max: int | None = None) -> tuple[int, int]:
        found = await read_on(
            lua, journal.request_id, first, events_max=64, bytes_max=bytes_max, first_bytes_max=first_bytes_max
        )
        return len(found.entries), found.left_out

    assert await read(0, 100) == (1, 0)
    assert await read(0, 10_000) == (20, 0)
    assert await read(1, 100) == (1, 0)  # the first one always comes
    count, left_out = await read(1, 100, first_bytes_max=100)
    assert (count, 1_000 < left_out < 1_020) == (0, True)
    assert await read(1, left_out, first_bytes_max=left_out) == (1, 0)
    assert await read(2, 100, first_bytes_max=100) == (16, 0)
    assert await read(20, 100, first_bytes_max=100) == (0, 0)


async def test_an_append_whose_reply_was_lost_is_repeated_without_effect(
    journal: DirectJournal, redis_client: ArqRedis, front_door: PubSub
) -> None:
    await journal.append(Chunk("a"))
    journal.length = 0  # as if the reply had not come
    await journal.append(Chunk("a"))
    await journal.append(Chunk("b"))
    assert await read_journal(redis_client, journal.request_id) == [Chunk("a"), Chunk("b")]
    assert [(await _hear(front_door)).sequence for _ in range(2)] == [0, 1]


async def test_what_several_requests_say_is_one_message(
    queue: Queue, lua: Scripts, journal: DirectJournal, claimed: Claim, redis_client: ArqRedis, front_door: PubSub
) -> None:
    await enqueue(queue, a_job())
    other = await claim_one(queue)
    mine, its_own = (Journal(one, live_s=60) for one in (claimed, other))
    appends = [mine.append(0, Chunk("a\n")), its_own.append(0, Chunk("1 2 3\n")), mine.append(1, DONE)]
    fenced = Journal(other._replace(epoch=other.epoch - 1), live_s=60).append(1, DONE)
    assert await append_all(lua, [*appends, fenced]) == [1, 1, 2, -1]
    message = await front_door.get_message(timeout=5) or {}
    assert list(parse_message(message["data"])) == [
        Heard(claimed.id, 0, Chunk("a\n")),
        Heard(other.id, 0, Chunk("1 2 3\n")),
        Heard(claimed.id, 1, DONE),
    ]


async def test_a_repeat_is_harmless_also_when_more_came_after_it(
    lua: Scripts, claimed: Claim, redis_client: ArqRedis
) -> None:
    journal = Journal(claimed, live_s=60)
    appends = [journal.append(0, Chunk("a")), journal.append(1, Chunk("a"))]
    for _ in range(2):
        assert await append_all(lua, appends) == [1, 2]
    assert await read_journal(redis_client, claimed.id) == [Chunk("a"), Chunk("a")]


async def test_the_last_event_and_the_settle_record_are_written_in_one_step(
    journal: DirectJournal, redis_client: ArqRedis
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
    zombie = DirectJournal(lua, claimed._replace(epoch=claimed.epoch - 1), live_s=60)
    with pytest.raises(LeaseLost):
        await zombie.append(DONE, _record(claimed.id))
    assert await read_journal(redis_client, claimed.id) == []
    assert await redis_client.hlen(keys.SETTLES) == 0  # type: ignore[misc]


async def test_a_journals_time_begins_with_its_first_event_and_anew_with_its_last(
    journal: DirectJournal, redis_client: ArqRedis
) -> None:
    name, left = keys.journal(journal.request_id), []
    for event, record in ((Chunk("a"), None), (Chunk("b"), None), (DONE, _record(journal.request_id))):
        await journal.append(event, record)
        left.append(await redis_client.pttl(name))
        await redis_client.pexpire(name, 30_000)
    assert [30_000 < ms <= 60_000 for ms in left] == [True, False, True]


# -- the flusher and the chunk writers

SayMore = Callable[[JournalWriter], Awaitable[None]]


class SlowScripts:
    """The scripts, which run only while `open`; it counts the calls and what they carry."""

    def __init__(self, lua: Scripts) -> None:
        self._lua = lua
        self.open = asyncio.Event()
        self.open.set()
        self.calls: list[int] = []
        self.errors: list[Exception] = []
        self.lose = 0
        """So many answers."""

    async def call(self, name: str, names: Sequence[str], arguments: Sequence[Word]) -> object:
        self.calls.append(len(arguments) // 10)
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        answer = await self._lua.call(name, names, arguments)
        if self.lose:
            self.lose -= 1
            raise Unavailable("the answer is lost")
        return answer


@pytest.fixture
def slow(lua: Scripts) -> SlowScripts:
    return SlowScripts(lua)


@pytest.fixture
async def flusher(slow: SlowScripts) -> AsyncIterator[JournalFlusher]:
    flusher = JournalFlusher(slow, window_s=0.001, retry_s=0.001)  # type: ignore[arg-type] # the scripts, made slow
    async with running(flusher.run()):
        yield flusher


def _writer(flusher: JournalFlusher, claimed: Claim, patience_s: float = 60) -> JournalWriter:
    return JournalWriter(flusher, Journal(claimed, live_s=60), patience_s=patience_s)


async def _text(client: ArqRedis, request_id: str) -> str:
    events = await read_journal(client, request_id)
    return "".join(event.text for event in events if isinstance(event, Chunk))


async def test_the_first_piece_goes_at_once_and_what_piles_up_meanwhile_goes_together(
    flusher: JournalFlusher, slow: SlowScripts, claimed: Claim, redis_client: ArqRedis
) -> None:
    slow.open.clear()
    writer = _writer(flusher, claimed)
    await writer.write(Chunk("a"))
    await eventually(lambda: slow.calls, "the first piece is under way")
    for letter in "bcd":
        await writer.write(Chunk(letter))
    slow.open.set()
    await writer.end(DONE, _record(claimed.id))
    assert await read_journal(redis_client, claimed.id) == [Chunk("a"), Chunk("bcd", pieces=3), DONE]
    assert slow.calls == [1, 2]


async def test_many_requests_are_written_with_one_call(
    flusher: JournalFlusher, slow: SlowScripts, queue: Queue, redis_client: ArqRedis
) -> None:
    claims = []
    for _ in range(5):
        await enqueue(queue, a_job())
        claims.append(await claim_one(queue))
    writers = [_writer(flusher, one) for one in claims]
    for writer in writers:
        await writer.write(Chunk("a"))
    await asyncio.gather(*(writer.end(DONE, _record(one.id)) for writer, one in zip(writers, claims, strict=True)))
    assert [await read_journal(redis_client, one.id) for one in claims] == [[Chunk("a"), DONE]] * 5
    assert slow.calls == [5, 5]


async def test_a_vendor_is_read_no_faster_than_the_journal_takes_it(
    flusher: JournalFlusher, slow: SlowScripts, claimed: Claim, redis_client: ArqRedis
) -> None:
    slow.open.clear()
    writer = _writer(flusher, claimed)
    await writer.write(Chunk("a"))
    await eventually(lambda: slow.calls, "the first piece is under way")
    blocked = asyncio.ensure_future(writer.write(Chunk("x" * (UNSENT_BYTES_MAX + 1))))
    await asyncio.sleep(0.05)
    assert not blocked.done()
    slow.open.set()
    await blocked
    await writer.end(DONE, _record(claimed.id))
    assert await _text(redis_client, claimed.id) == "a" + "x" * 65_537


async def test_text_waits_for_a_redis_that_is_away_and_is_sent_in_order(
    flusher: JournalFlusher, slow: SlowScripts, claimed: Claim, redis_client: ArqRedis
) -> None:
    slow.errors = [Unavailable("away")] * 5
    writer = _writer(flusher, claimed)
    for letter in "abc":
        await writer.write(Chunk(letter))
    await writer.end(DONE, _record(claimed.id))
    assert await _text(redis_client, claimed.id) == "abc"
    assert (await read_journal(redis_client, claimed.id))[-1] == DONE


async def _end(writer: JournalWriter) -> None:
    await writer.end(DONE, _record(a_job().id))


async def _write_much(writer: JournalWriter) -> None:
    await writer.write(Chunk("b" * (UNSENT_BYTES_MAX + 1)))


async def _write_and_settle_down(writer: JournalWriter) -> None:
    await writer.write(Chunk("b"))
    await writer.wait_until_written()


@pytest.mark.parametrize("say_more", [_end, _write_much, _write_and_settle_down])
async def test_what_comes_while_a_flush_fails_is_written_after_it(
    flusher: JournalFlusher, slow: SlowScripts, claimed: Claim, redis_client: ArqRedis, say_more: SayMore
) -> None:
    slow.open.clear()
    slow.errors = [Unavailable("away")] * 3
    writer = _writer(flusher, claimed)
    await writer.write(Chunk("a"))
    await eventually(lambda: slow.calls, "the first piece is under way")
    more = asyncio.ensure_future(say_more(writer))
    await asyncio.sleep(0)
    slow.open.set()
    await asyncio.wait_for(more, 10)
    first, second = await read_journal(redis_client, claimed.id)
    assert first == Chunk("a")
    assert second == DONE or (isinstance(second, Chunk) and set(second.text) == {"b"})


@pytest.mark.parametrize("error", [ZeroDivisionError(), Unavailable("away")])
async def test_nothing_is_written_after_a_gap(
    flusher: JournalFlusher, slow: SlowScripts, claimed: Claim, redis_client: ArqRedis, error: Exception
) -> None:
    writer = _writer(flusher, claimed, patience_s=0)
    await writer.write(Chunk("a"))
    await writer.wait_until_written()
    slow.open.clear()
    slow.errors = [error]
    await writer.write(Chunk("b"))
    await eventually(lambda: len(slow.calls) == 2, "the second piece is under way")
    await writer.write(Chunk("c"))
    slow.open.set()
    with pytest.raises(type(error)):
        await _end(writer)
    await asyncio.sleep(0.05)
    assert await read_journal(redis_client, claimed.id) == [Chunk("a")]


async def test_the_name_of_the_model_is_not_written_alone_after_a_gap(
    flusher: JournalFlusher, slow: SlowScripts, claimed: Claim, redis_client: ArqRedis
) -> None:
    """With a chain of models it opens the journal; when the first flush fails there is nothing left that it could open."""
    writer = JournalWriter(flusher, Journal(claimed, live_s=60), patience_s=0, opening=Served("openai-gpt-4o"))
    slow.open.clear()
    slow.errors = [Unavailable("away")]
    await writer.write(Chunk("a"))
    await eventually(lambda: len(slow.calls) == 1, "the first piece is under way")
    await writer.write(Chunk("b"))
    assert writer in flusher._marked
    slow.open.set()
    await eventually(lambda: writer not in flusher._marked, "the flusher has asked for the rest")
    with pytest.raises(Unavailable):
        await _end(writer)
    await asyncio.sleep(0.05)
    assert await read_journal(redis_client, claimed.id) == []


async def test_what_cannot_be_packed_ends_its_own_request_only(
    flusher: JournalFlusher, queue: Queue, claimed: Claim, redis_client: ArqRedis
) -> None:
    await enqueue(queue, a_job())
    other = await claim_one(queue)
    broken, sound = _writer(flusher, claimed), _writer(flusher, other)
    await broken.write(CallPiece(0, "", "half \ud800", "name"))
    await sound.write(Chunk("a"))
    with pytest.raises(UnicodeEncodeError):
        await _end(broken)
    await _end(sound)
    assert await read_journal(redis_client, other.id) == [Chunk("a"), DONE]


async def test_an_answer_that_was_lost_on_its_way_is_asked_for_again(
    flusher: JournalFlusher, slow: SlowScripts, claimed: Claim, redis_client: ArqRedis
) -> None:
    slow.lose = 1
    writer = _writer(flusher, claimed)
    await writer.write(Chunk("a"))
    await writer.end(DONE, _record(claimed.id))
    assert slow.calls == [2, 2]
    assert await read_journal(redis_client, claimed.id) == [Chunk("a"), DONE]


async def test_patience_with_redis_has_an_end(flusher: JournalFlusher, slow: SlowScripts, claimed: Claim) -> None:
    slow.errors = [Unavailable("away")] * 100_000
    with pytest.raises(Unavailable):
        await _writer(flusher, claimed, patience_s=0.01).end(DONE, _record(claimed.id))


async def test_what_cannot_be_written_at_all_takes_no_other_request_with_it(
    flusher: JournalFlusher, slow: SlowScripts, claimed: Claim
) -> None:
    slow.errors = [ZeroDivisionError()]
    writer = _writer(flusher, claimed)
    await writer.write(Chunk("a"))
    await writer.wait_until_written()
    await writer.end(DONE, _record(claimed.id))


async def test_a_lost_lease_is_raised_to_whoever_writes_next(
    flusher: JournalFlusher, slow: SlowScripts, claimed: Claim, redis_client: ArqRedis
) -> None:
    writer = _writer(flusher, claimed._replace(epoch=claimed.epoch - 1))
    await writer.write(Chunk("a"))
    await eventually(lambda: slow.calls and not writer.under_way, "the piece is answered")
    with pytest.raises(LeaseLost):
        await writer.write(Chunk("b"))
    with pytest.raises(LeaseLost):
        await writer.end(DONE, _record(claimed.id))
    assert await read_journal(redis_client, claimed.id) == []


async def test_a_void_request_can_still_be_ended_without_a_charge(
    flusher: JournalFlusher, queue: Queue, claimed: Claim, redis_client: ArqRedis
) -> None:
    assert not await queue.bury(claimed.id, OPENAI)
    writer, reservation = _writer(flusher, claimed), a_reservation("acc_x", id=claimed.id)
    await writer.write(Chunk("a"))
    with pytest.raises(RequestVoid):
        await writer.end(DONE, a_settlement(reservation, charge=1))
    await writer.end(DONE, a_release(reservation))
    assert await read_journal(redis_client, claimed.id) == [Chunk("a"), DONE]


async def test_settling_down_waits_for_all_that_was_taken(
    flusher: JournalFlusher, slow: SlowScripts, claimed: Claim, redis_client: ArqRedis
) -> None:
    slow.open.clear()
    writer = _writer(flusher, claimed)
    await writer.write(Chunk("a"))
    await eventually(lambda: slow.calls, "the first piece is under way")
    await writer.write(Chunk("b"))
    settling = asyncio.ensure_future(writer.wait_until_written())
    await asyncio.sleep(0.05)
    assert not settling.done()
    slow.open.set()
    await settling
    assert await _text(redis_client, claimed.id) == "ab"


async def test_a_failure_is_told_after_the_text_that_came_before_it(
    flusher: JournalFlusher, claimed: Claim, redis_client: ArqRedis
) -> None:
    writer = _writer(flusher, claimed)
    failure = Failed(ProviderError("cut").body())
    for letter in "abc":
        await writer.write(Chunk(letter))
    await writer.end(failure, _record(claimed.id))
    assert await _text(redis_client, claimed.id) == "abc"
    assert (await read_journal(redis_client, claimed.id))[-1] == failure
