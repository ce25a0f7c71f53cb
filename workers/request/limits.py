"""Limits for every wait for a vendor: between two pieces, and for the whole answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Self, TypeVar

from shared.errors import ProviderTimeout
from shared.runtime.alarm import Alarm
from workers.providers.wire.vendor_errors import OutOfTime

T = TypeVar("T")


async def bounded(
    pieces: AsyncGenerator[T, None], *, idle_s: float | None, total_s: float, first_s: float | None = None
) -> AsyncGenerator[T, None]:
    """Pass the pieces on. Raises `ProviderTimeout` after `idle_s` without a piece (`first_s` before the first one, if that is
    less), and `OutOfTime` after `total_s` in all. Keep-alive comments are no pieces, so they cannot extend a limit. However
    this ends, the vendor's connection is closed.
    """
    async with aclosing(pieces):
        with _Patience(idle_s, total_s, first_s) as patience:
            while True:
                patience.begin()
                try:
                    piece = await anext(pieces)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise patience.error() from None
                except asyncio.CancelledError:
                    if patience.ran_out():
                        raise patience.error() from None
                    raise
                patience.end()
                yield piece


class _Patience:
    """The time for which a task may wait for a piece; after it, the task is cancelled."""

    def __init__(self, idle_s: float | None, total_s: float, first_s: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._idle_s = idle_s
        self._wait_s = idle_s if first_s is None else min(first_s, idle_s or first_s)
        self._ends_at = self._loop.time() + total_s
        self._alarm = Alarm(self._ring)
        self._cancelling = self._task.cancelling() if self._task else 0
        self._over = False
        self._in_all = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._alarm.stop()
        self.ran_out()

    def begin(self) -> None:
        """Begin a wait."""
        until = self._ends_at if self._wait_s is None else min(self._loop.time() + self._wait_s, self._ends_at)
        self._alarm.set(until)

    def end(self) -> None:
        """End the wait, because the piece has arrived; its consumer may take any time."""
        self._alarm.clear()
        self._wait_s = self._idle_s

    def ran_out(self) -> bool:
        """True if a wait was cancelled by this limit alone; if so, the cancellation is taken back."""
        if not self._over or self._task is None:
            return False
        self._over = False
        return self._task.uncancel() <= self._cancelling

    def error(self) -> ProviderTimeout:
        """The error for the wait that was too long."""
        in_all = self._in_all or self._wait_s is None
        waited = "within the request's deadline" if in_all else f"for {self._wait_s:g} s"
        kind = OutOfTime if self._in_all else ProviderTimeout
        return kind(f"The vendor did not answer {waited}: try again, or ask for a shorter answer.")

    def _ring(self) -> None:
        self._in_all = self._loop.time() >= self._ends_at
        self._over = True
        if self._task:
            self._task.cancel()
