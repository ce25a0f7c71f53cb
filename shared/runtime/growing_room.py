"""Room in bytes for things that grow piece by piece and are held until they end. A thing waits while there is no room."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from shared.runtime.byte_budget import ByteBudget, HeldBytes

STEP_BYTES = 262_144
"""Bytes that are taken at once, so that things that grow by small pieces rarely ask for more."""


class GrowingRoom:
    """Room of `total` bytes, of which one owner has at most half. Each thing has `free` bytes beside that, so small
    ones never wait.

    Things that each hold a part of the room could wait for one another for ever. Therefore one of the waiting things
    grows without room until it ends; then the next one does.
    """

    def __init__(self, name: str, *, total: int, free: int) -> None:
        """`name` is the label of the metric."""
        self._budget = ByteBudget(name, total=total, share=total // 2)
        self._free = free
        self._beyond: Growth | None = None
        self._freed = asyncio.Event()

    @property
    def used(self) -> int:
        """Bytes that are taken, without the free ones."""
        return self._budget.used

    def of(self, owner: str) -> Growth:
        """A new, empty thing of this owner."""
        return Growth(self, owner, self._free)

    def step(self, owner: str) -> HeldBytes | None:
        """Take `STEP_BYTES` more; None if there is no room."""
        return self._budget.hold_now(STEP_BYTES, owner)

    def goes_beyond(self, growth: Growth) -> bool:
        """True if `growth` may go on without room. One thing may at a time: this one is chosen if there is none."""
        self._beyond = self._beyond or growth
        return self._beyond is growth

    async def freed(self) -> None:
        """Wait until some thing has ended."""
        await self._freed.wait()

    def ended(self, growth: Growth) -> None:
        """Make the waiting things try again, because this one has ended."""
        if self._beyond is growth:
            self._beyond = None
        freed, self._freed = self._freed, asyncio.Event()
        freed.set()


class Growth:
    """The bytes of one thing in a `GrowingRoom`; they are given back at the end of the block."""

    def __init__(self, room: GrowingRoom, owner: str, free: int) -> None:
        self._room = room
        self._owner = owner
        self.size = free
        """Bytes that the thing may have now."""
        self._held: list[HeldBytes] = []

    async def grow_to(self, size: int, within_s: float) -> bool:
        """Wait at most `within_s` until the thing may have `size` bytes; False if it may not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(within_s, 0)):
                while size > self.size:
                    await self._step()
        return size <= self.size

    async def _step(self) -> None:
        if held := self._room.step(self._owner):
            self._held.append(held)
            self.size += STEP_BYTES
        elif self._room.goes_beyond(self):
            self.size += STEP_BYTES
        else:
            await self._room.freed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for held in self._held:
            held.release()
        self._room.ended(self)
