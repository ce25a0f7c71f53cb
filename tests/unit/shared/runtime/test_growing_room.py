from __future__ import annotations

import asyncio

import pytest

from shared.errors import AnswerTooLong
from shared.runtime.growing_room import STEP_BYTES, GrowingRoom, Growth
from tests.harness.support import eventually
from workers.providers.wire.receiving import receiving
from workers.providers.wire.sse import EVENT_BYTES_MAX, whole

FREE = 1_000
FOR_EVER = 60.0


def a_room(steps: int) -> GrowingRoom:
    return GrowingRoom("vendor answers", total=steps * STEP_BYTES, free=FREE)


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def _growing(answer: Growth, size: int) -> asyncio.Task[bool]:
    return asyncio.create_task(answer.grow_to(size, FOR_EVER))


async def test_short_answers_take_nothing_of_the_room() -> None:
    room = a_room(2)
    for _ in range(100):
        await room.of("acc_a").grow_to(FREE, FOR_EVER)
    assert room.used == 0


async def test_what_an_answer_took_is_there_again_when_it_has_ended() -> None:
    room = a_room(4)
    with room.of("acc_a") as answer:
        await answer.grow_to(2 * STEP_BYTES, FOR_EVER)
        assert room.used == 2 * STEP_BYTES
        await answer.grow_to(STEP_BYTES, FOR_EVER)
        assert room.used == 2 * STEP_BYTES
    assert room.used == 0


async def test_an_account_has_half() -> None:
    """Of two answers that have it together, one goes on beyond it, and the other one when that has ended."""
    room = a_room(4)
    with room.of("acc_a") as first, room.of("acc_a") as second, room.of("acc_b") as other:
        await first.grow_to(STEP_BYTES, FOR_EVER)
        await second.grow_to(STEP_BYTES, FOR_EVER)
        await first.grow_to(50 * STEP_BYTES, FOR_EVER)
        waiting = _growing(second, 50 * STEP_BYTES)
        await other.grow_to(2 * STEP_BYTES, FOR_EVER)
        await _settled()
        assert not waiting.done()
        assert room.used == 4 * STEP_BYTES
        first.__exit__(None, None, None)
        await waiting


async def test_who_waits_goes_on_when_there_is_room() -> None:
    room = a_room(4)
    with room.of("acc_a") as beyond, room.of("acc_b") as second, room.of("acc_b") as third:
        await beyond.grow_to(3 * STEP_BYTES, FOR_EVER)
        await second.grow_to(2 * STEP_BYTES, FOR_EVER)
        waiting = _growing(third, FREE + STEP_BYTES)
        await _settled()
        assert not waiting.done()
        second.__exit__(None, None, None)
        await waiting
        assert room.used == 3 * STEP_BYTES


async def test_many_that_have_a_part_each_all_come_to_their_ends() -> None:
    room = a_room(10)
    most = 0

    async def one(account: str) -> None:
        nonlocal most
        with room.of(account) as answer:
            for steps in range(1, 8):
                await answer.grow_to(steps * STEP_BYTES, FOR_EVER)
                most = max(most, room.used)
                await asyncio.sleep(0)

    async with asyncio.timeout(FOR_EVER), asyncio.TaskGroup() as group:
        for number in range(60):
            group.create_task(one(f"acc_{number % 3}"))
    assert 5 * STEP_BYTES <= most <= 10 * STEP_BYTES
    assert room.used == 0


async def test_the_wait_ends_with_the_deadline() -> None:
    """Which the call's own limit then tells."""
    room = a_room(2)
    with room.of("acc_a") as first, room.of("acc_a") as second:
        await first.grow_to(3 * STEP_BYTES, FOR_EVER)
        assert not await second.grow_to(3 * STEP_BYTES, within_s=0)
        assert not await second.grow_to(3 * STEP_BYTES, within_s=-1)
        assert await first.grow_to(9 * STEP_BYTES, within_s=0)


async def test_who_is_cancelled_while_it_waits_keeps_nothing() -> None:
    room = a_room(2)
    with room.of("acc_a") as first:
        await first.grow_to(2 * STEP_BYTES, FOR_EVER)
        with room.of("acc_a") as second:
            waiting = _growing(second, 2 * STEP_BYTES)
            await _settled()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
    assert room.used == 0


class Body:
    """Of so many parts of a kilobyte each, of which it tells how many were read."""

    def __init__(self, parts: int) -> None:
        self._parts = parts
        self.read = 0

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        if self.read == self._parts:
            raise StopAsyncIteration
        self.read += 1
        return b"x" * 1_000


async def test_a_body_is_read_no_faster_than_there_is_room_for_it() -> None:
    room = a_room(2)
    body = Body(2_000)
    with room.of("acc_a") as first, room.of("acc_a") as second:
        await first.grow_to(3 * STEP_BYTES, FOR_EVER)

        async def room_of_second(size: int) -> None:
            await second.grow_to(size, FOR_EVER)

        async def reading() -> bytes:
            with receiving(room_of_second):
                return await whole(body)

        task = asyncio.create_task(reading())
        await eventually(lambda: body.read > 1, "the body is read")
        await _settled()
        assert body.read <= second.size // 1_000 + 1
        first.__exit__(None, None, None)
        assert len(await task) == 2_000_000


async def test_a_body_that_nobody_gives_room_for_has_a_bound_all_the_same() -> None:
    with pytest.raises(AnswerTooLong):
        await whole(Body(EVENT_BYTES_MAX // 1_000 + 2))
