"""Connections to Redis that are kept, for all callers of a process.

redis-py's own pipeline takes a connection from a pool for each round trip, a dozen objects and several turns of the event
loop; here a call is a future and a write, and what is asked while answers are under way goes together after them. redis-py
still makes the connection: address, TLS, AUTH and SELECT are its.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
import redis.exceptions

from shared.runtime.alarm import Alarm

NOTHING_YET = object()
Word = str | bytes | int | float


LARGE_BYTES = 65_536
"""hiredis makes two copies of a command, which takes milliseconds with a word that is larger."""


def packed(*command: Word) -> bytes:
    """As Redis reads it."""
    if any(type(word) is bytes and len(word) > LARGE_BYTES for word in command):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
        parts = [part for word in words for part in (b"$%d\r\n" % len(word), word, b"\r\n")]
        return b"".join([b"*%d\r\n" % len(words), *parts])
    data: bytes = hiredis.pack_command(command)  # type: ignore[arg-type] # typed for commands of one word
    return data


class KeptConnection(asyncio.Protocol, ABC):
    """Reads replies on a connection that stands. Once it is `closed`, for whatever reason, it stays so."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.StreamWriter | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._replies = hiredis.Reader(notEnoughData=NOTHING_YET)
        self.closed = False

    def take_over(self, writer: asyncio.StreamWriter) -> None:
        """Read and write there from now on. Nothing may be under way on it."""
        self._writer = writer  # which closes the transport when it is forgotten
        self._transport = writer.transport
        self._transport.set_protocol(self)

    def close(self) -> None:
        """Nobody needs it any more."""
        self._end(redis.exceptions.ConnectionError("The connection was closed."))
        if self._transport:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Replies come in the order of what was sent."""
        self._replies.feed(data)
        try:
            while (reply := self._replies.gets()) is not NOTHING_YET:
                self._replied(reply)
        except (hiredis.ProtocolError, IndexError):
            self._abort(redis.exceptions.ConnectionError("Redis said what nobody understands."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody who waits will hear of it any more."""
        error = redis.exceptions.ConnectionError("The connection was lost.")
        error.__cause__ = exc
        self._end(error)

    @abstractmethod
    def _replied(self, reply: Any) -> None:  # noqa: ANN401 - whatever Redis says
        """One came."""

    def _end(self, _: Exception) -> None:
        self.closed = True

    def _abort(self, error: Exception) -> None:
        self._end(error)
        if self._transport:
            self._transport.abort()

    def _write(self, commands: bytes) -> None:
        try:
            if self._transport:
                self._transport.write(commands)
        except RuntimeError:  # uvloop's word for a connection that has just closed; asyncio says it later
            self._end(redis.exceptions.ConnectionError("The connection was closed under the writer."))


class Pipeline(KeptConnection):
    """Commands of many callers. Replies that are errors are given, not raised. Whatever ends the connection (`timeout_s`
    without a reply is one such end) is redis-py's `ConnectionError` or `TimeoutError` for everybody who waits: nobody
    knows then what Redis has done.
    """

    def __init__(self, timeout_s: float) -> None:
        super().__init__()
        self._timeout_s = timeout_s
        self._waiting: list[tuple[bytes, asyncio.Future[Any]]] = []
        self._sent: deque[asyncio.Future[Any]] = deque()
        self._alarm = Alarm(self._time_out)

    @property
    def pending(self) -> int:
        """Commands without a reply."""
        return len(self._waiting) + len(self._sent)

    async def ask(self, *command: Word) -> Any:  # noqa: ANN401 - whatever Redis replies
        """The reply to a command. A caller who is cancelled meanwhile does not stop it."""
        if self.closed:
            raise redis.exceptions.ConnectionError("The connection is closed.")
        reply = self._loop.create_future()
        self._waiting.append((packed(*command), reply))
        if self.pending == 1:
            self._loop.call_soon(self._send)  # with what else is asked in this turn
        return await reply

    def data_received(self, data: bytes) -> None:
        """As promised, and then what was asked meanwhile is sent."""
        super().data_received(data)
        if self._sent:
            self._alarm.set(self._loop.time() + self._timeout_s)
        elif not self.closed:
            self._alarm.clear()
            self._send()

    def _replied(self, reply: Any) -> None:  # noqa: ANN401
        caller = self._sent.popleft()
        if not caller.done():
            caller.set_result(reply)

    def _send(self) -> None:
        if self.closed or not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        self._sent.extend([reply for _, reply in waiting])
        self._alarm.set(self._loop.time() + self._timeout_s)
        self._write(b"".join([command for command, _ in waiting]))

    def _time_out(self) -> None:
        self._abort(redis.exceptions.TimeoutError("Redis does not reply."))

    def _end(self, error: Exception) -> None:
        super()._end(error)
        self._alarm.stop()
        callers = [*self._sent, *(reply for _, reply in self._waiting)]
        self._sent.clear()
        self._waiting = []
        for caller in callers:
            if not caller.done():
                caller.set_exception(error)


class Subscription(KeptConnection):
    """One channel: `hear` is called with each message, and `subscribed` when that has begun, in the turn of the event loop
    that reads it.
    """

    def __init__(self, channel: str, *, subscribed: Callable[[], None], hear: Callable[[bytes], None]) -> None:
        super().__init__()
        self._channel = channel
        self._subscribed = subscribed
        self._hear = hear
        self._heard_at = self._loop.time()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._lost.add_done_callback(lambda lost: lost.exception())

    async def listen(self, *, ping_s: float, silent_s: float) -> None:
        """Until the connection is lost: raises redis-py's `ConnectionError`, or `TimeoutError` when Redis says nothing for
        `silent_s`, though it is asked every `ping_s`.
        """
        self._write(packed("SUBSCRIBE", self._channel))
        while not self._lost.done():
            await asyncio.wait({self._lost}, timeout=ping_s)
            silent_for_s = self._loop.time() - self._heard_at
            if silent_for_s > silent_s:
                self._abort(redis.exceptions.TimeoutError("Redis does not reply."))
            elif silent_for_s > ping_s / 2 and not self.closed:
                self._write(packed("PING"))
        self._lost.result()

    def _replied(self, reply: Any) -> None:  # noqa: ANN401
        self._heard_at = self._loop.time()
        match reply:
            case [b"message", _, bytes(data)]:
                self._hear(data)
            case [b"subscribe", *_]:
                self._subscribed()
            case hiredis.ReplyError():
                self._abort(redis.exceptions.ConnectionError("Redis refuses the subscription."))

    def _end(self, error: Exception) -> None:
        super()._end(error)
        if not self._lost.done():
            self._lost.set_exception(error)
