"""How fast batches may go at a vendor, learned on a real Redis from how it answers."""

from __future__ import annotations

import msgspec
import pytest

from shared.ids import new_id
from shared.settings import Settings
from shared.stores.scripts import Scripts
from tests.harness.support import eventually_true
from workers.upstreams.paces import Pace, Paces


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
