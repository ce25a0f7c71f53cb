"""Places for short work, shared fairly between owners: an owner with much work delays only itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from shared.errors import Overloaded


class _Waiter(NamedTuple):
    told: asyncio.Future[None]
    places: int


class FairTurns:
    """Places for work: at most `places` pieces of work run at a time, fewer if some take several places. A free place
    goes to the next owner in turn, however many pieces each owner has waiting; the pieces of one owner come in the
    order of their requests.
    """

    def __init__(self, places: int) -> None:
        self._places = self._free = places
        self._waiting: dict[str, deque[_Waiter]] = {}
        """Waiting work by owner; the first owner has the next turn."""

    @asynccontextmanager
    async def turn(self, owner: str, places: int = 1, *, within_s: float) -> AsyncIterator[None]:
        """Hold `places` places (all places, if there are fewer) within the block. Raises `Overloaded` if they are not free
        within `within_s`.
        """
        places = min(places, self._places)
        if places <= self._free and not self._waiting:
            self._free -= places
        else:
            await self._wait(owner, places, within_s)
        try:
            yield
        finally:
            self._pass_on(places)

    async def _wait(self, owner: str, places: int, within_s: float) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(_Waiter(waiter, places))
        try:
            async with asyncio.timeout(within_s):
                await waiter
        except BaseException as error:
            # it may have got its places at the same moment, or others may have waited behind it
            self._pass_on(0 if waiter.cancelled() else places)
            if isinstance(error, TimeoutError):
                raise Overloaded("So many requests are being taken in that none is begun now: send it again.") from None
            raise

    def _pass_on(self, places: int) -> None:
        """Give free places to the next owners, each of which then goes to the end of the line. No other work overtakes
        work that needs more places than are free.
        """
        self._free += places
        while self._waiting:
            owner, waiters = next(iter(self._waiting.items()))
            if not waiters[0].told.cancelled():
                if waiters[0].places > self._free:
                    return
                self._free -= waiters[0].places
                waiters[0].told.set_result(None)
            waiters.popleft()
            del self._waiting[owner]
            if waiters:
                self._waiting[owner] = waiters
