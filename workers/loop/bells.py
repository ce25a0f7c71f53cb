"""Waits for the bells of queues: a list that a ring is pushed to wakes one of the workers that block on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import hiredis
import redis.asyncio
import redis.exceptions

from shared.queue.queue import Room
from shared.stores.keys import bell
from shared.stores.redis_client import UNREACHABLE, connected
from shared.stores.redis_connections import Pipeline

UNREACHABLE_PAUSE_S = 0.2
LATE_S = 3.0
"""Beyond what they may be silent: then their connection is lost."""


class Bells:
    """Those of the queues that `rooms` says there is room for, on a connection of their own; `rang` is called for each ring.
    They are asked for `wait_s` at a time. `run` is a task of the owner.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        rooms: Callable[[], Sequence[Room]],
        rang: Callable[[], None],
        *,
        wait_s: float,
    ) -> None:
        self._client = client
        self._rooms = rooms
        self._rang = rang
        self._wait_s = wait_s

    async def run(self) -> None:
        """Listen until cancelled, on another connection after each loss."""
        while True:
            try:
                line = await connected(self._client, Pipeline(self._wait_s + LATE_S))
                try:
                    await self._listen(line)
                finally:
                    line.close()
            except UNREACHABLE:
                await asyncio.sleep(UNREACHABLE_PAUSE_S)

    async def _listen(self, line: Pipeline) -> None:
        while True:
            rooms = self._rooms()
            if not rooms:
                await asyncio.sleep(self._wait_s / 10)
                continue
            rung = await line.ask("BLPOP", *(bell(room.queue) for room in rooms), self._wait_s)
            if isinstance(rung, hiredis.ReplyError):
                raise redis.exceptions.ResponseError(str(rung))
            if rung:
                self._rang()
