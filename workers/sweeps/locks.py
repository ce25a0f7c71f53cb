"""Work that one worker at a time does, under a Postgres advisory lock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from shared.ledger.ledger import SQL


@asynccontextmanager
async def alone(pool: asyncpg.Pool, lock: int) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy | None]:
    """A connection that holds the lock until the block ends, or None if another worker holds it."""
    async with pool.acquire() as connection, connection.transaction():
        yield connection if await connection.fetchval(SQL["try_sweep_lock"], lock) else None
