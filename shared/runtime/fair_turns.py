"""Places for short work that all owners share: whoever asks for much waits behind himself, and not everybody behind him."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.errors import Overloaded


class FairTurns:
    """At most `places` pieces of work at a time. When all are taken, a place that is left goes to the next owner in turn,
    however many pieces of work each owner has waiting; those of one owner come in the order in which they asked.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By owner. The first owner has the next turn."""

    @asynccontextmanager
    async def turn(self, owner: str, *, within_s: float) -> AsyncIterator[None]:
        """Around the work. Raises `Overloaded` when there is no place for it within `within_s`."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(owner, within_s)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, owner: str, within_s: float) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(waiter)
        try:
            async with asyncio.timeout(within_s):
                await waiter
        except BaseException as error:
            if not waiter.cancelled():  # it was given a place while it was leaving
                self._pass_on()
            if isinstance(error, TimeoutError):
                raise Overloaded("So many requests are being taken in that none is begun now: send it again.") from None
            raise

    def _pass_on(self) -> None:
        """The place that is left goes to the next who still waits, and his owner to the end of the line."""
        while self._waiting:
            owner, waiters = next(iter(self._waiting.items()))
            del self._waiting[owner]
            waiter = waiters.popleft()
            if waiters:
                self._waiting[owner] = waiters
            if not waiter.cancelled():
                waiter.set_result(None)
                return
        self._free += 1
