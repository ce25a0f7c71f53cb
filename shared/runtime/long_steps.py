"""Long steps of the event loop: whoever works on something large leaves time to others after each of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LONG_FROM_BYTES = 1_000_000
"""To copy, encode or decode fewer takes about a millisecond at most."""
PAUSE_FROM_S, PAUSE_MAX_S = 0.005, 0.25
"""A shorter step keeps nobody waiting; a longer one is that of a machine that is busy with other things."""


class Pauses:
    """Of work on something large, which others wait for: after each step it leaves them twice the time that the step took.
    Small requests take several turns of the event loop, and with a long step before each they would take as long as it.
    """

    def __init__(self, *, pauses: bool) -> None:
        self._pauses = pauses
        self._since = time.monotonic()

    async def pause(self) -> None:
        """To be awaited between steps."""
        took_s = time.monotonic() - self._since
        if self._pauses:
            await asyncio.sleep(min(2 * took_s, PAUSE_MAX_S) if took_s >= PAUSE_FROM_S else 0)
            self._since = time.monotonic()


class LongSteps:
    """Of one event loop. What several have to do on something large is done one after the other, with a pause after each:
    others come to their turn between any two.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def one(self, size: int) -> AsyncIterator[None]:
        """Around one step on so many bytes. A short step waits for nobody."""
        if size < LONG_FROM_BYTES:
            yield
            return
        async with self._turn:
            pace = Pauses(pauses=True)
            yield
            await pace.pause()
