"""Changes tables while traffic goes on.

A change that waits for a table's lock makes all traffic wait behind it. So it gives up after a moment that is shorter than
traffic's own lock timeout, lets the others pass, and tries again. Postgres cancels an autovacuum only for a lock that has
been wanted for a second, which is longer than that moment, so the autovacuum is cancelled here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, TypeVar

import asyncpg

from shared.stores.postgres import BUSY, UNREACHABLE, Connection, load_queries

SQL = load_queries("locks")
Changed = TypeVar("Changed")
PAUSE_S_MIN, PAUSE_S_MAX = 0.1, 2.0
LOOKS_PER_WAIT = 4
SOMEBODY = "a long transaction"


class LockTaken(asyncpg.LockNotAvailableError):
    """A lock was not granted in time. The message says who has it, if Postgres tells."""


class Blocker(NamedTuple):
    """A session that holds a lock which somebody waits for. `running_s` is the age of its transaction, None if unknown;
    `vacuumed` is the table of an autovacuum, None for other sessions.
    """

    pid: int
    application: str
    running_s: float | None
    vacuumed: str | None

    def __str__(self) -> str:
        if self.vacuumed is not None:
            return f"an autovacuum of {self.vacuumed}, pid {self.pid},"
        if not self.pid:
            return "a prepared transaction"
        name = f"pid {self.pid} ({self.application or 'without a name'})"
        since = "" if self.running_s is None else f", whose transaction has been running for {self.running_s:.0f} s,"
        return name + since


@asynccontextmanager
async def brief_locks(
    connection: Connection, lock_timeout_s: float, asking: asyncpg.Pool | Connection
) -> AsyncIterator[None]:
    """A transaction in which no statement waits longer than `lock_timeout_s` for a lock; then it raises `LockTaken`.
    `asking` is another connection, or a pool to take one from.
    """
    async with in_the_way(connection, lock_timeout_s / LOOKS_PER_WAIT, asking), connection.transaction():
        await connection.execute("SELECT set_config('lock_timeout', $1, true)", f"{int(lock_timeout_s * 1000)}ms")
        yield


@asynccontextmanager
async def in_the_way(
    connection: Connection,
    every_s: float,
    asking: asyncpg.Pool | Connection,
    on_wait: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[None]:
    """Within the block, look every `every_s` for sessions that block `connection`, call `on_wait` for them, and cancel an
    autovacuum. Raises `LockTaken` if the lock is not granted.
    """
    said = [SOMEBODY]
    looking = asyncio.create_task(_look(connection.get_server_pid(), every_s, asking, said, on_wait))
    try:
        yield
    except BUSY as error:
        raise LockTaken(said[-1]) from error
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _look(
    pid: int, every_s: float, asking: asyncpg.Pool | Connection, said: list[str], on_wait: Callable[[str], None]
) -> None:
    with suppress(*UNREACHABLE, asyncpg.PostgresError):  # the blocker stays unknown
        while True:
            await asyncio.sleep(every_s)
            blockers = [Blocker(**row) for row in await asking.fetch(SQL["in_the_way"], pid)]
            if not blockers:
                continue
            said.append(" and ".join(map(str, blockers)))
            on_wait(said[-1])
            if any(blocker.vacuumed for blocker in blockers):
                with suppress(asyncpg.InsufficientPrivilegeError):
                    await asking.fetch(SQL["cancel_autovacuum"], pid)


async def when_free(
    change: Callable[[], Awaitable[Changed]], *, within_s: float, on_wait: Callable[[str], None] = lambda _: None
) -> Changed:
    """Try `change` until it gets its locks; before each pause `on_wait` is told who has them. After `within_s` the last
    `LockTaken` is raised.
    """
    loop, pause_s = asyncio.get_running_loop(), PAUSE_S_MIN
    gives_up_at = loop.time() + within_s
    while True:
        try:
            return await change()
        except LockTaken as taken:
            if loop.time() + pause_s > gives_up_at:
                raise
            on_wait(str(taken))
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)
