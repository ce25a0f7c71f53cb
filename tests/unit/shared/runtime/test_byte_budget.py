"""Bytes are asked for before they are held, and given in turn."""

from __future__ import annotations

import asyncio

import pytest

from shared.errors import Overloaded
from shared.runtime.byte_budget import ByteBudget

SOON_S = 0.02
LONG_S = 30


def budget(**given: int) -> ByteBudget:
    return ByteBudget("test", **{"total": 100, **given})


async def test_there_is_never_more_than_the_total() -> None:
    room = budget()
    with await room.hold(60, within_s=LONG_S):
        with pytest.raises(Overloaded, match="41 more bytes"):
            await room.hold(41, within_s=SOON_S)
        with await room.hold(40, within_s=LONG_S):
            assert room.used == 100
    assert room.used == 0


async def test_what_is_larger_than_everything_has_it_alone() -> None:
    room = budget()
    with await room.hold(1_000, within_s=LONG_S) as alone:
        assert (alone.size, room.used) == (100, 100)
        with pytest.raises(Overloaded):
            await room.hold(1, within_s=SOON_S)


async def test_those_who_wait_come_in_turn() -> None:
    room = budget()
    first = await room.hold(100, within_s=LONG_S)
    large, small = (asyncio.create_task(room.hold(size, within_s=LONG_S)) for size in (90, 10))
    await asyncio.sleep(0)
    first.shrink(80)
    await asyncio.sleep(0)
    assert not small.done()  # although there is room for it
    first.release()
    assert [held.size for held in (await large, await small)] == [90, 10]


async def test_who_gives_up_keeps_nobody_waiting() -> None:
    room = budget()
    first = await room.hold(50, within_s=LONG_S)
    large, small = (asyncio.create_task(room.hold(size, within_s=LONG_S)) for size in (90, 10))
    await asyncio.sleep(0)
    large.cancel()
    assert (await small).size == 10
    first.release()
    assert room.used == 10


async def test_who_is_cancelled_when_it_has_just_been_admitted_holds_nothing() -> None:
    room = budget()
    first = await room.hold(100, within_s=LONG_S)
    waits = asyncio.create_task(room.hold(100, within_s=LONG_S))
    await asyncio.sleep(0)
    first.release()
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert room.used == 0


async def test_an_owner_has_its_share_and_keeps_others_out_of_the_rest_no_more() -> None:
    room = budget(share=70)
    first = await room.hold(60, "a", within_s=LONG_S)
    second = asyncio.create_task(room.hold(20, "a", within_s=LONG_S))
    await asyncio.sleep(0)
    assert (await room.hold(30, "b", within_s=LONG_S)).size == 30
    assert not second.done()
    first.release()
    assert (await second).size == 20


async def test_small_ones_have_a_reserve_that_large_ones_cannot_take() -> None:
    room = budget(small=5, reserve=10)
    with await room.hold(100, within_s=LONG_S):
        small = [await room.hold(5, within_s=LONG_S) for _ in range(2)]
        assert room.used == 110
        with pytest.raises(Overloaded):
            await room.hold(5, within_s=SOON_S)
        small[0].release()
        small[0].release()
        assert room.used == 105
        assert (await room.hold(4, within_s=LONG_S)).size == 4


async def test_a_part_may_be_let_go() -> None:
    room = budget()
    with await room.hold(100, within_s=LONG_S) as held:
        held.shrink(30)
        held.shrink(50)
        assert (held.size, room.used) == (30, 30)
        assert (await room.hold(70, within_s=LONG_S)).size == 70


async def test_room_at_once_is_given_where_there_is_some_and_passes_nobody_who_waits() -> None:
    room = budget()
    held = room.hold_now(60)
    assert held is not None
    assert room.hold_now(41) is None
    waiting = asyncio.ensure_future(room.hold(50, within_s=LONG_S))
    await asyncio.sleep(0)
    assert room.hold_now(10) is None
    held.release()
    with await waiting:
        assert room.hold_now(10) is not None


async def test_room_at_once_is_kept_from_nobody_by_those_who_wait_for_their_own_share() -> None:
    room = budget(share=50)
    with await room.hold(50, "a", within_s=LONG_S):
        waiting = asyncio.ensure_future(room.hold(10, "a", within_s=LONG_S))
        await asyncio.sleep(0)
        assert room.hold_now(10, "a") is None
        assert room.hold_now(10, "b") is not None
    await waiting


async def test_nobody_has_all_of_the_reserve() -> None:
    room = budget(total=10, small=10, reserve=40, reserve_share=20)
    first = [await room.hold(10, "one", within_s=LONG_S) for _ in range(3)]  # the last one is not of the reserve
    with pytest.raises(Overloaded):
        await room.hold(10, "one", within_s=SOON_S)
    assert (await room.hold(10, "another", within_s=SOON_S)).size == 10
    first[0].release()
    assert (await room.hold(10, "one", within_s=SOON_S)).size == 10
    assert room.used == 40


async def test_who_would_wait_behind_too_many_is_refused_at_once() -> None:
    room = budget(unread=40)
    with await room.hold(100, "first", within_s=LONG_S):
        waiting = [asyncio.create_task(room.hold(10, owner, within_s=LONG_S)) for owner in ("one", "one", "two")]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="So many wait"):  # half of it is one's
            await room.hold(10, "one", within_s=LONG_S)
        waiting.append(asyncio.create_task(room.hold(10, "two", within_s=LONG_S)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="So many wait"):
            await room.hold(10, "three", within_s=LONG_S)
        assert room.used == 100
    assert [held.size for held in await asyncio.gather(*waiting)] == [10, 10, 10, 10]
    assert (await room.hold(60, "one", within_s=LONG_S)).size == 60
