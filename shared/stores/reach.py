"""Checks whether Postgres and Redis answer, for the readiness of the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import redis.asyncio

from shared.stores import postgres, redis_client

if TYPE_CHECKING:
    from shared.settings import Settings

UNREACHABLE = (*postgres.UNREACHABLE, *postgres.BUSY, *redis_client.UNREACHABLE)
LOOKS_PER_GRACE = 6


class Reached(NamedTuple):
    """The result of the last check: which stores have just answered."""

    postgres: bool
    redis: bool


class Reach:
    """Checks both stores, within `READY_WITHIN_S`. A store's failover must not take all processes out of service at
    once, so `lately` stays true until a store has been away for `READY_GRACE_S`. The owner runs `run` as a task, which
    checks again and again.
    """

    def __init__(self, pool: asyncpg.Pool, client: redis.asyncio.Redis, settings: Settings) -> None:
        self._pool = pool
        self._client = client
        self._within_s = settings.ready_within_s
        self._grace_s = settings.ready_grace_s
        self._answered_at = [time.monotonic()] * 2  # the process has started, so both were reachable

    async def run(self) -> None:
        """Look until cancelled, so that the time of the last answer is known."""
        while True:
            await self.look()
            await asyncio.sleep(self._grace_s / LOOKS_PER_GRACE)

    async def look(self) -> Reached:
        """Ask both stores at once."""
        reached = Reached(*await asyncio.gather(self._answers(self._ask_postgres), self._answers(self._ask_redis)))
        for store, answered in enumerate(reached):
            if answered:
                self._answered_at[store] = time.monotonic()
        return reached

    @property
    def lately(self) -> bool:
        """True if both stores have answered within the grace period."""
        return time.monotonic() - min(self._answered_at) < self._grace_s

    async def _answers(self, question: Callable[[], Awaitable[object]]) -> bool:
        try:
            async with asyncio.timeout(self._within_s):
                await question()
        except UNREACHABLE:
            return False
        return True

    async def _ask_postgres(self) -> None:
        await self._pool.fetchval("SELECT 1")

    async def _ask_redis(self) -> None:
        await self._client.ping()
