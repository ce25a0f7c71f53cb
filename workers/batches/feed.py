"""Feeds batches to the queues: a limited window of items per feed, however many lines wait in Postgres.

A feed moves the lines for one provider to its batch lane, or lines at the tier flex to its flex lane. One worker at a time
runs a feed (an advisory lock). Holds and items are created in one transaction, then the jobs are enqueued; `finish.py`
finds items whose job is missing after a crash between the two.

The window follows the slots of the living workers, the bytes that Redis would hold, and what each model's vendor allows. A
line that cannot be run fails alone, and a batch that cannot be fed does not hold up the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import structlog

from shared import clock
from shared.batches.queries import BATCHES
from shared.catalogue.models import Catalogue
from shared.errors import ModelNotFound, RebootError, Unavailable
from shared.job import Job
from shared.lanes import FEEDS, Feed, fed_queue, provider_of
from shared.money import divide_up
from shared.stores.lock_numbers import Lock
from shared.stores.postgres import BUSY
from shared.stores.postgres import UNREACHABLE as DATABASE_UNREACHABLE
from shared.stores.redis_client import UNREACHABLE as REDIS_UNREACHABLE
from workers.batches.items import Item, ItemMaker, Unfit
from workers.batches.shares import Hungry, shares
from workers.batches.taking import NOT_NOW, Taken, take
from workers.batches.turns import Turns, remember
from workers.batches.window import FeedWindow, Window
from workers.sweeps.locks import alone
from workers.upstreams.paces import Paces

if TYPE_CHECKING:
    import redis.asyncio

    from shared.queue.queue import Queue
    from shared.settings import Settings

log = structlog.get_logger(__name__)
FEED_LOCKS = {feed: Lock.FEEDS + number for number, feed in enumerate(FEEDS)}
LINES_PER_READ_MAX = 256
AWAY = (Unavailable, *REDIS_UNREACHABLE, *DATABASE_UNREACHABLE)
"""Errors of the stores, which are not the batch's own."""


class Fed(NamedTuple):
    """The number of lines of a batch that were fed. `soon` is true if there is room for the next line when something
    under way ends.
    """

    lines: int
    soon: bool


class BatchFeeder:
    """`feed` fills the window of a feed once. The owner runs `run` as a task, which keeps the windows of several feeds
    full.
    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        client: redis.asyncio.Redis,
        queue: Queue,
        paces: Paces,
        catalogue: Catalogue,
        settings: Settings,
        may_feed: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`may_feed` is false for paused providers, of which only lines that a fallback model can run are fed: a fed line
        has only a limited time until it must have ended.
        """
        self._pool = pool
        self._may_feed = may_feed
        self._queue = queue
        self._items = ItemMaker(catalogue, settings)
        self._settings = settings
        self._windows = {feed: FeedWindow(feed, client, paces, catalogue, settings) for feed in FEEDS}
        self._turns = {feed: Turns(feed) for feed in FEEDS}
        self._alerted: dict[str, bool] = {}
        """By the id of a batch, whether an operator was alerted to it."""

    async def run(self, feeds: Sequence[Feed]) -> None:
        """Feed until cancelled, whatever errors a store raises; while there is nothing to feed, look again at
        intervals. Feeds run one after the other, so that all of them use one connection.
        """
        while True:
            busy = [await self._is_busy(feed) for feed in feeds]
            await asyncio.sleep(self._settings.batch_feed_every_s if any(busy) else self._settings.batch_look_every_s)

    async def _is_busy(self, feed: Feed) -> bool:
        """Feed once. True if there is more to feed now, or may soon be."""
        try:
            return await self.feed(feed) is not None
        except (*AWAY, asyncpg.PostgresError) as error:
            log.warning("feeding postponed", feed=feed, reason=type(error).__name__)
            return False

    async def feed(self, feed: Feed) -> int | None:
        """Feed once and return the number of lines. 0 means that there will soon be room again, or that other batches
        have their turn. None means that another worker feeds, or that nothing can be fed for a while. Raises asyncpg's
        and redis-py's errors and `Unavailable`.
        """
        turns, own = self._turns[feed], self._windows[feed]
        async with alone(self._pool, FEED_LOCKS[feed]) as connection:
            if connection is None:
                return None
            await connection.execute(BATCHES["by_index"])
            page = await turns.page(connection)
            if not page.accounts:
                return None
            window = await own.window(connection, is_paused=not self._may_feed(provider_of(fed_queue(feed))))
            places = window.free_bytes // self._settings.batch_line_bytes_max
            if not window.free or not places:
                return 0
            ready, soon = await self._not_deferred(own, [row for row in page.cursors if row["ready"]], window)
            hungry = [Hungry(row["batch_id"], row["account_id"], row["left_over"]) for row in ready]
            wanted = shares(window.free, hungry, window.running)
            chosen = _least_first([row for row in ready if row["batch_id"] in wanted], window)[:places]
            turns.passed(page, chosen)
            room_bytes = window.free_bytes // max(1, len(chosen))
            fed = [await self._feed_aside(feed, row, wanted[row["batch_id"]], room_bytes, window) for row in chosen]
        lines = sum(one.lines for one in fed)
        busy = lines > 0 or soon or any(one.soon for one in fed)
        return None if turns.is_over(page, busy=busy) else lines

    @staticmethod
    async def _not_deferred(
        own: FeedWindow, cursors: list[asyncpg.Record], window: Window
    ) -> tuple[list[asyncpg.Record], bool]:
        """The batches that wait for nothing, as far as is known, and whether another batch may soon continue."""
        ready, soon = [], False
        for row in cursors:
            still = await own.still_deferred(row, window)
            if still is None:
                ready.append(row)
            else:
                soon = soon or still.soon
        return ready, soon

    async def _feed_aside(self, feed: Feed, cursor: asyncpg.Record, count: int, room_bytes: int, window: Window) -> Fed:
        """Feed one batch; whatever is wrong with it does not stop the others."""
        try:
            return await self._feed_batch(feed, cursor, count, room_bytes, window)
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
            self._windows[feed].defer(cursor, "", window.running[cursor["account_id"]])
            return Fed(0, soon=False)

    async def _feed_batch(self, feed: Feed, cursor: asyncpg.Record, count: int, room_bytes: int, window: Window) -> Fed:
        own = self._windows[feed]
        own.let_go(cursor)
        rows = await self._pool.fetch(
            BATCHES["next_lines"],
            *(cursor["file_id"], cursor["file_day"], feed, cursor["fed_to"]),
            *(min(count, LINES_PER_READ_MAX), room_bytes),
        )
        lines, waits_for = await self._allowed(feed, cursor, rows, window)
        fed = await self._hold_and_enqueue(feed, cursor, lines, window) if lines else Fed(0, soon=False)
        if waits_for and fed.lines == len(lines):
            own.defer(cursor, waits_for)
            fed = Fed(fed.lines, (await own.of(waits_for, window)).soon)
        return fed

    async def _allowed(
        self, feed: Feed, cursor: asyncpg.Record, rows: Sequence[asyncpg.Record], window: Window
    ) -> tuple[list[Item | Unfit], str]:
        """The lines up to the first one of which no model can be had now, and the name of its model if it has only that
        one.
        """
        own = self._windows[feed]
        lines: list[Item | Unfit] = []
        left: dict[str, int] = {}
        waits_for = ""
        for row in rows:
            line = self._items.make(feed, cursor, row["number"], row["asked"])
            if isinstance(line, Unfit):
                if self._may_be_known_elsewhere(cursor, line):
                    own.defer(cursor, "", window.running[cursor["account_id"]])
                    break
                lines.append(line)
                continue
            names = own.callable_of([line.model, *(other.model for other in line.others)], window)
            for name in names:
                if name not in left:
                    behind = window.running[line.model.name] if name != line.model.name else 0
                    left[name] = (await own.of(name, window)).lines - behind
            name = next((one for one in names if left[one] > 0), "")
            if not name and names == [line.model.name]:
                waits_for = line.model.name
                break
            if not name:
                own.defer(cursor, "", window.running[cursor["account_id"]])
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

    async def _hold_and_enqueue(
        self, feed: Feed, cursor: asyncpg.Record, lines: list[Item | Unfit], window: Window
    ) -> Fed:
        taken = await take(self._pool, feed, cursor, lines, self._settings)
        self._tell_of(cursor, taken.unfit)
        await asyncio.gather(*(self.enqueue(feed, job, cursor["key_id"]) for job in taken.jobs))
        running = window.running[cursor["account_id"]]
        if taken.outcome in {"credit", "key_limit"}:
            await self._pause_unless_something_runs(cursor, taken)
        if taken.outcome in {"credit", "key_limit", "in_flight"}:
            self._windows[feed].defer(cursor, "", running + len(taken.jobs))
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

    async def enqueue(self, feed: Feed, job: Job, key_id: str, epoch: int = 0) -> None:
        """Enqueue the job. A job that is not enqueued is found missing later and enqueued again."""
        try:
            await self._queue.enqueue(job, fed_queue(feed), channel="", key_id=key_id, rpm=None, epoch=epoch)
        except RebootError as error:
            log.warning("batch item not enqueued", request_id=job.id, reason=error.message)

    async def _pause_unless_something_runs(self, cursor: asyncpg.Record, taken: Taken) -> None:
        """Pause a batch that has no credit, unless some of its lines are under way: when these end, the rest of their
        holds becomes free.
        """
        running = await self._pool.fetchval(BATCHES["account_runs"], cursor["account_id"])
        if not running:
            by_credit, needed = taken.outcome == "credit", taken.needed_nano
            reason = "insufficient_credit" if by_credit else "key_limit"
            needed = divide_up(needed * 100, self._settings.batch_balance_percent) if by_credit else needed
            await self._pool.execute(BATCHES["pause"], cursor["batch_id"], reason, needed)
            log.info("batch paused", batch=cursor["batch_id"], reason=reason)


def _least_first(cursors: list[asyncpg.Record], window: Window) -> list[asyncpg.Record]:
    """The batches with the fewest lines under way first, because a vendor's pace may leave room for the first ones only."""
    running = window.running
    return sorted(cursors, key=lambda row: (running[row["account_id"]], running[row["batch_id"]]))
