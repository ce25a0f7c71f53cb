"""A machine whose clock is off serves nothing, and one whose clock goes wrong later goes by those of the stores."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import asyncpg
import msgspec
import pytest
import structlog
from arq.connections import ArqRedis
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from shared import clock
from shared.errors import Unavailable
from shared.ids import created_at, new_id
from shared.settings import Settings, SettingsError
from shared.stores.clocks import Ahead, Clocks, _ahead_of
from shared.stores.redis_client import connect
from tests.harness.builders import a_job
from tests.harness.support import free_port

Shift = Callable[[float], None]


@pytest.fixture
def shift(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shift]:
    """Sets the machine's clock so many seconds ahead."""
    right = time.time

    def by(seconds: float) -> None:
        monkeypatch.setattr("time.time", lambda: right() + seconds)

    yield by
    clock.set_right(0.0)


@pytest.fixture
def clocks(pool: asyncpg.Pool, redis_client: ArqRedis, settings: Settings) -> Clocks:
    return Clocks(pool, redis_client, settings)


@pytest.mark.parametrize("seconds", [0.0, 4.5, -4.5])
async def test_a_clock_that_is_nearly_right_is_good_enough(clocks: Clocks, shift: Shift, seconds: float) -> None:
    shift(seconds)
    await clocks.require()
    assert abs(clock.now_s() - time.time() + seconds) < 0.5


@pytest.mark.parametrize(("seconds", "said"), [(700.0, "700 s ahead of"), (-700.0, "700 s behind")])
async def test_nothing_starts_with_a_clock_that_is_off(clocks: Clocks, shift: Shift, seconds: float, said: str) -> None:
    shift(seconds)
    words = (
        rf"^CLOCK_OFF_MAX_S=5: this machine's clock is {said} that of Redis and {said} that of Postgres: set [^\n]+$"
    )
    with pytest.raises(SettingsError, match=words):
        await clocks.require()


async def test_a_store_that_does_not_answer_is_unavailable(pool: asyncpg.Pool, settings: Settings) -> None:
    nowhere = msgspec.structs.replace(settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    client = connect(nowhere, ArqRedis)
    with pytest.raises(Unavailable, match="clocks"):
        await Clocks(pool, client, nowhere).require()
    await client.aclose()


@pytest.mark.parametrize("seconds", [700.0, -700.0])
async def test_a_clock_that_goes_wrong_later_is_set_right_by_both_stores(
    clocks: Clocks, shift: Shift, seconds: float
) -> None:
    moment = created_at(new_id("req"))
    job = a_job(deadline_ms=int(time.time() * 1000) + 60_000)
    shift(seconds)
    clocks.heed(await clocks._ahead())
    assert 50 < job.left_s() < 61
    assert abs(created_at(new_id("req")) - moment) < timedelta(seconds=10)
    assert abs(clock.utc_now() - moment) < timedelta(seconds=10)


def test_an_operator_hears_once_of_a_clock_that_is_off_and_once_that_it_is_right_again(
    clocks: Clocks, shift: Shift
) -> None:
    shift(0)
    with structlog.testing.capture_logs() as lines:
        for ahead_s in (0.0, 5.5, 6.0, 1.0, -9.0):
            clocks.heed(Ahead(ahead_s, ahead_s))
    for store in ("redis", "postgres"):
        assert REGISTRY.get_sample_value("rebootml_clock_ahead_seconds", {"store": store}) == -9
    assert [(line["event"], line.get("alert", False)) for line in lines] == [
        ("clocks are apart", True),
        ("clocks are together again", False),
        ("clocks are apart", True),
    ]
    assert (lines[0]["ahead_of_redis_s"], lines[0]["goes_by_s"]) == (5.5, -5.5)


def test_one_store_alone_does_not_set_a_clock_that_the_other_one_shows_too(clocks: Clocks, shift: Shift) -> None:
    shift(0)
    clocks.heed(Ahead(redis=0.1, postgres=700.0))
    assert abs(clock.now_s() - time.time()) < 1
    clocks.heed(Ahead(redis=-700.0, postgres=0.0))
    assert abs(clock.now_s() - time.time()) < 1


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_with_two_clocks_that_agree_the_third_does_not_count(right: float, wrong: float, place: float) -> None:
    shown = [right, right]
    shown.insert(int(abs(place)) % 3, wrong)
    machine, redis, postgres = shown
    assert machine - statistics.median([0.0, machine - redis, machine - postgres]) == pytest.approx(right, abs=1e-6)


async def test_a_store_that_answers_late_is_not_taken_for_one_whose_clock_is_off() -> None:
    async def late() -> float:
        before_s = time.time()
        await asyncio.sleep(0.2)
        return (before_s, before_s + 0.1, time.time())[next(places)]

    places = iter(range(3))
    assert [await _ahead_of(late) for _ in range(3)] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("ahead_s", [10.0, -10.0])
async def test_what_is_off_is_off_by_no_more_than_is_certain(ahead_s: float) -> None:
    async def late() -> float:
        before_s = time.time()
        await asyncio.sleep(0.2)
        return (before_s if ahead_s > 0 else time.time()) - ahead_s

    found = await _ahead_of(late)
    assert abs(found) <= 10
    assert found == pytest.approx(ahead_s, abs=0.1)
