"""Cuts off readers that take nothing, or nearly nothing, so that nobody waits for them for ever.

A transport reports when it buffers more than its limit (64 KB), and when its buffer is below the limit again. In
between nobody writes, and the transport and the kernel are asked whether the reader takes something. Readers that keep
up are never checked.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from typing import TYPE_CHECKING, NamedTuple

import structlog

from shared.runtime.alarm import Alarm

if TYPE_CHECKING:
    from shared.settings import Settings

log = structlog.get_logger(__name__)
LOOKS = 4
"""The number of checks of a reader's progress within the allowed time."""
_INT = struct.Struct("i")
_RESET = struct.pack("ii", 1, 0)
"""A linger time of zero, with which closing resets the connection (man 7 socket)."""


class Patience(NamedTuple):
    """A reader must take something within `progress_within_s`, and must not be more than `grace_s` behind
    `bytes_per_s_min`.
    """

    progress_within_s: float
    bytes_per_s_min: int
    grace_s: float

    @classmethod
    def of(cls, settings: Settings) -> Patience:
        """The limits that the settings give."""
        return cls(settings.write_timeout_s, settings.read_bytes_per_s_min, settings.read_grace_s)


class SlowReader:
    """The reader of one connection. Between `wait` and `keep_up` something waits for it."""

    def __init__(self, transport: asyncio.Transport, patience: Patience) -> None:
        self._transport = transport
        self._patience = patience
        self._alarm = Alarm(self._look)
        self._loop = asyncio.get_running_loop()
        self._socket = transport.get_extra_info("socket")
        self._waiting = False
        self._left = 0
        self._looked_at = self._moved_at = 0.0
        self._behind_s = 0.0
        """Seconds of waiting beyond what `bytes_per_s_min` allows. A faster reader reduces them to 0, not below."""

    def wait(self) -> None:
        """Begin to count: from now on something waits for the reader."""
        if not self._waiting:
            self._waiting = True
            self._left = self._to_be_taken()
            self._looked_at = self._moved_at = self._loop.time()
            self._look_later()

    def keep_up(self) -> None:
        """Stop counting: nothing waits for the reader any more."""
        if self._waiting:
            self._waiting = False
            self._count()
            self._alarm.clear()

    def stop(self) -> None:
        """Stop for good: the connection is gone."""
        self._waiting = False
        self._alarm.stop()

    def _look(self) -> None:
        self._count()
        idle_s = self._looked_at - self._moved_at
        if idle_s < self._patience.progress_within_s and self._behind_s <= self._patience.grace_s:
            self._look_later()
        elif not self._transport.is_closing() or self._transport.get_write_buffer_size():
            log.info(
                "slow reader cut off", idle_s=round(idle_s, 1), behind_s=round(self._behind_s, 1), bytes=self._left
            )
            # with a shorter linger the kernel discards its buffer
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()

    def _look_later(self) -> None:
        self._alarm.set(self._loop.time() + self._patience.progress_within_s / LOOKS)

    def _count(self) -> None:
        """Count the bytes that were taken since the last check."""
        now, left = self._loop.time(), self._to_be_taken()
        taken = max(0, self._left - left)
        if taken:
            self._moved_at = now
        waited_s = now - self._looked_at
        self._behind_s = max(0.0, self._behind_s + waited_s - taken / self._patience.bytes_per_s_min)
        self._left, self._looked_at = left, now

    def _to_be_taken(self) -> int:
        return self._transport.get_write_buffer_size() + _in_the_kernel(self._socket.fileno())


def keep_little_unsent(listening: socket.socket, unsent_bytes_max: int) -> None:
    """Make the kernel buffer little for slow readers, instead of megabytes per connection (`TCP_NOTSENT_LOWAT`, man 7
    tcp). This holds for all connections that the socket accepts.
    """
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None and listening.family in {socket.AF_INET, socket.AF_INET6}:
        listening.setsockopt(socket.IPPROTO_TCP, option, unsent_bytes_max)


def _in_the_kernel(descriptor: int) -> int:
    """Bytes that the other side has not acknowledged, sent or not; zero if the kernel does not tell (man 7 tcp)."""
    try:
        answer: bytes = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(_INT.size))
    except OSError:
        return 0
    return int(_INT.unpack(answer)[0])
