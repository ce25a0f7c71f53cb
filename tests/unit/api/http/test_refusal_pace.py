from __future__ import annotations

from typing import Any

import pytest

from api.http.refusal_pace import ACCOUNTS_MAX, RefusalPace, is_paced
from shared import errors
from shared.settings import Settings

SETTINGS = Settings.load(
    {"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://", "REFUSALS_PER_S": "10", "REFUSAL_WAIT_MAX_S": "2"}
)


class Time:
    """Stands still, except while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr("api.http.refusal_pace.time", time)
    monkeypatch.setattr("api.http.refusal_pace.asyncio", time)
    return time


async def test_whoever_is_refused_too_often_waits_longer_each_time_but_never_longer_than_the_setting(
    time: Time,
) -> None:
    pace = RefusalPace(SETTINGS)
    for _ in range(10 + 1 + 25):
        await pace.keep("acc_greedy")
    assert time.slept[:11] == [0.0] * 11
    assert time.slept[11:14] == [0.1, 0.2, 0.3]
    assert time.slept[-5:] == [2.0] * 5
    await pace.keep("acc_modest")
    assert time.slept[-1] == 0.0
    time.now += 3.2
    for _ in range(3):
        await pace.keep("acc_greedy")
    assert time.slept[-3:] == [0.0] * 3


async def test_at_an_even_pace_nobody_waits(time: Time) -> None:
    pace = RefusalPace(SETTINGS)
    for _ in range(100):
        await pace.keep("acc_even")
        time.now += 0.1
    assert set(time.slept) == {0.0}


async def test_accounts_that_were_refused_long_ago_are_forgotten(time: Time) -> None:
    pace: Any = RefusalPace(SETTINGS)
    for number in range(ACCOUNTS_MAX):
        await pace.keep(f"acc_{number}")
    time.now += 60
    await pace.keep("acc_last")
    assert list(pace._next_at) == ["acc_last"]


@pytest.mark.parametrize(
    ("error", "paced"),
    [
        (errors.InvalidRequest("x"), True),
        (errors.InsufficientCredit("x"), True),
        (errors.ProviderRejected("x"), True),
        (errors.Overloaded("x"), True),
        (errors.Unavailable("x"), False),
        (errors.ProviderBusy("x"), False),
        (errors.ProviderError("x"), False),
        (errors.RebootError("x"), False),
    ],
)
def test_whoever_may_do_something_about_a_refusal_waits(error: errors.RebootError, paced: bool) -> None:  # noqa: FBT001
    assert is_paced(error) is paced
