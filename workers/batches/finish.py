"""Finishes batches: resumes those whose credit came back, expires those whose time is over, stops those of ended keys and
hands over those of rotated ones, withdraws lines that must not start, enqueues items that Redis has lost, and ends batches
whose items have all ended.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import structlog

from shared.batches.batches import batch_from_row
from shared.batches.queries import BATCHES
from shared.catalogue.models import Catalogue
from shared.errors import Cancelled, Expired, RebootError
from shared.lanes import fed_queue
from shared.ledger.settlement import Settlement
from shared.queue.claims import epoch_when_lost
from shared.queue.known import lost_among
from shared.stores.lock_numbers import Lock
from workers.batches.items import ItemMaker
from workers.batches.lines import enqueue_item
from workers.lost_calls import report_lost_calls
from workers.sweeps.locks import alone
from workers.sweeps.settled_records import settle_kept

if TYPE_CHECKING:
    import redis.asyncio

    from shared.job import Job
    from shared.ledger.settler import Settler
    from shared.queue.queue import Queue
    from shared.settings import Settings
    from workers.sweeps.earlier_calls import Calls, EarlierCalls

log = structlog.get_logger(__name__)
ITEMS_PER_LOOK = 5_000
LOST_PER_LOOK = 1_000
"""The most items of which Redis is asked in one look whether it has lost them. The next look goes on behind them."""
BATCHES_PER_LOOK = 100


class BatchFinisher:
    """Does everything that is due for batches. Call `look` at intervals: it is idempotent, and only one worker at a
    time does it.
    """

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        client: redis.asyncio.Redis,
        queue: Queue,
        settler: Settler,
        catalogue: Catalogue,
        settings: Settings,
        earlier_calls: EarlierCalls,
    ) -> None:
        self._earlier_calls = earlier_calls
        self._pool = pool
        self._client = client
        self._queue = queue
        self._settler = settler
        self._items = ItemMaker(catalogue, settings)
        self._settings = settings
        self._asked_to = ""
        """The request of the last item that Redis was asked for; empty if the next look begins with the first one."""

    async def look(self) -> None:
        """Do everything that is due. Raises redis-py's and asyncpg's errors and `Unavailable`."""
        async with alone(self._pool, Lock.BATCH_ENDS) as connection:
            if connection is None:
                return
            await self._pool.execute(BATCHES["finalize"])  # a batch with nothing left to do is finished, not stopped
            stopped = await self._stop_or_hand_over()
            for row in await self._pool.fetch(BATCHES["resume"], self._settings.batch_balance_percent):
                log.info("batch resumed", batch=row["id"])
            for row in await self._pool.fetch(BATCHES["expire"]):
                log.info("batch expired", batch=row["id"])
            await self._withdraw(stopped)
            await self._enqueue_missing()
            await self._end()

    async def _stop_or_hand_over(self) -> set[str]:
        """Stop the batches of keys that were revoked or have expired, and hand those of rotated keys to their successors.
        Returns the ids of stopped batches.
        """
        rows = await self._pool.fetch(BATCHES["of_ended_keys"])
        for row in rows:
            if row["reason"] is None:
                await self._pool.execute(BATCHES["hand_over"], row["id"], row["holder"])
                log.info("batch handed over", batch=row["id"], key_id=row["holder"])
            elif await self._pool.fetch(BATCHES["cancel"], row["id"], row["reason"]):
                log.info("batch stopped", batch=row["id"], reason=row["reason"])
        return {row["id"] for row in rows if row["reason"]}

    async def _withdraw(self, stopped: set[str]) -> None:
        """Remove the waiting jobs of cancelled and expired batches, and cancel the running jobs of stopped ones. Settle
        ended items again whose settlement Postgres has lost.
        """
        rows = await self._pool.fetch(BATCHES["to_withdraw"], ITEMS_PER_LOOK)
        settled = await settle_kept(self._client, self._settler, [row["request_id"] for row in rows])
        for row in (row for row in rows if row["request_id"] not in settled):
            name = fed_queue(row["feed"])
            if await self._queue.bury(row["request_id"], name, or_void=False):
                calls = await self._earlier_calls.of(row["request_id"], partial(self._job_of, row["request_id"]))
                report_lost_calls(row["request_id"], calls.lost)
                self._settler.settle_soon(_withdrawn(row, calls))
            elif row["batch_id"] in stopped:
                await self._queue.cancel(row["request_id"])

    async def _job_of(self, request_id: str) -> Job | None:
        """The job of a running item; None if its line cannot be run any more, or if the item has ended."""
        row = await self._pool.fetchrow(BATCHES["items_to_enqueue"], [request_id])
        try:
            return self._items.job_again(row) if row else None
        except RebootError:
            return None

    async def _enqueue_missing(self) -> None:
        """Enqueue items again whose job is missing in Redis (it was emptied, or the feeder died), unless they were
        settled.
        """
        since_s = self._settings.batch_lost_after_s
        rows = await self._pool.fetch(BATCHES["running_since"], since_s, self._asked_to, LOST_PER_LOOK)
        self._asked_to = rows[-1]["request_id"] if len(rows) == LOST_PER_LOOK else ""
        missing = await lost_among(self._client, [row["request_id"] for row in rows])
        settled = await settle_kept(self._client, self._settler, missing)
        missing = [one for one in missing if one not in settled]
        for row in await self._pool.fetch(BATCHES["items_to_enqueue"], missing) if missing else ():
            try:
                job = self._items.job_again(row)
            except RebootError as error:  # the line cannot be run any more; its hold expires by itself
                log.warning("lost batch item not enqueued", request_id=row["request_id"], reason=error.message)
                continue
            if await enqueue_item(self._queue, row["feed"], job, row["key_id"], epoch_when_lost(job.id)):
                log.warning("lost batch item enqueued again", request_id=row["request_id"])

    async def _end(self) -> None:
        """End batches. If batches are exported, only those are ended whose export is complete."""
        exported = self._settings.batch_export_s3 is not None
        for row in await self._pool.fetch(BATCHES["to_end"], BATCHES_PER_LOOK, exported):
            batch = batch_from_row(row)
            state = await self._pool.fetchval(BATCHES["end"], batch.id)
            log.info("batch ended", batch=batch.id, state=state, lines=batch.total)


def _withdrawn(row: asyncpg.Record, earlier: Calls) -> Settlement:
    """The end of a line that waited. It may have been called before, in vain, and the vendor may bill such calls."""
    error: RebootError = (
        Cancelled("The batch was cancelled before this line ended.")
        if row["ends_as"] == "cancelled"
        else Expired("The batch expired before this line ended.")
    )
    return Settlement.uncharged(
        row["request_id"], row["account_id"], error, calls=earlier.calls, lost_calls=earlier.lost
    )
