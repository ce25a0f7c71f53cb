"""Feeds the next lines of one batch: reads them, holds their credit, and puts their jobs into the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import structlog

from shared import clock
from shared.batches.queries import BATCHES
from shared.errors import ModelNotFound, RebootError, Unavailable
from shared.job import Job
from shared.lanes import Feed, fed_queue
from shared.money import divide_up
from shared.stores.postgres import BUSY
from shared.stores.postgres import UNREACHABLE as DATABASE_UNREACHABLE
from shared.stores.redis_client import UNREACHABLE as REDIS_UNREACHABLE
from workers.batches.items import ItemMaker, RunnableLine, StoredLine, UnfitLine
from workers.batches.taking import NOT_NOW, Taken, take
from workers.batches.turns import remember
from workers.batches.window import FeedWindow, WaitsFor, Window

if TYPE_CHECKING:
    from shared.queue.queue import Queue
    from shared.settings import Settings
    from workers.batches.cursors import Cursor

log = structlog.get_logger(__name__)
LINES_PER_READ_MAX = 256
AWAY = (Unavailable, *REDIS_UNREACHABLE, *DATABASE_UNREACHABLE)
"""Errors of the stores, which are not the batch's own."""


class Fed(NamedTuple):
    """The number of lines of a batch that were fed. `soon` is true if there is room for the next line when something
    under way ends.
    """

    lines: int
    soon: bool


class Allowed(NamedTuple):
    """The lines of a batch that may be fed now, and the condition for which the next line waits; None if none waits."""

    lines: list[RunnableLine | UnfitLine]
    waits_for: WaitsFor | None


class Places:
    """The places that the vendors' paces leave for the lines of one batch, by model."""

    def __init__(self, feed_window: FeedWindow, window: Window) -> None:
        self._feed_window = feed_window
        self._window = window
        self._left: dict[str, int] = {}

    async def take_for(self, line: RunnableLine) -> WaitsFor | None:
        """Take a place of the first of the line's models that has one. If none has, the condition for which the line waits:
        its own model, if no other can be called. Raises `Unavailable`.
        """
        names = self._feed_window.callable_of([line.model, *(other.model for other in line.others)], self._window)
        for name in names:
            if name not in self._left:
                self._left[name] = await self._free_of(name, line.model.name)
        found = next((name for name in names if self._left[name] > 0), None)
        if found is None:
            return WaitsFor(line.model.name if names == [line.model.name] else None)
        self._left[found] -= 1
        return None

    async def _free_of(self, name: str, first: str) -> int:
        """The free places of a model. For a fallback model, lines under way on the line's `first` model count, too, because
        they may go on with it.
        """
        may_come = self._window.running.models[first] if name != first else 0
        return (await self._feed_window.may_feed(name, self._window)).lines - may_come


class LineFeeder:
    """Feeds lines of one feed's batches. `alerted` says by the id of a batch whether an operator was alerted to it; all feeds
    share it.
    """

    def __init__(
        self,
        feed_window: FeedWindow,
        *,
        pool: asyncpg.Pool,
        queue: Queue,
        items: ItemMaker,
        settings: Settings,
        alerted: dict[str, bool],
    ) -> None:
        self._feed_window = feed_window
        self._pool = pool
        self._queue = queue
        self._items = items
        self._settings = settings
        self._alerted = alerted

    async def feed(self, cursor: Cursor, count: int, bytes_max: int, window: Window) -> Fed:
        """Feed up to `count` lines of one batch; whatever is wrong with it does not stop the others."""
        try:
            return await self._feed_batch(cursor, count, bytes_max, window)
        except BUSY:
            return Fed(0, soon=True)  # somebody has locked its account; the batch is tried again at its next turn
        except AWAY:
            raise
        except Exception as error:
            log.error(  # noqa: TRY400 - the database's own errors may quote a row
                "batch cannot be fed",
                alert=self._is_news(cursor),
                batch=cursor.batch_id,
                reason=type(error).__name__,
                exc_info=not isinstance(error, asyncpg.PostgresError),
            )
            self._feed_window.defer(cursor, WaitsFor(), window.running.accounts[cursor.account_id])
            return Fed(0, soon=False)

    async def _feed_batch(self, cursor: Cursor, count: int, bytes_max: int, window: Window) -> Fed:
        self._feed_window.let_go(cursor)
        stored = await self._next_lines(cursor, count, bytes_max)
        lines, waits_for = await self._allowed(cursor, stored, window)
        window.running.models.update(line.model.name for line in lines if isinstance(line, RunnableLine))
        fed = await self._hold_and_enqueue(cursor, lines, window) if lines else Fed(0, soon=False)
        # if fewer were fed, something else than `waits_for` stopped them
        if waits_for is None or fed.lines < len(lines):
            return fed
        self._feed_window.defer(cursor, waits_for, window.running.accounts[cursor.account_id])
        if waits_for.model is None:
            return fed
        return Fed(fed.lines, (await self._feed_window.may_feed(waits_for.model, window)).soon)

    async def _next_lines(self, cursor: Cursor, count: int, bytes_max: int) -> list[StoredLine]:
        rows = await self._pool.fetch(
            BATCHES["next_lines"],
            *(cursor.file_id, cursor.file_day, cursor.feed, cursor.fed_to),
            *(min(count, LINES_PER_READ_MAX), bytes_max),
        )
        return [StoredLine(**row) for row in rows]

    async def _allowed(self, cursor: Cursor, stored: Sequence[StoredLine], window: Window) -> Allowed:
        """The lines up to the first one that waits. A line that cannot be run waits for nothing, and fails."""
        lines: list[RunnableLine | UnfitLine] = []
        places = Places(self._feed_window, window)
        for one in stored:
            line = self._items.make(cursor, one)
            if isinstance(line, RunnableLine):
                waits_for = await places.take_for(line)
            else:
                waits_for = WaitsFor() if self._may_be_known_elsewhere(cursor, line) else None
            if waits_for:
                return Allowed(lines, waits_for)
            lines.append(line)
        return Allowed(lines, None)

    def _may_be_known_elsewhere(self, cursor: Cursor, line: UnfitLine) -> bool:
        """True if a newer release may know the line's model: a front door of that release may have accepted the line."""
        age_s = (clock.utc_now() - cursor.created_at).total_seconds()
        waits = isinstance(line.error, ModelNotFound) and age_s < self._settings.batch_model_unknown_s
        if waits:
            log.warning("batch waits for a worker that knows its model", batch=cursor.batch_id, line=line.number)
        return waits

    async def _hold_and_enqueue(self, cursor: Cursor, lines: list[RunnableLine | UnfitLine], window: Window) -> Fed:
        taken = await take(self._pool, cursor, lines, self._settings)
        self._tell_of(cursor, taken.unfit)
        await asyncio.gather(*(enqueue_item(self._queue, cursor.feed, job, cursor.key_id) for job in taken.jobs))
        running = window.running.accounts[cursor.account_id]
        if taken.outcome in {"credit", "key_limit"}:
            await self._pause_unless_something_runs(cursor, taken)
        if taken.outcome in {"credit", "key_limit", "in_flight"}:
            self._feed_window.defer(cursor, WaitsFor(), running + len(taken.jobs))
        return Fed(len(taken.jobs) + len(taken.unfit), soon=running > 0 and taken.outcome != NOT_NOW)

    def _tell_of(self, cursor: Cursor, unfit: list[UnfitLine]) -> None:
        """Alert an operator once per batch."""
        if unfit:
            first = unfit[0]
            log.error(
                "batch lines failed before they were run",
                alert=self._is_news(cursor),
                batch=cursor.batch_id,
                lines=len(unfit),
                first_line=first.number,
                reason=first.error.message,
            )

    def _is_news(self, cursor: Cursor) -> bool:
        is_news = cursor.batch_id not in self._alerted
        remember(self._alerted, cursor.batch_id, value=True)
        return is_news

    async def _pause_unless_something_runs(self, cursor: Cursor, taken: Taken) -> None:
        """Pause a batch that has no credit, unless a line of any batch of the account is under way: when it ends, the rest
        of its hold becomes free.
        """
        running = await self._pool.fetchval(BATCHES["account_runs"], cursor.account_id)
        if not running:
            by_credit, needed = taken.outcome == "credit", taken.needed_nano
            reason = "insufficient_credit" if by_credit else "key_limit"
            needed = divide_up(needed * 100, self._settings.batch_balance_percent) if by_credit else needed
            await self._pool.execute(BATCHES["pause"], cursor.batch_id, reason, needed)
            log.info("batch paused", batch=cursor.batch_id, reason=reason)


async def enqueue_item(queue: Queue, feed: Feed, job: Job, key_id: str, epoch: int = 0) -> bool:
    """Enqueue the job of a line, and say whether it was. A job that was not is found missing later and enqueued again."""
    try:
        await queue.enqueue(job, fed_queue(feed), channel="", key_id=key_id, rpm=None, epoch=epoch)
    except RebootError as error:
        log.warning("batch item not enqueued", request_id=job.id, reason=error.message)
        return False
    return True
