"""Changes of tables beside traffic.

A change that waits for a table's lock lets everybody else wait behind it. So it gives up after a moment, which is shorter
than what traffic itself waits for a lock, lets the others pass, and tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from shared.stores.postgres import BUSY, Connection

Changed = TypeVar("Changed")
PAUSE_S_MIN, PAUSE_S_MAX = 0.1, 2.0


@contextlib.asynccontextmanager
async def brief_locks(connection: Connection, lock_timeout_s: float) -> AsyncIterator[None]:
    """A transaction in which no statement waits longer than `lock_timeout_s` for a lock. Raises one of `BUSY` then."""
    async with connection.transaction():
        await connection.execute("SELECT set_config('lock_timeout', $1, true)", f"{int(lock_timeout_s * 1000)}ms")
        yield


async def when_free(
    change: Callable[[], Awaitable[Changed]], *, within_s: float, on_wait: Callable[[], None] = lambda: None
) -> Changed:
    """Try `change` until it gets its locks; `on_wait` is called before each pause. After `within_s` raises what `change`
    raised last, one of `BUSY`.
    """
    loop, pause_s = asyncio.get_running_loop(), PAUSE_S_MIN
    gives_up_at = loop.time() + within_s
    while True:
        try:
            return await change()
        except BUSY:
            if loop.time() + pause_s > gives_up_at:
                raise
        on_wait()
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)
