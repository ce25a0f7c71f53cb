"""Room in bytes for what grows piece by piece and has to be held until it ends: who holds it waits where there is none."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from shared.runtime.byte_budget import ByteBudget, HeldBytes

STEP_BYTES = 262_144
"""So much is taken at once, so that what grows by small pieces asks seldom."""


class GrowingRoom:
    """`total` bytes, of which an owner has half. Each has `free` bytes beside that, so that what stays small never waits.

    Those that have a part of the room each could wait for one another for ever. So one of those that wait goes on without
    room until it ends; then it is another one's turn.
    """

    def __init__(self, name: str, *, total: int, free: int) -> None:
        """`name` is the label of the metric."""
        self._budget = ByteBudget(name, total=total, share=total // 2)
        self._free = free
        self._beyond: Growth | None = None
        self._freed = asyncio.Event()

    @property
    def used(self) -> int:
        """Bytes that are taken, those that are free aside."""
        return self._budget.used

    def of(self, owner: str) -> Growth:
        """For something of this owner, which has nothing yet."""
        return Growth(self, owner, self._free)

    def step(self, owner: str) -> HeldBytes | None:
        """`STEP_BYTES` more, if there is room."""
        return self._budget.hold_now(STEP_BYTES, owner)

    def goes_beyond(self, growth: Growth) -> bool:
        """Whether it is the one that needs no room, which it becomes where there is none."""
        self._beyond = self._beyond or growth
        return self._beyond is growth

    async def freed(self) -> None:
        """Wait until something has ended."""
        await self._freed.wait()

    def ended(self, growth: Growth) -> None:
        """Those that wait look again."""
        if self._beyond is growth:
            self._beyond = None
        freed, self._freed = self._freed, asyncio.Event()
        freed.set()


class Growth:
    """What one of them has of a `GrowingRoom` within its block."""

    def __init__(self, room: GrowingRoom, owner: str, free: int) -> None:
        self._room = room
        self._owner = owner
        self.size = free
        """Bytes that it may have now."""
        self._held: list[HeldBytes] = []

    async def grow_to(self, size: int, within_s: float) -> bool:
        """Wait until it may have `size` bytes, at most `within_s`; whether it may."""
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
