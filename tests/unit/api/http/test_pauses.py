"""Work on a large body leaves others twice the time that it takes."""

from __future__ import annotations

import pytest

from api.http.bodies import Bodies
from shared.runtime.long_steps import PAUSE_FROM_S, PAUSE_MAX_S, Pauses
from shared.settings import Settings


class Clock:
    """Time that passes when it is told to, or slept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        monkeypatch.setattr("shared.runtime.long_steps.time.monotonic", lambda: self.now)
        monkeypatch.setattr("shared.runtime.long_steps.asyncio.sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_a_pause_is_twice_as_long_as_the_step_before_it(clock: Clock) -> None:
    pace = Pauses(pauses=True)
    for step_s in (0.02, 0.1, PAUSE_FROM_S / 2, 9.0):
        clock.now += step_s
        await pace.pause()
    assert clock.slept == [pytest.approx(0.04), pytest.approx(0.2), 0, PAUSE_MAX_S]


async def test_small_bodies_never_pause(clock: Clock) -> None:
    settings = Settings(database_url="", redis_url="")
    async with Bodies(settings).turn(settings.small_body_bytes_max) as pace:
        clock.now += 1
        await pace.pause()
    assert clock.slept == []


async def test_a_turn_ends_with_a_pause_before_the_next_large_body(clock: Clock) -> None:
    settings = Settings(database_url="", redis_url="")
    async with Bodies(settings).turn(settings.small_body_bytes_max + 1):
        clock.now += 0.05
    assert clock.slept == [pytest.approx(0.1)]
