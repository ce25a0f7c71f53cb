"""What waits for readers in memory is bounded for each of them, and for all together."""

from __future__ import annotations

import pytest

from api.requests.event_buffer import OWN_BYTES, EventBuffer
from shared.chat import CallPiece, ToolCall
from shared.job import Chunk, Done, Event
from shared.money import Usage
from shared.runtime.byte_budget import ByteBudget

BYTES_MAX = 65_536
LARGE = 2_000_000
LARGE_EVENTS: list[Event] = [
    Chunk("x" * LARGE),
    CallPiece(0, "x" * LARGE, "id", "name"),
    Done("stop", Usage(1, 1), 1, "x" * LARGE),
    Done("stop", Usage(1, 1), 1, "", (ToolCall("id", "name", "x" * LARGE),)),
]


def room_of(total: int) -> ByteBudget:
    return ByteBudget("test", total=total)


def test_who_keeps_up_needs_no_room() -> None:
    buffer = EventBuffer(room_of(1), BYTES_MAX)
    for number in range(10_000):
        assert buffer.take_if_room(Chunk(f"{number}"))
        assert buffer.next() == Chunk(f"{number}")


async def test_a_stopped_reader_has_few_small_events_in_memory_although_their_text_is_short() -> None:
    buffer = EventBuffer(room_of(10 * BYTES_MAX), BYTES_MAX)
    taken = sum(buffer.take_if_room(Chunk("word")) for _ in range(10_000))
    assert 50 < taken < BYTES_MAX / 200 + 1


@pytest.mark.parametrize("event", LARGE_EVENTS)
async def test_a_large_event_counts_until_the_reader_asks_for_the_next_one(event: Event) -> None:
    room = room_of(10 * LARGE)
    buffer = EventBuffer(room, BYTES_MAX)
    assert buffer.take_if_room(event)
    assert LARGE < room.used < 1.1 * LARGE
    assert buffer.next() == event
    assert room.used > LARGE
    buffer.forget_handed_out()
    assert room.used == 0


@pytest.mark.parametrize("event", LARGE_EVENTS)
async def test_many_stopped_readers_hold_no_more_than_there_is_room_for(event: Event) -> None:
    room = room_of(10 * LARGE)
    readers = [EventBuffer(room, BYTES_MAX) for _ in range(1_000)]
    assert 8 <= sum(reader.take_if_room(event) for reader in readers) <= 10
    taken = sum(reader.take_if_room(Chunk("a word ")) for _ in range(100) for reader in readers)
    assert room.used <= 10 * LARGE
    assert sum(reader.bytes for reader in readers) <= 10 * LARGE + len(readers) * OWN_BYTES
    assert taken > len(readers)
    for reader in readers:
        reader.clear()
    assert room.used == 0


async def test_one_account_leaves_room_for_the_others() -> None:
    room = ByteBudget("test", total=10 * LARGE, share=5 * LARGE)
    buffers = {owner: [EventBuffer(room, BYTES_MAX) for _ in range(20)] for owner in ("a", "b")}
    for owner, readers in buffers.items():
        for reader in readers:
            reader.owner = owner
        assert 3 <= sum(reader.take_if_room(LARGE_EVENTS[0]) for reader in readers) <= 5


async def test_what_was_read_together_gives_its_room_back_after_the_last_of_it() -> None:
    room = room_of(10 * BYTES_MAX)
    buffer = EventBuffer(room, BYTES_MAX)
    held = buffer.room_for_some()
    assert held is not None
    buffer.take([Chunk("a"), Chunk("b")], held)
    assert 0 < room.used < 1_000
    for _ in range(2):
        assert room.used
        buffer.next()
    buffer.forget_handed_out()
    assert room.used == 0
