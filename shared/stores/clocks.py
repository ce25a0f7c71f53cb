"""Compares this machine's clock with those of Redis and Postgres.

Front doors stamp deadlines, workers compare them, Redis counts leases and Postgres sweeps holds, each by its own clock. A
worker that was twelve minutes ahead failed every job that it took. Therefore no process starts with a clock that is off by
more than `CLOCK_OFF_MAX_S`. A running process uses the time that most of the three clocks agree on (`shared/clock.py`), and
an operator is alerted to a clock that is off, the machine's or a store's.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import redis.asyncio
import structlog

from shared import clock
from shared.errors import Unavailable
from shared.runtime.metrics import CLOCK_AHEAD
from shared.settings import SettingsError
from shared.stores import postgres, redis_client
from shared.stores.postgres import BUSY

if TYPE_CHECKING:
    from shared.settings import Settings

log = structlog.get_logger(__name__)
NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
UNREACHABLE = (*redis_client.UNREACHABLE, *postgres.UNREACHABLE, *BUSY)


class Ahead(NamedTuple):
    """The least number of seconds by which this machine's clock is ahead of a store's; negative if it is behind."""

    redis: float
    postgres: float

    def told(self) -> str:
        """The difference in words."""
        return " and ".join(
            f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} that of {store.capitalize()}"
            for store, ahead_s in self._asdict().items()
        )


class Clocks:
    """Call `require` before a process serves, then run `watch` as a task."""

    def __init__(self, pool: asyncpg.Pool, client: redis.asyncio.Redis, settings: Settings) -> None:
        self._pool = pool
        self._client = client
        self._off_max_s = settings.clock_off_max_s
        self._look_every_s = settings.clock_look_every_s
        self._told = False

    async def require(self) -> None:
        """Raise `SettingsError` if the machine's clock is off, and `Unavailable` if a store does not answer."""
        try:
            ahead = await self._ahead()
        except UNREACHABLE as error:
            raise Unavailable(f"the stores' clocks cannot be read ({type(error).__name__})") from error
        if self._is_off(ahead):
            raise SettingsError(
                f"CLOCK_OFF_MAX_S={self._off_max_s:g}: this machine's clock is {ahead.told()}: set the wrong one right"
            )
        clock.set_right(statistics.median([0.0, *ahead]))

    async def watch(self) -> None:
        """Compare the clocks now and then until cancelled. A store that does not answer is asked again."""
        while True:
            await asyncio.sleep(self._look_every_s)
            try:
                self.heed(await self._ahead())
            except UNREACHABLE as error:
                log.info("clocks not compared", reason=type(error).__name__)

    def heed(self, ahead: Ahead) -> None:
        """Use the time that most clocks agree on, and alert an operator once to each clock that is off."""
        for store, ahead_s in ahead._asdict().items():
            CLOCK_AHEAD.labels(store).set(ahead_s)
        right = statistics.median([0.0, *ahead])
        clock.set_right(right)
        off = self._is_off(ahead)
        if off and not self._told:
            log.error(
                "clocks are apart",
                alert=True,
                ahead_of_redis_s=round(ahead.redis, 3),
                ahead_of_postgres_s=round(ahead.postgres, 3),
                goes_by_s=round(-right, 3),
            )
        elif self._told and not off:
            log.info("clocks are together again")
        self._told = off

    def _is_off(self, ahead: Ahead) -> bool:
        return max(map(abs, ahead)) > self._off_max_s

    async def _ahead(self) -> Ahead:
        return Ahead(await _ahead_of(self._redis_now), await _ahead_of(self._postgres_now))

    async def _redis_now(self) -> float:
        seconds, microseconds = await self._client.time()
        return float(seconds + microseconds / 1e6)

    async def _postgres_now(self) -> float:
        return float(await self._pool.fetchval(NOW))


async def _ahead_of(read: Callable[[], Awaitable[float]]) -> float:
    """The difference to the clock that `read` asks. The store read its clock at an unknown moment between question and
    answer, so only a difference beyond that interval counts.
    """
    before_s, began = time.time(), time.monotonic()
    theirs_s = await read()
    after_s = before_s + time.monotonic() - began
    return max(0.0, before_s - theirs_s) + min(0.0, after_s - theirs_s)
