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
from workers.batches.items import Item, ItemMaker, Unfit
from workers.batches.taking import NOT_NOW, Taken, take
from workers.batches.turns import remember
from workers.batches.window import FeedWindow, Window

if TYPE_CHECKING:
    from shared.queue.queue import Queue
    from shared.settings import Settings

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


class BatchLines:
    """The lines of one feed's batches. `own` is the feed's window. `alerted` says by the id of a batch whether an operator
    was alerted to it; all feeds share it.
    """

    def __init__(
        self,
        feed: Feed,
        own: FeedWindow,
        *,
        pool: asyncpg.Pool,
        queue: Queue,
        items: ItemMaker,
        settings: Settings,
        alerted: dict[str, bool],
    ) -> None:
        self._feed = feed
        self._own = own
        self._pool = pool
        self._queue = queue
        self._items = items
        self._settings = settings
        self._alerted = alerted

    async def feed(self, cursor: asyncpg.Record, count: int, room_bytes: int, window: Window) -> Fed:
        """Feed one batch; whatever is wrong with it does not stop the others."""
        try:
            return await self._feed_batch(cursor, count, room_bytes, window)
        except BUSY:
            return Fed(0, soon=True)  # somebody has locked its account; the batch is tried again at its next turn
        except AWAY:
            raise
        except Exception as error:
            log.error(  # noqa: TRY400 - the database's own errors may quote a row
                "batch cannot be fed",
                alert=self._is_news(cursor),
                batch=cursor["batch_id"],
                reason=type(error).__name__,
                exc_info=not isinstance(error, asyncpg.PostgresError),
            )
            self._own.defer(cursor, "", window.running[cursor["account_id"]])
            return Fed(0, soon=False)

    async def _feed_batch(self, cursor: asyncpg.Record, count: int, room_bytes: int, window: Window) -> Fed:
        self._own.let_go(cursor)
        rows = await self._pool.fetch(
            BATCHES["next_lines"],
            *(cursor["file_id"], cursor["file_day"], self._feed, cursor["fed_to"]),
            *(min(count, LINES_PER_READ_MAX), room_bytes),
        )
        lines, waits_for = await self._allowed(cursor, rows, window)
        fed = await self._hold_and_enqueue(cursor, lines, window) if lines else Fed(0, soon=False)
        if waits_for and fed.lines == len(lines):
            self._own.defer(cursor, waits_for)
            fed = Fed(fed.lines, (await self._own.of(waits_for, window)).soon)
        return fed

    async def _allowed(
        self, cursor: asyncpg.Record, rows: Sequence[asyncpg.Record], window: Window
    ) -> tuple[list[Item | Unfit], str]:
        """The lines up to the first one of which no model can be had now, and the name of its model if it has only that
        one.
        """
        lines: list[Item | Unfit] = []
        left: dict[str, int] = {}
        waits_for = ""
        for row in rows:
            line = self._items.make(self._feed, cursor, row["number"], row["asked"])
            if isinstance(line, Unfit):
                if self._may_be_known_elsewhere(cursor, line):
                    self._own.defer(cursor, "", window.running[cursor["account_id"]])
                    break
                lines.append(line)
                continue
            names = self._own.callable_of([line.model, *(other.model for other in line.others)], window)
            for name in names:
                if name not in left:
                    behind = window.running[line.model.name] if name != line.model.name else 0
                    left[name] = (await self._own.of(name, window)).lines - behind
            name = next((one for one in names if left[one] > 0), "")
            if not name and names == [line.model.name]:
                waits_for = line.model.name
                break
            if not name:
                self._own.defer(cursor, "", window.running[cursor["account_id"]])
                break
            left[name] -= 1
            lines.append(line)
        window.running.update(line.model.name for line in lines if isinstance(line, Item))
        return lines, waits_for

    def _may_be_known_elsewhere(self, cursor: asyncpg.Record, line: Unfit) -> bool:
        """Whether a newer release may know the line's model: a front door of that release may have accepted the line."""
        age_s = (clock.utc_now() - cursor["created_at"]).total_seconds()
        waits = isinstance(line.error, ModelNotFound) and age_s < self._settings.batch_model_unknown_s
        if waits:
            log.warning("batch waits for a worker that knows its model", batch=cursor["batch_id"], line=line.number)
        return waits

    async def _hold_and_enqueue(self, cursor: asyncpg.Record, lines: list[Item | Unfit], window: Window) -> Fed:
        taken = await take(self._pool, self._feed, cursor, lines, self._settings)
        self._tell_of(cursor, taken.unfit)
        await asyncio.gather(*(enqueue_item(self._queue, self._feed, job, cursor["key_id"]) for job in taken.jobs))
        running = window.running[cursor["account_id"]]
        if taken.outcome in {"credit", "key_limit"}:
            await self._pause_unless_something_runs(cursor, taken)
        if taken.outcome in {"credit", "key_limit", "in_flight"}:
            self._own.defer(cursor, "", running + len(taken.jobs))
        return Fed(len(taken.jobs) + len(taken.unfit), soon=running > 0 and taken.outcome != NOT_NOW)

    def _tell_of(self, cursor: asyncpg.Record, unfit: list[Unfit]) -> None:
        """Alert an operator once per batch."""
        if unfit:
            first = unfit[0]
            log.error(
                "batch lines failed before they were run",
                alert=self._is_news(cursor),
                batch=cursor["batch_id"],
                lines=len(unfit),
                first_line=first.number,
                reason=first.error.message,
            )

    def _is_news(self, cursor: asyncpg.Record) -> bool:
        is_news = cursor["batch_id"] not in self._alerted
        remember(self._alerted, cursor["batch_id"], value=True)
        return is_news

    async def _pause_unless_something_runs(self, cursor: asyncpg.Record, taken: Taken) -> None:
        """Pause a batch that has no credit, unless a line of any batch of the account is under way: when it ends, the rest
        of its hold becomes free.
        """
        running = await self._pool.fetchval(BATCHES["account_runs"], cursor["account_id"])
        if not running:
            by_credit, needed = taken.outcome == "credit", taken.needed_nano
            reason = "insufficient_credit" if by_credit else "key_limit"
            needed = divide_up(needed * 100, self._settings.batch_balance_percent) if by_credit else needed
            await self._pool.execute(BATCHES["pause"], cursor["batch_id"], reason, needed)
            log.info("batch paused", batch=cursor["batch_id"], reason=reason)


async def enqueue_item(queue: Queue, feed: Feed, job: Job, key_id: str, epoch: int = 0) -> bool:
    """Enqueue the job of a line, and say whether it was. A job that was not is found missing later and enqueued again."""
    try:
        await queue.enqueue(job, fed_queue(feed), channel="", key_id=key_id, rpm=None, epoch=epoch)
    except RebootError as error:
        log.warning("batch item not enqueued", request_id=job.id, reason=error.message)
        return False
    return True
