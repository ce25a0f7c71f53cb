"""Makes long lists in pieces and one after the other, so that all of them together take at most half of this process's
time.

A list of 10,000 rows keeps the event loop busy for a twentieth of a second, sixty of them for several seconds, and
every small request would wait behind each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence, Sized
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar
from weakref import WeakValueDictionary

from shared.errors import Overloaded
from shared.runtime.long_steps import Pauses

T = TypeVar("T")
SHORT_ROWS = 200
"""A list with fewer rows does not wait."""
ROWS_AT_ONCE = 1_000
"""Rows of a longer list that are read and encoded in one step, which takes about 5 ms."""


class Lists:
    """The long lists of one front door."""

    def __init__(self, within_s: float) -> None:
        """`within_s` is the time for which a list waits for its turn, in seconds."""
        self._within_s = within_s
        self._turn = asyncio.Lock()
        self._turn_of: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """A lock for each account: only one list of an account waits with those of other accounts, so that accounts
        take turns.
        """

    @asynccontextmanager
    async def one(self, account_id: str) -> AsyncIterator[LongList]:
        """Surround the creation of a list, from the first row that is read to its encoding."""
        async with AsyncExitStack() as stack:
            yield LongList(self, account_id, stack)

    @asynccontextmanager
    async def turn(self, account_id: str) -> AsyncIterator[Pauses]:
        """Wait for the list's turn, for `LongList`. Raises `Overloaded` if the turn does not come in time."""
        of_account = self._turn_of.setdefault(account_id, asyncio.Lock())
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self._within_s):
                    await held.enter_async_context(of_account)
                    await held.enter_async_context(self._turn)
            except TimeoutError:
                raise Overloaded(
                    "Many long lists are being made now: try again shortly, or ask for a shorter one."
                ) from None
            pace = Pauses(pauses=True)
            try:
                yield pace
            finally:
                await pace.pause()


def batched(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The rows in pieces of `size`."""
    return (rows[begin : begin + size] for begin in range(0, len(rows), size))


class LongList:
    """A list that may turn out to be long."""

    def __init__(self, lists: Lists, account_id: str, stack: AsyncExitStack) -> None:
        self._lists = lists
        self._account_id = account_id
        self._stack = stack
        self._pace: Pauses | None = None

    async def after(self, piece: Sized) -> None:
        """Await this after each piece. After a piece of `SHORT_ROWS` or more, another piece may follow: then the list
        waits for its turn, or pauses if it has the turn already. Raises `Overloaded`.
        """
        if len(piece) >= SHORT_ROWS:
            await self.step()

    async def step(self) -> None:
        """Await this between parts of other work that may take long: the first call waits for the list's turn, later
        ones pause.
        """
        if self._pace:
            await self._pace.pause()
        else:
            self._pace = await self._stack.enter_async_context(self._lists.turn(self._account_id))
