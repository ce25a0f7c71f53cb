"""ReadTurns of the event loop among the large bodies that are being read."""

from __future__ import annotations

import asyncio


class ReadTurns:
    """One for each process. A piece of a large body is read in each turn of the event loop, and not one of each body: what
    others have to wait for does not grow with the number of bodies.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def next(self) -> None:
        """Wait for a turn in which no other piece is read; those who wait come in the order in which they asked."""
        async with self._lock:
            await asyncio.sleep(0)
