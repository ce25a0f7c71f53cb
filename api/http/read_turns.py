"""Turns for reading large bodies."""

from __future__ import annotations

import asyncio


class ReadTurns:
    """Turns of one process: in each turn of the event loop a piece of only one large body is read, so the delay of
    other tasks does not grow with the number of bodies.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def next(self) -> None:
        """Wait for a turn in which no other piece is read; waiting bodies come in the order of their requests."""
        async with self._lock:
            await asyncio.sleep(0)
