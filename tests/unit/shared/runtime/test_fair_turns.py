from __future__ import annotations

import asyncio

import pytest

from shared.errors import Overloaded
from shared.runtime.fair_turns import FairTurns

LONG_S = 60.0


class Work:
    """Pieces of work that end when they are told to; `began` has their owners in order."""

    def __init__(self, places: int) -> None:
        self.turns = FairTurns(places)
        self.began: list[str] = []
        self._ends: dict[asyncio.Task[None], asyncio.Event] = {}

    async def begin(self, owner: str, places: int = 1) -> asyncio.Task[None]:
        end = asyncio.Event()
        task = asyncio.ensure_future(self._do(owner, places, end))
        self._ends[task] = end
        await asyncio.sleep(0)
        return task

    def let_end(self, task: asyncio.Task[None]) -> None:
        self._ends[task].set()

    async def end(self, task: asyncio.Task[None]) -> None:
        self.let_end(task)
        await task
        await asyncio.sleep(0)

    async def _do(self, owner: str, places: int, end: asyncio.Event) -> None:
        async with self.turns.turn(owner, places, within_s=LONG_S):
            self.began.append(owner)
            await end.wait()


async def test_no_more_work_is_done_at_a_time_than_there_are_places() -> None:
    work = Work(2)
    first, _, _ = [await work.begin("a") for _ in range(3)]
    assert work.began == ["a", "a"]
    await work.end(first)
    assert work.began == ["a", "a", "a"]


async def test_who_asks_for_little_waits_behind_one_piece_of_work_of_each_of_the_others() -> None:
    work = Work(1)
    tasks = [await work.begin(owner) for owner in ("a", "a", "a", "a", "b", "b", "c")]
    for number in (0, 1, 4, 6, 2, 5, 3):
        await work.end(tasks[number])
    assert work.began == ["a", "a", "b", "c", "a", "b", "a"]


async def test_work_may_take_several_places() -> None:
    work = Work(4)
    first, second, _, fourth = [await work.begin(*asked) for asked in (("a", 3), ("a", 3), ("b", 1), ("c", 2))]
    assert work.began == ["a"]  # nobody overtakes who needs more than there is
    await work.end(first)
    assert work.began == ["a", "a", "b"]
    await work.end(second)
    assert work.began == ["a", "a", "b", "c"]
    await work.end(fourth)


async def test_work_that_would_take_more_places_than_there_are_takes_them_all() -> None:
    work = Work(4)
    first = await work.begin("a", 100)
    await work.begin("b")
    assert work.began == ["a"]
    await work.end(first)
    assert work.began == ["a", "b"]


async def test_who_gives_up_lets_those_behind_him_have_what_was_too_little_for_him() -> None:
    work = Work(2)
    _, given_up, _ = [await work.begin(*asked) for asked in (("a", 1), ("b", 2), ("c", 1))]
    assert work.began == ["a"]
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await asyncio.sleep(0)
    assert work.began == ["a", "c"]


async def test_work_that_is_given_up_while_it_waits_keeps_nobody_waiting() -> None:
    work = Work(1)
    running, given_up, next_one = [await work.begin(owner) for owner in ("a", "b", "c")]
    given_up.cancel()
    await work.end(running)
    assert work.began == ["a", "c"]
    await work.end(next_one)


async def test_a_place_that_came_just_when_its_work_was_given_up_goes_to_the_next() -> None:
    work = Work(1)
    running, given_up, _ = [await work.begin(owner) for owner in ("a", "b", "c")]
    work.let_end(running)
    await asyncio.sleep(0)  # it has ended and handed its place to the second, who has not run since
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await asyncio.sleep(0)
    assert work.began == ["a", "c"]


async def test_places_of_work_that_fails_are_free_again() -> None:
    turns = FairTurns(1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            async with turns.turn("a", within_s=LONG_S):
                raise ZeroDivisionError


async def test_who_finds_no_place_in_time_is_refused_and_leaves_no_trace() -> None:
    work = Work(1)
    running = await work.begin("a")
    with pytest.raises(Overloaded):
        async with work.turns.turn("b", within_s=0):
            pytest.fail("there was no place")
    await work.end(running)
    again = await work.begin("c")
    assert work.began == ["a", "c"]
    await work.end(again)
