"""Redis: one client per process, and the Lua scripts called through one pipelined connection.

Calls that are made while a round trip is under way travel together in the next one, so a worker with a hundred streams
uses one connection and few system calls. Every script is idempotent, therefore a call whose reply was lost is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import hiredis
import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from shared.errors import Unavailable
from shared.microbatch import MicroBatch
from shared.settings import SettingsError

if TYPE_CHECKING:
    from shared.settings import Settings

LUA_FOLDER = Path(__file__).parent / "lua"
UNREACHABLE = (OSError, TimeoutError, RedisError)
"""What redis-py raises when the server is away, loading, read-only, full or too slow."""
CALLS_PER_ROUND_TRIP = 256
ATTEMPTS = 2


class ScriptCall:
    """One call: `name` of a file in `lua/`, its keys and arguments."""

    __slots__ = ("arguments", "keys", "name")

    def __init__(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> None:
        self.name = name
        self.keys = keys
        self.arguments = arguments


Argument = str | bytes | int | float
Client = TypeVar("Client", bound=redis.asyncio.Redis)


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
        return [hiredis.pack_command((*words, *rest))]

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


class Scripts:
    """The Lua scripts of this project on one Redis. `run` is its writer, a task of the owner."""

    def __init__(self, client: redis.asyncio.Redis, settings: Settings) -> None:
        self._client = client
        self._sources = {path.stem: path.read_text() for path in LUA_FOLDER.glob("*.lua")}
        self._sha: dict[str, str] = {}
        self._calls: MicroBatch[ScriptCall, Any] = MicroBatch(
            self._round_trip,
            window_s=0,
            rows_max=CALLS_PER_ROUND_TRIP,
            pending_max=settings.micro_batch_pending_max,
            name="scripts",
        )

    async def call(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:  # noqa: ANN401 - what the script returns
        """The script's answer; raises `Unavailable` when Redis did not give one within its time limit."""
        return await self._calls.submit(ScriptCall(name, keys, arguments))

    async def run(self) -> None:
        """The writer: runs until cancelled."""
        await self._calls.run()

    async def _round_trip(self, calls: Sequence[ScriptCall]) -> list[Any]:
        answers: list[Any] = [None] * len(calls)
        left = list(range(len(calls)))
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._load_missing({calls[i].name for i in left})
                replies = await self._send([calls[i] for i in left])
            except UNREACHABLE as error:
                self._sha.clear()  # a server that was away may come back without them
                if attempt == ATTEMPTS:
                    raise Unavailable(
                        f"The queue cannot be reached now ({type(error).__name__}): try again shortly."
                    ) from error
                continue
            for i, reply in zip(left, replies, strict=True):
                answers[i] = _as_error(reply)
            left = [i for i, reply in zip(left, replies, strict=True) if isinstance(reply, NoScriptError)]
            if not left:
                break
            self._sha.clear()  # Redis restarted and forgot them
        return answers

    async def _send(self, calls: Sequence[ScriptCall]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipe:
            for call in calls:
                pipe.evalsha(self._sha[call.name], len(call.keys), *call.keys, *call.arguments)  # type: ignore[arg-type]
            return await pipe.execute(raise_on_error=False)

    async def _load_missing(self, names: set[str]) -> None:
        for name in names - self._sha.keys():
            self._sha[name] = await self._client.script_load(self._sources[name])


def _as_error(reply: Any) -> Any:  # noqa: ANN401 - a reply is passed on as it is
    if isinstance(reply, RedisError):
        return Unavailable(f"The queue refused a command ({type(reply).__name__}): try again shortly.")
    return reply


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
