"""Pipelined connections to Redis that all callers of a process share.

redis-py's own pipeline takes a connection from a pool for each round trip, a dozen objects and several turns of the event
loop. Here a call is a future and a write, and commands that arrive while answers are under way are sent together after
them. redis-py still makes the connection: address, TLS, AUTH and SELECT.
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
"""Above this size a word is sent without hiredis, which copies the command twice; that takes milliseconds."""


def packed(*command: Word) -> bytes:
    """The command in the form that Redis reads."""
    if any(type(word) is bytes and len(word) > LARGE_BYTES for word in command):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
        parts = [part for word in words for part in (b"$%d\r\n" % len(word), word, b"\r\n")]
        return b"".join([b"*%d\r\n" % len(words), *parts])
    data: bytes = hiredis.pack_command(command)  # type: ignore[arg-type] # typed for commands of one word
    return data


class KeptConnection(asyncio.Protocol, ABC):
    """Reads replies on an established connection. Once it is `closed`, for whatever reason, it stays closed."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.StreamWriter | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._replies = hiredis.Reader(notEnoughData=NOTHING_YET)
        self.closed = False

    def take_over(self, writer: asyncio.StreamWriter) -> None:
        """Read and write on this connection from now on. Nothing may be under way on it."""
        self._writer = writer  # kept, because it closes the transport when it is garbage collected
        self._transport = writer.transport
        self._transport.set_protocol(self)

    def close(self) -> None:
        """Close the connection for good."""
        self._end(redis.exceptions.ConnectionError("The connection was closed."))
        if self._transport:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Pass the replies on; they come in the order of the commands."""
        self._replies.feed(data)
        try:
            while (reply := self._replies.gets()) is not NOTHING_YET:
                self._replied(reply)
        except (hiredis.ProtocolError, IndexError):
            self._abort(redis.exceptions.ConnectionError("Redis said what nobody understands."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail everything that still waits for a reply."""
        error = redis.exceptions.ConnectionError("The connection was lost.")
        error.__cause__ = exc
        self._end(error)

    @abstractmethod
    def _replied(self, reply: Any) -> None:  # noqa: ANN401 - whatever Redis says
        """Handle one reply."""

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
        except RuntimeError:  # uvloop raises it for a connection that has just closed; asyncio reports that later
            self._end(redis.exceptions.ConnectionError("The connection was closed under the writer."))


class Pipeline(KeptConnection):
    """Sends the commands of many callers. Replies that are errors are returned, not raised. If the connection ends
    (`timeout_s` without a reply ends it too), everybody who waits gets redis-py's `ConnectionError` or `TimeoutError`; it
    is then unknown what Redis has done.
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
        """The reply to a command. Cancelling the caller does not stop the command."""
        if self.closed:
            raise redis.exceptions.ConnectionError("The connection is closed.")
        reply = self._loop.create_future()
        self._waiting.append((packed(*command), reply))
        if self.pending == 1:
            self._loop.call_soon(self._send)  # together with all commands of this turn of the loop
        return await reply

    def data_received(self, data: bytes) -> None:
        """Resolve the replies, then send the commands that have arrived meanwhile."""
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
    """One channel. `hear` is called with each message, and `subscribed` once the subscription has begun, in the turn of the
    event loop that reads it.
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
        """Listen until the connection is lost. Raises redis-py's `ConnectionError`, or `TimeoutError` if Redis says nothing
        for `silent_s` although it is pinged every `ping_s`.
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
