"""Cancels requests whose last reader has gone away and that nobody reads again within `ABANDONED_AFTER_S`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from shared.errors import Unavailable

if TYPE_CHECKING:
    from api.requests.relay import Relay
    from shared.queue.queue import Queue
    from shared.settings import Settings

log = structlog.get_logger(__name__)


class Abandoned:
    """Cancels abandoned requests: `add` starts the grace period of one. A front door that stops cancels nothing,
    because its readers continue at another one.
    """

    def __init__(self, queue: Queue, relay: Relay, group: asyncio.TaskGroup, settings: Settings) -> None:
        self._queue = queue
        self._relay = relay
        self._group = group
        self._grace_s = settings.abandoned_after_s
        self._retry_s = settings.settle_retry_s
        self._runs_s = settings.deadline_max_s
        self._waiting: dict[str, asyncio.Task[None]] = {}

    def add(self, request_id: str) -> None:
        """Start the grace period of a request whose reader has gone, or start it anew if an earlier reader had left."""
        if earlier := self._waiting.get(request_id):
            earlier.cancel()
        self._waiting[request_id] = task = self._group.create_task(self._cancel_later(request_id))
        task.add_done_callback(lambda done: self._forget(request_id, done))

    def _forget(self, request_id: str, task: asyncio.Task[None]) -> None:
        if self._waiting.get(request_id) is task:
            del self._waiting[request_id]

    async def _cancel_later(self, request_id: str) -> None:
        await asyncio.sleep(self._grace_s)
        ended_at = time.monotonic() + self._runs_s
        # if somebody reads again and leaves, a new period starts
        while not self._relay.follows(request_id):
            try:
                cancelled = await self._queue.leave(request_id, self._relay.channel)
            except Unavailable:
                if time.monotonic() > ended_at:
                    return
                await asyncio.sleep(self._retry_s)
            else:
                if cancelled:
                    log.info("abandoned request cancelled", request_id=request_id)
                return
