"""Long steps of the event loop: code that works on something large leaves time to other tasks after each step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LONG_FROM_BYTES = 1_000_000
"""Bytes from which a step counts as long: copying, encoding or decoding fewer takes about a millisecond at most."""
PAUSE_FROM_S, PAUSE_MAX_S = 0.005, 0.25
"""A step shorter than `PAUSE_FROM_S` delays nobody. One longer than `PAUSE_MAX_S` was delayed by a busy machine, so the
pause is capped.
"""


class Pauses:
    """Pauses between long steps that delay other tasks: each pause is twice as long as the step before it. A small request
    takes several turns of the event loop, and without pauses each of them would wait for one long step.
    """

    def __init__(self, *, pauses: bool) -> None:
        self._pauses = pauses
        self._since = time.monotonic()

    async def pause(self) -> None:
        """Await this between two steps."""
        took_s = time.monotonic() - self._since
        if self._pauses:
            await asyncio.sleep(min(2 * took_s, PAUSE_MAX_S) if took_s >= PAUSE_FROM_S else 0)
            self._since = time.monotonic()


class LongSteps:
    """Runs the long steps of one event loop one after the other, with a pause after each, so that other tasks get their
    turn between any two.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def one(self, size: int) -> AsyncIterator[None]:
        """Surround one step on `size` bytes. A short step does not wait."""
        if size < LONG_FROM_BYTES:
            yield
            return
        async with self._turn:
            pace = Pauses(pauses=True)
            yield
            await pace.pause()
