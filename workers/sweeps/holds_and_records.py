"""Ends what nobody came back for: expired holds, and settle records of dead workers.

The sweeps run in every worker, one at a time under an advisory lock. They are idempotent and end holds in the
customer's favour.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import structlog

from shared import clock
from shared.errors import Expired
from shared.ledger.ledger import SQL
from shared.ledger.settlement import Settlement
from shared.queue.known import job_of
from shared.stores import keys
from shared.stores.lock_numbers import Lock
from workers.lost_calls import report_lost_calls
from workers.sweeps.locks import alone
from workers.sweeps.settled_records import readable, settle_kept

if TYPE_CHECKING:
    import redis.asyncio

    from shared.ledger.settler import Settler
    from shared.queue.queue import Queue
    from workers.sweeps.earlier_calls import Calls, EarlierCalls

log = structlog.get_logger(__name__)
LOST = Expired("The request was lost on its way; nothing was charged.")
HOLDS_PER_SWEEP = 500
RECORDS_PER_SCAN = 500
RECORD_AGE = timedelta(seconds=5)
"""A younger settle record is left to the worker that wrote it."""


async def sweep_settle_records(pool: asyncpg.Pool, client: redis.asyncio.Redis, settler: Settler) -> int:
    """Settle the records that a dead worker had written but not settled, and return their number. Raises redis-py's and
    asyncpg's errors.
    """
    found = 0
    before = clock.utc_now() - RECORD_AGE
    async with alone(pool, Lock.SETTLE_RECORDS) as connection:
        if connection is None:
            return 0
        async for request_id, record in client.hscan_iter(keys.SETTLES, count=RECORDS_PER_SCAN):
            settlement = readable(request_id.decode(), record)
            if settlement and settlement.ended_at < before:
                settler.settle_soon(settlement)
                found += 1
    return found


async def sweep_expired_holds(
    pool: asyncpg.Pool, client: redis.asyncio.Redis, queue: Queue, settler: Settler, earlier_calls: EarlierCalls
) -> int:
    """Release expired holds and return their number. Calls that vendors bill for these requests are the operator's cost.
    Holds whose job is still leased or has a settle record are left alone, and a settlement that Postgres has lost is
    settled again. Raises redis-py's and asyncpg's errors and `Unavailable`.
    """
    released = 0
    async with alone(pool, Lock.EXPIRED_HOLDS) as connection:
        if connection is None:
            return 0
        rows = await connection.fetch(SQL["expired_holds"], HOLDS_PER_SWEEP)
        settled = await settle_kept(client, settler, [row["id"] for row in rows])
        for row in (row for row in rows if row["id"] not in settled):
            earlier = await earlier_calls.of(row["id"], partial(job_of, client, row["id"]))  # `bury` deletes the job
            if await queue.bury(row["id"], keys.queue(row["provider"], row["lane"])):
                report_lost_calls(row["id"], earlier.lost)
                settler.settle_soon(_expired(row, earlier))
                released += 1
    if released:
        log.warning("orphan holds expired", alert=True, holds=released)
    return released


def _expired(row: asyncpg.Record, earlier: Calls) -> Settlement:
    return Settlement.uncharged(
        row["id"], row["account_id"], LOST, hold_state="expired", calls=earlier.calls, lost_calls=earlier.lost
    )
