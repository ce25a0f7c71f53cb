"""A timeout for waits that are frequent and almost never too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls `ring` if a wait takes too long. One timer serves all waits: if it goes off early, it is set again. A wait
    lasts from `set` to `clear`; a later wait must not end before an earlier one would have.
    """

    __slots__ = ("_loop", "_ring", "_timer", "_until")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._until: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, until: float) -> None:
        """Begin a wait that may last until `until` by the loop's clock."""
        self._until = until
        if self._timer is None:
            self._timer = self._loop.call_at(until, self._go_off)

    def clear(self) -> None:
        """End the wait. The timer stays and goes off once without effect, unless another wait begins."""
        self._until = None

    def stop(self) -> None:
        """Stop the timer for good."""
        self.clear()
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _go_off(self) -> None:
        self._timer = None
        if self._until is None:
            return
        if self._loop.time() < self._until:
            self._timer = self._loop.call_at(self._until, self._go_off)
        else:
            self._until = None
            self._ring()
