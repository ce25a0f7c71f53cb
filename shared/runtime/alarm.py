"""A timeout for waits that come by the thousand and hardly ever take too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls `ring` when a wait takes too long.

    One timer that is moved on when it goes off, instead of one per wait. Between `set` and `clear` somebody waits; waits
    that follow each other must not end earlier than those before them.
    """

    __slots__ = ("_loop", "_ring", "_timer", "_until")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._until: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, until: float) -> None:
        """A wait begins, which may last until then by the loop's clock."""
        self._until = until
        if self._timer is None:
            self._timer = self._loop.call_at(until, self._go_off)

    def clear(self) -> None:
        """It is over. The timer stays and goes off once more, unheard, unless another wait begins."""
        self._until = None

    def stop(self) -> None:
        """No wait will begin any more."""
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
