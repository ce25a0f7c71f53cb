"""Redis: one client per process, whose every wait is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import redis.asyncio
import structlog
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.secret_files import RotatingSecret
from shared.settings import SettingsError
from shared.stores.redis_connections import KeptConnection, packed

if TYPE_CHECKING:
    from shared.settings import Settings

log = structlog.get_logger(__name__)
REFUSED_PAUSE_S = 0.1
UNREACHABLE = (OSError, TimeoutError, RedisError)
"""Errors that redis-py raises if the server is away, loading, read-only, full or too slow."""

Client = TypeVar("Client", bound=redis.asyncio.Redis)
Kept = TypeVar("Kept", bound=KeptConnection)


def connect(settings: Settings, kind: type[Client]) -> Client:
    """A client whose every wait is bounded; it connects when it is first used, and again after a loss."""
    client: Client = kind.from_url(
        settings.redis_url,
        socket_timeout=settings.redis_timeout_s,
        socket_connect_timeout=settings.redis_timeout_s,
        **({} if settings.redis_url.startswith("unix:") else {"socket_keepalive": True}),
        retry=Retry(NoBackoff(), 0),  # callers decide whether and when to retry
    )
    pool = client.connection_pool
    url = RotatingSecret("REDIS_URL_FILE", settings.redis_url, settings.redis_url_file)
    pool.connection_class = type("Connection", (_Connection, pool.connection_class), {"url": url})
    return client


class _Connection(AbstractConnection):
    """redis-py's connection, with cheaper versions of what it does for every command, and one kind of error for a lost
    connection.
    """

    url: RotatingSecret
    """The URL whose user and password are used; the address stays the one from the start."""

    async def connect(self) -> None:
        """Connect with the present password. A refused password is retried until the connect timeout, because a password
        changes in two steps: at the server and in the file.
        """
        if self.url.path is None or self.is_connected:
            return await super().connect()  # type: ignore[no-untyped-call, no-any-return]
        until = time.monotonic() + (self.socket_connect_timeout or 0)
        while True:
            for one in self.url.candidates():
                options = parse_url(one)
                self.username, self.password = options.get("username"), options.get("password")
                try:
                    await super().connect()  # type: ignore[no-untyped-call]
                except redis.exceptions.ConnectionError as error:
                    if not _is_refusal(error) or time.monotonic() > until:
                        raise
                else:
                    self.url.worked(one)
                    return None
            await asyncio.sleep(REFUSED_PAUSE_S)

    def pack_command(self, *args: Any) -> list[bytes]:  # noqa: ANN401 - redis-py's signature
        """Encode with hiredis, as redis-py's own blocking client does."""
        name, *rest = args
        words = name.split() if isinstance(name, bytes) else name.encode().split()
        return [packed(*words, *rest)]

    async def can_read_destructive(self) -> bool:
        """True if an idle connection has something to read, such as its end; then it is unusable. redis-py finds that out
        with a read that it cancels.
        """
        reader = self._reader
        if reader is None or reader.at_eof() or reader.exception():
            return True
        return not self._socket_is_empty()  # type: ignore[no-untyped-call]

    async def send_packed_command(
        self,
        command: bytes | str | Iterable[bytes],
        check_health: bool = True,  # noqa: FBT001, FBT002 - redis-py's signature
    ) -> None:
        """Write without `asyncio.wait_for`, which redis-py uses: it creates a task for every command and, before Python
        3.12, may swallow the cancellation of its caller. With uvloop, writing to a connection that the server has just
        closed raises RuntimeError.
        """
        if not self.is_connected:
            await self.connect()
        elif check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
        command = command.encode() if isinstance(command, str) else command
        try:
            async with asyncio.timeout(self.socket_timeout):
                await self._send_packed_command([command] if isinstance(command, bytes) else command)
        except TimeoutError:
            await self.disconnect(nowait=True)
            raise redis.exceptions.TimeoutError("Redis takes nothing.") from None
        except (OSError, RuntimeError) as error:
            await self.disconnect(nowait=True)
            raise redis.exceptions.ConnectionError("The connection was closed under the writer.") from error
        except BaseException:  # a part of the command may have been written
            await self.disconnect(nowait=True)
            raise

    def hand_over(self, kept: KeptConnection) -> None:
        """Give the connected socket to `kept`; this object is unusable then."""
        reader, writer, self._reader, self._writer = self._reader, self._writer, None, None
        if reader is None or writer is None or reader.at_eof():
            raise redis.exceptions.ConnectionError("The connection was lost.")
        kept.take_over(writer)


def _is_refusal(error: redis.exceptions.ConnectionError) -> bool:
    """True if the password was refused. On a Unix socket redis-py wraps that error in a `ConnectionError`."""
    refusals = redis.exceptions.AuthenticationError
    return isinstance(error, refusals) or isinstance(error.__cause__, refusals)


async def connected(client: redis.asyncio.Redis, kept: Kept) -> Kept:
    """Connect `kept` with a connection of its own, made like the client's. Raises what connecting raises."""
    connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    await connection.connect()
    connection.hand_over(kept)
    return kept


@contextlib.contextmanager
def reached(what: str) -> Iterator[None]:
    """Turn errors of an unreachable server within the block into `Unavailable`, whose message begins with `what`."""
    try:
        yield
    except UNREACHABLE as error:
        raise Unavailable(f"{what} cannot be read now: try again shortly.") from error


async def require_no_eviction(client: redis.asyncio.Redis) -> None:
    """Raise `Unavailable` if Redis is away, and `SettingsError` unless its policy is `noeviction`: a Redis that evicts
    loses paid work. INFO is asked, because managed offerings, whose defaults evict, refuse CONFIG.
    """
    try:
        policy = (await client.info("memory")).get("maxmemory_policy")
    except redis.exceptions.NoPermissionError as error:
        raise SettingsError(
            "REDIS_URL: this user may not ask for INFO, so nobody knows whether this Redis may drop jobs: allow it"
        ) from error
    except UNREACHABLE as error:
        raise Unavailable(f"Redis cannot be reached ({type(error).__name__}): check REDIS_URL") from error
    if policy is None:
        log.warning("eviction policy not told by INFO: noeviction is needed", alert=True)
    elif policy != "noeviction":
        raise SettingsError(
            f"REDIS_URL: this Redis has maxmemory-policy {policy!r} and may drop jobs: set it to noeviction"
        )
