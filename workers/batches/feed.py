"""Feeds batches to the queues: a limited window of items per feed, however many lines wait in Postgres.

A feed moves the lines for one provider at the default tier to its batch lane, or those at the tier flex to its flex lane.
One worker at a time runs a feed (an advisory lock). Holds and items are created in one transaction, then the jobs are
enqueued; `finish.py` finds items whose job is missing after a crash between the two.

The window follows the slots of the living workers, the bytes that Redis would hold, and what each model's vendor allows. A
line that cannot be run fails alone, and a batch that cannot be fed does not hold up the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import structlog

from shared.batches.queries import BATCHES
from shared.catalogue.models import Catalogue
from shared.lanes import FEEDS, Feed, fed_queue, provider_of
from shared.stores.lock_numbers import Lock
from workers.batches.items import ItemMaker
from workers.batches.lines import AWAY, LineFeeder
from workers.batches.shares import Hungry, Running, shares
from workers.batches.turns import Page, Turns
from workers.batches.window import FeedWindow, Wait, Window
from workers.sweeps.locks import alone
from workers.upstreams.paces import Paces

if TYPE_CHECKING:
    import redis.asyncio

    from shared.queue.queue import Queue
    from shared.settings import Settings
    from workers.batches.cursors import Cursor

log = structlog.get_logger(__name__)
FEED_LOCKS = {feed: Lock.FEEDS + number for number, feed in enumerate(FEEDS)}


class Round(NamedTuple):
    """The result of feeding once. If `busy`, more can be fed now or may soon be; otherwise another worker feeds, or
    nothing can be fed for a while.
    """

    lines: int
    busy: bool


NOTHING_TO_FEED = Round(0, busy=False)


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
        is_paused: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Of a provider that `is_paused`, only lines that a fallback model can run are fed: a fed line has only a limited
        time until it must have ended.
        """
        self._pool = pool
        self._is_paused = is_paused
        self._settings = settings
        self._windows = {feed: FeedWindow(feed, client, paces, catalogue, settings) for feed in FEEDS}
        self._turns = {feed: Turns(feed) for feed in FEEDS}
        items, alerted = ItemMaker(catalogue, settings), dict[str, bool]()
        self._lines = {
            feed: LineFeeder(window, pool=pool, queue=queue, items=items, settings=settings, alerted=alerted)
            for feed, window in self._windows.items()
        }

    async def run(self, feeds: Sequence[Feed]) -> None:
        """Feed until cancelled, whatever errors a store raises; while there is nothing to feed, look again at
        intervals. The feeds of one vendor run one after the other, so that they hold one connection for their lock.
        """
        while True:
            busy = [await self._is_busy(feed) for feed in feeds]
            await asyncio.sleep(self._settings.batch_feed_every_s if any(busy) else self._settings.batch_look_every_s)

    async def _is_busy(self, feed: Feed) -> bool:
        try:
            return (await self.feed(feed)).busy
        except (*AWAY, asyncpg.PostgresError) as error:
            log.warning("feeding postponed", feed=feed, reason=type(error).__name__)
            return False

    async def feed(self, feed: Feed) -> Round:
        """Feed once, unless another worker does. Raises asyncpg's and redis-py's errors and `Unavailable`."""
        async with alone(self._pool, FEED_LOCKS[feed]) as connection:
            if connection is None:
                return NOTHING_TO_FEED
            await connection.execute(BATCHES["by_index"])
            page = await self._turns[feed].page(connection)
            if not page.accounts:
                return NOTHING_TO_FEED
            is_paused = self._is_paused(provider_of(fed_queue(feed)))
            window = await self._windows[feed].window(connection, is_paused=is_paused)
            return await self._feed_page(feed, page, window)

    async def _feed_page(self, feed: Feed, page: Page, window: Window) -> Round:
        turns, feed_window, lines = self._turns[feed], self._windows[feed], self._lines[feed]
        # each batch that is fed must find room for one line of any size
        batches_max = window.free_bytes // self._settings.batch_line_bytes_max
        if not window.free or not batches_max:
            return Round(0, busy=True)
        waits = {cursor: await feed_window.wait_of(cursor, window) for cursor in page.cursors if cursor.ready}
        counts = _counts([cursor for cursor, wait in waits.items() if wait is Wait.NOT_AT_ALL], window)
        chosen = _least_first(counts, window.running)[:batches_max]
        turns.passed(page, chosen)
        bytes_max = window.free_bytes // max(1, len(chosen))
        fed = [await lines.feed(cursor, counts[cursor], bytes_max, window) for cursor in chosen]
        count = sum(one.lines for one in fed)
        busy = count > 0 or Wait.FOR_AN_END in waits.values() or any(one.soon for one in fed)
        return Round(count, busy=not turns.is_over(page, busy=busy))


def _counts(ready: Sequence[Cursor], window: Window) -> dict[Cursor, int]:
    """The batches that are fed now, and the number of lines of each."""
    hungry = [Hungry(cursor.batch_id, cursor.account_id, cursor.left_over) for cursor in ready]
    given = shares(window.free, hungry, window.running)
    return {cursor: given[cursor.batch_id] for cursor in ready if cursor.batch_id in given}


def _least_first(cursors: Iterable[Cursor], running: Running) -> list[Cursor]:
    """The batches with the fewest lines under way first, because a vendor's pace may leave room for the first ones only."""
    return sorted(cursors, key=lambda cursor: (running.accounts[cursor.account_id], running.batches[cursor.batch_id]))
