"""How fast batches may go at a vendor, learned on a real Redis from how it answers."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import pytest

from deploy.simulator.upstreams import Condition, Payer, Upstreams
from shared.ids import new_id
from shared.settings import Settings
from shared.stores.scripts import Scripts
from tests.harness.support import eventually_true
from workers.upstreams.paces import CallTurn, Pace, Paces


@pytest.fixture
def paces(lua: Scripts, settings: Settings) -> Paces:
    return Paces(lua, msgspec.structs.replace(settings, batch_concurrency_start=10, batch_concurrency_max=100))


@pytest.fixture
def model() -> str:
    return new_id("model")


async def told(paces: Paces, model: str, successes: int) -> Pace:
    for _ in range(successes):
        paces.succeeded(model)
    await paces.report()
    return await paces.of(model)


async def test_nobody_knows_a_new_model(paces: Paces, model: str) -> None:
    assert await paces.of(model) == Pace(10, 0)


async def test_it_doubles_with_every_round_of_successes_up_to_its_limit(paces: Paces, model: str) -> None:
    assert (await told(paces, model, 10)).limit == 20
    assert (await told(paces, model, 20)).limit == 40
    assert (await told(paces, model, 1_000)).limit == 100


async def test_a_vendor_that_throttles_halves_it_and_is_left_alone_as_long_as_it_asks(paces: Paces, model: str) -> None:
    await paces.throttled(model, 7)
    pace = await paces.of(model)
    assert pace.limit == 5
    assert 5 < pace.wait_s <= 7


async def test_many_refusals_at_once_halve_it_once(paces: Paces, model: str) -> None:
    for _ in range(20):
        await paces.throttled(model, 0)
    assert (await paces.of(model)).limit == 5


async def test_after_the_first_refusal_it_grows_by_one_a_round(paces: Paces, model: str) -> None:
    await paces.throttled(model, 0)
    assert (await told(paces, model, 5)).limit == 6
    assert (await told(paces, model, 6)).limit == 7


async def test_a_window_that_is_used_up_is_waited_for_and_teaches_nothing_else(paces: Paces, model: str) -> None:
    await paces.used_up(model, 3)
    pace = await paces.of(model)
    assert pace.limit == 10
    assert 2 < pace.wait_s <= 3
    assert (await told(paces, model, 10)).limit == 20


async def test_it_never_ends_below_one(paces: Paces, model: str, lua: Scripts, settings: Settings) -> None:
    slow = Paces(lua, msgspec.structs.replace(settings, batch_concurrency_start=1))
    await slow.throttled(model, 0)
    assert (await slow.of(model)).limit == 1


async def test_a_wait_ends(paces: Paces, model: str) -> None:
    await paces.throttled(model, 0.2)

    async def over() -> bool:
        return (await paces.of(model)).wait_s == 0

    assert await eventually_true(over, "the wait is over")


async def test_all_processes_learn_from_each_other(paces: Paces, model: str, lua: Scripts, settings: Settings) -> None:
    await paces.throttled(model, 0)
    other = Paces(lua, msgspec.structs.replace(settings, batch_concurrency_start=10))
    assert (await other.of(model)).limit == 5


# turns: calls of a model whose vendor throttles go one after the other, whichever worker makes them

LATER_S = 60.0


async def test_where_nothing_was_refused_nobody_waits_for_a_turn(paces: Paces, model: str) -> None:
    paces.succeeded(model)
    await paces.report()
    await paces.throttled(model, 9)  # by a vendor that is not well
    assert not paces.is_in_turn(model)
    assert await paces.turn({model: 0.0}, 0) == CallTurn()


async def test_a_refusal_has_all_workers_take_turns_after_the_time_that_the_vendor_named(
    paces: Paces, model: str, lua: Scripts, settings: Settings
) -> None:
    other = Paces(lua, settings)
    await paces.throttled(model, 9, 9, 0)
    assert paces.is_in_turn(model)
    first, second = await other.turn({model: 0.0}, LATER_S), await paces.turn({model: 0.0}, LATER_S)
    assert 8 < first.in_s <= 9
    assert first.in_s < second.in_s <= 9.1
    assert not (await paces.turn({model: 0.0}, 1)).taken
    await other.report()
    other.succeeded(model)
    await other.report()
    assert other.is_in_turn(model)


async def test_a_turn_stands_until_another_call_is_refused(paces: Paces, model: str) -> None:
    await paces.throttled(model, 0, 0, 0)
    turn = await paces.turn({model: 0.0}, LATER_S)
    assert (await paces.turn({model: 0.0}, 0, round=turn.round)).taken
    await paces.throttled(model, 9, 9, 0)
    assert not (await paces.turn({model: 0.0}, 0, round=turn.round)).taken


@pytest.mark.parametrize(("answers", "learned"), [(0, True), (3, False)])
async def test_the_refusal_of_a_repeat_counts_only_while_nobody_else_is_answered(
    paces: Paces, model: str, answers: int, *, learned: bool
) -> None:
    assert await paces.throttled(model, 0, 0, 0)
    await told(paces, model, answers)
    turn = await paces.turn({model: 0.0}, LATER_S)
    await asyncio.sleep(0.002)  # the refused call begins after the refusal before
    assert await paces.throttled(model, 9, 9, 0, is_repeat=True) is learned
    assert (await paces.turn({model: 0.0}, 0, round=turn.round)).taken is not learned


async def test_refusals_of_calls_that_were_under_way_together_teach_once_and_a_wait_only_grows(
    paces: Paces, model: str
) -> None:
    for told_s in (9, 1, 5):
        await paces.throttled(model, told_s, told_s, 30)
    turns = [await paces.turn({model: 0.0}, LATER_S) for _ in range(20)]
    assert {turn.round for turn in turns} == {1}
    assert turns[0].in_s > 8
    assert turns[-1].in_s < 9.5


async def test_the_earliest_turn_of_several_keys_is_taken(paces: Paces, model: str) -> None:
    busy, free = f"{model}-busy", f"{model}-free"
    await paces.throttled(busy, 9, 9, 0)
    assert (await paces.turn({busy: 0.0, free: 0.0}, 0)).place == 1
    assert (await paces.turn({busy: 0.0, free: 20.0}, LATER_S)).place == 0


async def test_calls_are_free_again_after_many_answers(paces: Paces, model: str) -> None:
    await paces.throttled(model, 0, 0, 0)
    await told(paces, model, 100)
    assert not paces.is_in_turn(model)
    assert (await paces.turn({model: 0.0}, 0)).taken


async def test_few_calls_are_refused_by_a_vendor_that_says_when_it_takes_the_next_one(
    paces: Paces, model: str, lua: Scripts, settings: Settings
) -> None:
    """Two workers with ten callers each, who call again and again."""
    vendor, payer, ends = Upstreams(), Payer("openai", "key", ""), Counter[bool]()
    vendor.set(Condition(vendor="openai", key="key", fault="throttled", per_minute=6_000))
    finished = asyncio.Event()

    async def call(own: Paces) -> None:
        while not finished.is_set():
            turn = await own.turn({model: 0.0}, 1)
            await asyncio.sleep(turn.in_s)
            if not turn.taken or (turn.in_s and not (await own.turn({model: 0.0}, 0, round=turn.round)).taken):
                continue
            met = vendor.meet(payer)
            await asyncio.sleep(0.005)
            ends[bool(met.refused)] += 1
            if met.refused:
                await own.throttled(model, met.told_wait_s, met.told_wait_s, 0.005)
            else:
                own.succeeded(model, 0.005)
                await own.report()
            if ends[False] >= 100:
                finished.set()

    await asyncio.gather(*(call(own) for own in (paces, Paces(lua, settings)) for _ in range(10)))
    assert ends[True] < ends[False]
