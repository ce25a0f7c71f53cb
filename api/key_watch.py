"""Stops what callers have open in this process when their keys end: streams, waits, uploads and downloads.

One query per second and process asks for the keys of everything that is open. Workers cancel the requests themselves,
including those that nobody follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, cast

import asyncpg
import structlog

from shared import clock
from shared.ledger.ended_keys import KeyEnded, ended_since
from shared.stores.postgres import UNREACHABLE

if TYPE_CHECKING:
    from shared.settings import Settings

log = structlog.get_logger(__name__)


class Watch(NamedTuple):
    """Something that a key has open, such as a stream. `stop` is called once, with the reason."""

    key_id: str
    began_at: datetime
    stop: Callable[[KeyEnded], None]


class KeyWatch:
    """Stops what callers have open when their key ends. Use `watching(key_id, stop)` while something is open; the owner
    runs `run` as a task.
    """

    def __init__(self, pool: asyncpg.Pool, settings: Settings) -> None:
        self._pool = pool
        self._every_s = settings.key_ends_every_s
        self._open: dict[int, Watch] = {}
        self._number = 0

    @contextmanager
    def watching(self, key_id: str, stop: Callable[[KeyEnded], None]) -> Iterator[None]:
        """Call `stop` if the key ends before the block does. Things that a rotated key has open go on."""
        self._number += 1
        number = self._number
        self._open[number] = Watch(key_id, clock.utc_now(), stop)
        try:
            yield
        finally:
            self._open.pop(number, None)

    @asynccontextmanager
    async def stopping(self, key_id: str) -> AsyncIterator[None]:
        """A block that is cancelled if the key ends, and then raises `KeyEnded`."""
        task = cast("asyncio.Task[object]", asyncio.current_task())  # every coroutine runs in a task
        reasons: list[KeyEnded] = []

        def stop(why: KeyEnded) -> None:
            reasons.append(why)
            task.cancel()

        with self.watching(key_id, stop):
            try:
                yield
            except asyncio.CancelledError:
                if not reasons or task.uncancel() > 0:  # the caller has left as well
                    raise
                raise reasons[0] from None

    async def run(self) -> None:
        """Look every `KEY_ENDS_EVERY_S` until cancelled. While Postgres is away, everything goes on."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.look()
            except (*UNREACHABLE, asyncpg.PostgresError) as error:
                log.warning("keys not looked at", reason=type(error).__name__)

    async def look(self) -> None:
        """Stop what must stop. Raises asyncpg's errors."""
        watches = list(self._open.items())
        if not watches:
            return
        reasons = await ended_since(self._pool, {(watch.key_id, watch.began_at) for _, watch in watches})
        for number, watch in watches:
            reason = reasons.get((watch.key_id, watch.began_at))
            if reason and self._open.pop(number, None):
                log.info("stopped with its key", key_id=watch.key_id, reason=reason)
                watch.stop(KeyEnded.because(reason))
