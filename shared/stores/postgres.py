"""Postgres: the connection pool, and named queries from `sql/*.sql`.

A `.sql` file holds queries, each after a line `-- name: something`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from shared.errors import Unavailable
from shared.secret_files import RotatingSecret

if TYPE_CHECKING:
    from shared.settings import Settings

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
SQL_FOLDER = Path(__file__).parent / "sql"
NEWEST = ("~", datetime(9999, 1, 1, tzinfo=UTC))
"""A cursor in front of every request, for a history that begins with the newest one."""
UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InternalClientError,
    asyncpg.ReadOnlySQLTransactionError,  # the server is a standby that is not promoted yet
    asyncpg.InvalidAuthorizationSpecificationError,  # the password is being changed
)
"""Errors that asyncpg raises if the server is away, restarting, full or too slow; the statement may or may not have run."""
REFUSED_PAUSE_S = 0.1
RENEWED_WITHIN_S = 5.0
BUSY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
"""Errors that asyncpg raises if another session keeps a lock; nothing was done."""


def load_queries(name: str) -> dict[str, str]:
    """The queries of `sql/<name>.sql`, by name."""
    queries: dict[str, str] = {}
    for block in (SQL_FOLDER / f"{name}.sql").read_text(encoding="utf-8").split("-- name: ")[1:]:
        title, _, body = block.partition("\n")
        queries[title.strip()] = body.strip()
    return queries


async def connect(settings: Settings, *, application: str) -> asyncpg.Pool:
    """A pool that reconnects by itself. Raises `Unavailable` if the server cannot be reached at all."""
    try:
        return await asyncpg.create_pool(
            connect=partial(
                _connect, RotatingSecret("DATABASE_URL_FILE", settings.database_url, settings.database_url_file)
            ),
            min_size=1,
            max_size=settings.database_connections_max,
            timeout=settings.database_timeout_s,
            command_timeout=settings.database_timeout_s,
            connection_class=_Connection,
            reset=_keep_session,
            server_settings={
                "application_name": application,
                "lock_timeout": f"{int(settings.lock_timeout_s * 1000)}ms",
                "timezone": "UTC",
            },
        )
    except (*UNREACHABLE, asyncpg.PostgresError) as error:
        raise Unavailable(f"Postgres cannot be reached ({type(error).__name__}): check DATABASE_URL") from error


async def _connect(
    url: RotatingSecret,
    _: str | None,  # the pool passes its own address, which is unset
    *,
    timeout: float,  # noqa: ASYNC109 - asyncpg's own
    **options: Any,  # noqa: ANN401 - asyncpg's own
) -> asyncpg.Connection:
    """Connect with the present password. A refused password is retried for `timeout` seconds, because a password changes in
    two steps: at the server and in the file.
    """
    until = time.monotonic() + timeout
    while True:
        for one in url.candidates():
            try:
                connection: asyncpg.Connection = await asyncpg.connect(one, timeout=timeout, **options)
            except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.ClientConfigurationError) as error:
                refusal: Exception = error
            else:
                url.worked(one)
                return connection
        if url.path is None or time.monotonic() > until:
            raise refusal
        await asyncio.sleep(REFUSED_PAUSE_S)


class _Connection(asyncpg.Connection):
    """A connection whose errors during close are ignored: the pool closes expired connections in a task that nobody awaits,
    and a dead one does not answer.
    """

    __slots__ = ()

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's own
        with contextlib.suppress(*UNREACHABLE):  # the connection is aborted then
            await super().close(timeout=timeout)


async def renew_idle(pool: asyncpg.Pool) -> None:
    """Replace the idle connections of the pool that have expired. The pool itself would replace them only when it needs
    them.
    """
    async with contextlib.AsyncExitStack() as stack:
        with contextlib.suppress(*UNREACHABLE):
            for _ in range(pool.get_idle_size()):
                await stack.enter_async_context(pool.acquire(timeout=RENEWED_WITHIN_S))


class KeptSession:
    """One connection of a pool that one task keeps between its queries: taking and returning one for each query costs a
    task and several turns of the event loop. A broken connection is replaced.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._connection: asyncpg.pool.PoolConnectionProxy | None = None
        self._distrusted = False

    def distrust(self) -> None:
        """Use a new connection for the next query, because others of the same age were found dead."""
        self._distrusted = True

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Run a query, as the pool does. A query that the server does not answer in time ends at the timeout; the pool's
        takes twice as long, because it also waits for the cancellation.
        """
        connection = self._connection
        if connection is None or self._distrusted or _is_closed(connection):
            self._terminate()
            self._distrusted = False
            self._connection = connection = await self._pool.acquire()
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query, *arguments)
        except BaseException as error:
            if not isinstance(error, asyncpg.PostgresError) or isinstance(error, UNREACHABLE):
                self._terminate()  # its state is unknown, or its server is read-only
            raise
        return rows

    async def release(self) -> None:
        """Return the connection to the pool, so that the pool can be closed."""
        if self._connection is None or _is_closed(self._connection):
            self._terminate()
        else:
            connection, self._connection = self._connection, None
            await self._pool.release(connection)

    def _terminate(self) -> None:
        """Close the connection and free its place in the pool, which a broken connection may still occupy."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(asyncpg.InterfaceError):  # the pool has taken it back already
                connection.terminate()


def _is_closed(connection: asyncpg.pool.PoolConnectionProxy) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # it is closed, so the pool has taken it back
        return True


async def _keep_session(_: Connection) -> None:
    """Do not reset the session: no session state is ever set, and each reset would cost a round trip."""


@contextlib.asynccontextmanager
async def transaction(source: asyncpg.Pool | Connection) -> AsyncIterator[Connection]:
    """A transaction on a connection of the pool; on a connection that has one already, a nested one."""
    if isinstance(source, asyncpg.Pool):
        async with source.acquire() as connection, connection.transaction():
            yield connection
    else:
        async with source.transaction():
            yield source


@contextlib.asynccontextmanager
async def reached(what: str) -> AsyncIterator[None]:
    """Turn errors of an unreachable server within the block into `Unavailable`, whose message begins with `what`."""
    try:
        yield
    except (*UNREACHABLE, *BUSY) as error:
        raise Unavailable(f"{what} cannot be reached now: try again shortly.") from error
