"""Opens the stores of a process and checks that they fit this release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from shared.stores import migrations, postgres, redis_client
from shared.stores.clocks import Clocks
from shared.stores.connection_budget import process_name, tell_budget
from shared.stores.redis_client import Client

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    import asyncpg

    from shared.settings import Settings


class Stores(Generic[Client]):
    """Connections to Postgres and Redis, with the watch over their clocks."""

    def __init__(self, pool: asyncpg.Pool, redis: Client, clocks: Clocks) -> None:
        self.pool = pool
        self.redis = redis
        self.clocks = clocks


async def open_stores(settings: Settings, stack: AsyncExitStack, role: str, kind: type[Client]) -> Stores[Client]:
    """Open the stores for a process with this role (`web` or `worker`) and with a Redis client of this kind; the stack
    closes them. Raises `MigrationError` if Postgres's schema is not the one of this release, `SettingsError` if Redis
    evicts keys, and `Unavailable` if a store does not answer or its clock is far off.
    """
    pool = await postgres.connect(settings, application=process_name(role))
    stack.push_async_callback(pool.close)
    await migrations.require_migrated(pool)
    await tell_budget(pool, settings)
    redis = redis_client.connect(settings, kind)
    stack.push_async_callback(redis.aclose)
    await redis_client.require_no_eviction(redis)
    clocks = Clocks(pool, redis, settings)
    await clocks.require()
    return Stores(pool, redis, clocks)
