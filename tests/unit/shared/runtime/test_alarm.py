from __future__ import annotations

import asyncio

import pytest

from shared.runtime.alarm import Alarm

SOON = 0.02


class Waiter:
    """Waits again and again, and counts how often that took too long."""

    def __init__(self) -> None:
        self.rung = 0
        self.alarm = Alarm(self._ring)

    def _ring(self) -> None:
        self.rung += 1

    async def wait(self, within_s: float, took_s: float) -> None:
        self.alarm.set(asyncio.get_running_loop().time() + within_s)
        await asyncio.sleep(took_s)
        self.alarm.clear()


@pytest.fixture
async def waiter() -> Waiter:
    return Waiter()


async def test_a_wait_that_takes_too_long_rings_once(waiter: Waiter) -> None:
    await waiter.wait(SOON, 5 * SOON)
    assert waiter.rung == 1


async def test_waits_that_end_in_time_never_ring_however_many(waiter: Waiter) -> None:
    for _ in range(20):
        await waiter.wait(30 * SOON, SOON / 2)
    await asyncio.sleep(35 * SOON)
    assert waiter.rung == 0


async def test_a_later_wait_has_all_its_time_although_the_timer_is_the_first_ones(waiter: Waiter) -> None:
    await waiter.wait(20 * SOON, SOON)
    await waiter.wait(100 * SOON, 25 * SOON)
    assert waiter.rung == 0


async def test_after_ringing_the_next_wait_can_ring_again(waiter: Waiter) -> None:
    for _ in range(2):
        await waiter.wait(SOON, 3 * SOON)
    assert waiter.rung == 2


async def test_a_stopped_alarm_is_silent(waiter: Waiter) -> None:
    waiter.alarm.set(asyncio.get_running_loop().time() + SOON)
    waiter.alarm.stop()
    await asyncio.sleep(3 * SOON)
    assert waiter.rung == 0
