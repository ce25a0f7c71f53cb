"""How many bytes of vendors' answers a worker has under way: in its own memory, or in the journals of streams, which fill
Redis. Beyond that a vendor is not read until there is room again, which is when other answers have ended.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from shared.runtime.byte_budget import ByteBudget, HeldBytes

STEP_BYTES = 262_144
"""So much is taken at once, so that an answer of many pieces asks seldom."""


class AnswerRoom:
    """`total` bytes, of which an account has half. Each answer has `free` bytes beside that, so that short ones never wait.

    Answers that each have a part of the room could wait for each other for ever. So one of those that wait goes on without
    room until it ends; then it is another one's turn.
    """

    def __init__(self, *, total: int, free: int) -> None:
        self._budget = ByteBudget("vendor answers", total=total, share=total // 2)
        self._free = free
        self._beyond: RoomOfAnswer | None = None
        self._freed = asyncio.Event()

    @property
    def used(self) -> int:
        """Bytes that are taken, those that are free aside."""
        return self._budget.used

    def of(self, account_id: str) -> RoomOfAnswer:
        """For one answer of this account, which has nothing yet."""
        return RoomOfAnswer(self, account_id, self._free)

    def step(self, account_id: str) -> HeldBytes | None:
        """`STEP_BYTES` more, if there is room."""
        return self._budget.hold_now(STEP_BYTES, account_id)

    def goes_beyond(self, answer: RoomOfAnswer) -> bool:
        """Whether it is the one that needs no room, which it becomes where there is none."""
        self._beyond = self._beyond or answer
        return self._beyond is answer

    async def freed(self) -> None:
        """Wait until an answer has ended."""
        await self._freed.wait()

    def ended(self, answer: RoomOfAnswer) -> None:
        """Those that wait look again."""
        if self._beyond is answer:
            self._beyond = None
        freed, self._freed = self._freed, asyncio.Event()
        freed.set()


class RoomOfAnswer:
    """What one answer has of an `AnswerRoom` within its block."""

    def __init__(self, room: AnswerRoom, account_id: str, free: int) -> None:
        self._room = room
        self._account_id = account_id
        self.size = free
        """Bytes that it may have now."""
        self._held: list[HeldBytes] = []

    async def grow_to(self, size: int, within_s: float) -> None:
        """Wait until the answer may have `size` bytes, at most `within_s`: that is its deadline, which then ends it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(within_s, 0)):
                while size > self.size:
                    await self._step()

    async def _step(self) -> None:
        if held := self._room.step(self._account_id):
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
