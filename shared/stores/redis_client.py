"""Redis: one client per process, and the Lua scripts called through one pipelined connection.

Every script is idempotent, therefore a call whose reply was lost is sent again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import hiredis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.errors import Unavailable
from shared.settings import SettingsError
from shared.stores.redis_connections import KeptConnection, Pipeline, Word, packed

if TYPE_CHECKING:
    from shared.settings import Settings

LUA_FOLDER = Path(__file__).parent / "lua"
UNREACHABLE = (OSError, TimeoutError, RedisError)
"""What redis-py raises when the server is away, loading, read-only, full or too slow."""
ATTEMPTS = 2

Client = TypeVar("Client", bound=redis.asyncio.Redis)
Kept = TypeVar("Kept", bound=KeptConnection)


def connect(settings: Settings, kind: type[Client]) -> Client:
    """A client whose every wait is bounded; it connects when first used and again after a loss."""
    client: Client = kind.from_url(
        settings.redis_url,
        socket_timeout=settings.redis_timeout_s,
        socket_connect_timeout=settings.redis_timeout_s,
        **({} if settings.redis_url.startswith("unix:") else {"socket_keepalive": True}),
        retry=Retry(NoBackoff(), 0),  # who asks knows better whether and when to ask again
    )
    pool = client.connection_pool
    pool.connection_class = type("Connection", (_Connection, pool.connection_class), {})
    return client


class _Connection(AbstractConnection):
    """redis-py's, with cheaper ways to do what it does for every command, and one kind of error for a lost connection."""

    def pack_command(self, *args: Any) -> list[bytes]:  # noqa: ANN401 - redis-py's signature
        """By hiredis, as redis-py's own blocking client does it."""
        name, *rest = args
        words = name.split() if isinstance(name, bytes) else name.encode().split()
        return [packed(*words, *rest)]

    async def can_read_destructive(self) -> bool:
        """Whether an idle connection has something to read, such as its end: then it is of no use. redis-py finds out by a
        read that it cancels.
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
        """redis-py writes within `asyncio.wait_for`: a task for every command, which before Python 3.12 may swallow the
        cancellation of its caller. Over uvloop, writing to what the server has just closed is a RuntimeError.
        """
        if not self.is_connected:
            await self.connect()  # type: ignore[no-untyped-call]
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
        except BaseException:  # half a command may have been written
            await self.disconnect(nowait=True)
            raise

    def hand_over(self, kept: KeptConnection) -> None:
        """Let it have what was connected; this object is of no use then."""
        reader, writer, self._reader, self._writer = self._reader, self._writer, None, None
        if reader is None or writer is None or reader.at_eof():
            raise redis.exceptions.ConnectionError("The connection was lost.")
        kept.take_over(writer)


async def connected(client: redis.asyncio.Redis, kept: Kept) -> Kept:
    """The same, on a connection of its own as the client makes them. Raises what it raises."""
    connection = client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    await connection.connect()
    connection.hand_over(kept)
    return kept


class Scripts:
    """The Lua scripts of this project on one Redis, over one connection: made when first needed, and again after a loss."""

    def __init__(self, client: redis.asyncio.Redis, settings: Settings) -> None:
        self._client = client
        self._timeout_s = settings.redis_timeout_s
        self._pending_max = settings.micro_batch_pending_max
        self._scripts = {path.stem: Script(path.read_bytes()) for path in LUA_FOLDER.glob("*.lua")}
        self._pipeline: Pipeline | None = None
        self._connecting: asyncio.Task[Pipeline] | None = None
        self._waiting = 0
        """For the connection."""
        self._closed = False

    async def call(
        self, name: str, keys: Sequence[str], arguments: Sequence[Word] | Callable[[], Sequence[Word]]
    ) -> Any:  # noqa: ANN401 - what the script returns
        """The script's answer; raises `Unavailable` when Redis does not give one: it has its time limit for every answer, to
        this call or to those before it. Arguments that depend on the time are made anew each time the call is sent.
        """
        script = self._scripts[name]
        for attempt in range(1, ATTEMPTS + 1):
            try:
                pipeline = self._pipeline
                if pipeline is None or pipeline.closed:
                    pipeline = await self._connected()
                if pipeline.pending >= self._pending_max:
                    raise _too_many()
                words = (len(keys), *keys, *(arguments() if callable(arguments) else arguments))
                reply = await pipeline.ask("EVALSHA", script.sha, *words)
                if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
                    reply = await pipeline.ask("EVAL", script.source, *words)
                if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("READONLY"):
                    pipeline.close()  # a primary of yesterday: its address may lead to another server now
                    raise redis.exceptions.ReadOnlyError(str(reply))
            except UNREACHABLE as error:
                if attempt == ATTEMPTS:
                    raise _unreachable(error) from error
            else:
                return _answer(reply)
        raise AssertionError("the last attempt returns or raises")

    async def _connected(self) -> Pipeline:
        """All who ask meanwhile wait for the same."""
        if self._closed:
            raise Unavailable("The process is stopping: try again.")
        if self._waiting >= self._pending_max:
            raise _too_many()
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())
            self._connecting.add_done_callback(_heard)  # also if all who asked went away
        self._waiting += 1
        try:
            return await asyncio.shield(self._connecting)
        finally:
            self._waiting -= 1

    async def _connect(self) -> Pipeline:
        try:
            self._pipeline = await connected(self._client, Pipeline(self._timeout_s))
        finally:
            self._connecting = None
        if self._closed:
            self._pipeline.close()
        return self._pipeline

    def close(self) -> None:
        """Give up the connection; calls are refused from now on."""
        self._closed = True
        if self._pipeline:
            self._pipeline.close()


def _heard(done: asyncio.Task[Pipeline]) -> None:
    if not done.cancelled():
        done.exception()


class Script:
    """Its text, and the name by which Redis knows it once it has run."""

    __slots__ = ("sha", "source")

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.sha = hashlib.sha1(source, usedforsecurity=False).hexdigest()


def _answer(reply: Any) -> Any:  # noqa: ANN401 - a reply is passed on as it is
    if isinstance(reply, hiredis.ReplyError):
        kind = str(reply).partition(" ")[0]
        raise Unavailable(f"The queue refused a command ({kind}): try again shortly.")
    return reply


def _too_many() -> Unavailable:
    return Unavailable("Too many requests are waiting for the queue: try again shortly.")


def _unreachable(error: Exception) -> Unavailable:
    return Unavailable(f"The queue cannot be reached now ({type(error).__name__}): try again shortly.")


async def require_no_eviction(client: redis.asyncio.Redis) -> None:
    """Raises `Unavailable` when Redis is away, and `SettingsError` unless `maxmemory-policy` is `noeviction`: a Redis
    that evicts loses paid work.
    """
    try:
        policy = (await client.config_get("maxmemory-policy")).get("maxmemory-policy")
    except redis.exceptions.ResponseError:
        return  # a managed Redis may forbid CONFIG: its operator answers for the policy
    except UNREACHABLE as error:
        raise Unavailable(f"Redis cannot be reached ({type(error).__name__}): check REDIS_URL") from error
    if policy != "noeviction":
        raise SettingsError(
            f"REDIS_URL: this Redis has maxmemory-policy {policy!r} and may drop jobs: set it to noeviction"
        )
