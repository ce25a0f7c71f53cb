"""Feeds batches to the queues: a limited window of items per feed, however many lines wait in Postgres.

A feed moves the lines for one provider at the default tier to its batch lane, or those at the tier flex to its flex lane.
One worker at a time runs a feed (an advisory lock). Holds and items are created in one transaction, then the jobs are
enqueued; `finish.py` finds items whose job is missing after a crash between the two.

The window follows the slots of the living workers, the bytes that Redis would hold, and what each model's vendor allows. A
line that cannot be run fails alone, and a batch that cannot be fed does not hold up the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import asyncpg
import structlog

from shared.batches.queries import BATCHES
from shared.catalogue.models import Catalogue
from shared.lanes import FEEDS, Feed, fed_queue, provider_of
from shared.stores.lock_numbers import Lock
from workers.batches.items import ItemMaker
from workers.batches.lines import AWAY, BatchLines
from workers.batches.shares import Hungry, shares
from workers.batches.turns import Turns
from workers.batches.window import FeedWindow, Window
from workers.sweeps.locks import alone
from workers.upstreams.paces import Paces

if TYPE_CHECKING:
    import redis.asyncio

    from shared.queue.queue import Queue
    from shared.settings import Settings

log = structlog.get_logger(__name__)
FEED_LOCKS = {feed: Lock.FEEDS + number for number, feed in enumerate(FEEDS)}


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
        self._settings = settings
        self._windows = {feed: FeedWindow(feed, client, paces, catalogue, settings) for feed in FEEDS}
        self._turns = {feed: Turns(feed) for feed in FEEDS}
        items, alerted = ItemMaker(catalogue, settings), dict[str, bool]()
        self._lines = {
            feed: BatchLines(feed, own, pool=pool, queue=queue, items=items, settings=settings, alerted=alerted)
            for feed, own in self._windows.items()
        }

    async def run(self, feeds: Sequence[Feed]) -> None:
        """Feed until cancelled, whatever errors a store raises; while there is nothing to feed, look again at
        intervals. The feeds of one vendor run one after the other, so that they hold one connection for their lock.
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
            lines = self._lines[feed]
            fed = [await lines.feed(row, wanted[row["batch_id"]], room_bytes, window) for row in chosen]
        count = sum(one.lines for one in fed)
        busy = count > 0 or soon or any(one.soon for one in fed)
        return None if turns.is_over(page, busy=busy) else count

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


def _least_first(cursors: list[asyncpg.Record], window: Window) -> list[asyncpg.Record]:
    """The batches with the fewest lines under way first, because a vendor's pace may leave room for the first ones only."""
    running = window.running
    return sorted(cursors, key=lambda row: (running[row["account_id"]], running[row["batch_id"]]))
