"""The Lua scripts, called through one pipelined connection.

A call whose reply was lost is sent again: most scripts are idempotent, and none moves money twice. Jobs whose `claim`
got no answer wait until their leases lapse; a repeat of `pace` or `upstreams` counts outcomes twice, and one of `turn`
leaves a turn unused. A script includes parts by lines `-- include parts/<part>.lua`; they are put in front of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hiredis
import redis.asyncio

from shared.errors import Unavailable
from shared.stores.redis_client import UNREACHABLE, connected
from shared.stores.redis_connections import Pipeline, Word

if TYPE_CHECKING:
    from shared.settings import Settings

LUA_FOLDER = Path(__file__).parent / "lua"
PARTS_NAMED = re.compile(rb"^-- include parts/(\w+)\.lua$", re.MULTILINE)
ATTEMPTS = 2


class Scripts:
    """The project's Lua scripts on one Redis, over one connection that is made when it is first needed, and again after a
    loss.
    """

    def __init__(self, client: redis.asyncio.Redis, settings: Settings) -> None:
        self._client = client
        self._timeout_s = settings.redis_timeout_s
        self._pending_max = settings.micro_batch_pending_max
        self._scripts = {path.stem: Script(_source(path)) for path in LUA_FOLDER.glob("*.lua")}
        self._pipeline: Pipeline | None = None
        self._connecting: asyncio.Task[Pipeline] | None = None
        self._waiting = 0
        """The number of calls that wait for the connection."""
        self.connected_at = 0.0
        """The time at which the connection was made, in Unix seconds. A failover of Redis ends the connection, so this
        one is younger than the last failover.
        """
        self._closed = False

    async def call(
        self, name: str, keys: Sequence[str], arguments: Sequence[Word] | Callable[[], Sequence[Word]]
    ) -> Any:  # noqa: ANN401 - what the script returns
        """The script's answer. Raises `Unavailable` if Redis does not answer within its timeout. `arguments` that depend on
        the time are a function, which is called again each time the call is sent.
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
                    pipeline.close()  # the server is no longer the primary; a new connection may lead to the new one
                    raise redis.exceptions.ReadOnlyError(str(reply))
            except UNREACHABLE as error:
                if attempt == ATTEMPTS:
                    raise _unreachable(error) from error
            else:
                return _answer(reply)
        raise AssertionError("the last attempt returns or raises")

    async def _connected(self) -> Pipeline:
        """The connection; all callers wait for the same attempt to make it."""
        if self._closed:
            raise Unavailable("The process is stopping: try again.")
        if self._waiting >= self._pending_max:
            raise _too_many()
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())
            self._connecting.add_done_callback(_heard)  # its error is read even if every caller has gone
        self._waiting += 1
        try:
            return await asyncio.shield(self._connecting)
        finally:
            self._waiting -= 1

    async def _connect(self) -> Pipeline:
        try:
            self._pipeline = await connected(self._client, Pipeline(self._timeout_s))
            self.connected_at = time.time()
        finally:
            self._connecting = None
        if self._closed:
            self._pipeline.close()
        return self._pipeline

    def close(self) -> None:
        """Close the connection and refuse later calls."""
        self._closed = True
        if self._pipeline:
            self._pipeline.close()


def _source(path: Path) -> bytes:
    text = path.read_bytes()
    parts = [LUA_FOLDER / "parts" / f"{name.decode()}.lua" for name in PARTS_NAMED.findall(text)]
    return b"\n".join([*(part.read_bytes() for part in parts), text])


def _heard(done: asyncio.Task[Pipeline]) -> None:
    if not done.cancelled():
        done.exception()


class Script:
    """A script's text, and the hash by which Redis knows it once it has run."""

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
