"""A queue that counts what is asked of it."""

from __future__ import annotations

from typing import Any

from shared.queue.queue import Queue


class CountedClaims(Queue):
    """The real queue, whose claims are counted."""

    def __init__(self, queue: Queue) -> None:
        self.__dict__ = queue.__dict__
        self.asked = 0

    async def claim(self, *arguments: Any) -> Any:
        self.asked += 1
        return await super().claim(*arguments)
