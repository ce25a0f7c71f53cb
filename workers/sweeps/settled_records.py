"""Settle records after their commit: kept for a while, in case Postgres fails over to a standby that had not got the commit.

A record that is kept costs one look-up by primary key when its time is over. If its hold has not ended, it is settled again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import msgspec
import structlog

from shared.errors import Unavailable
from shared.job import pack, unpack_settlement
from shared.ledger.endings import HELD, hold_states
from shared.stores import keys
from workers.sweeps.locks import alone

if TYPE_CHECKING:
    import redis.asyncio

    from shared.ledger.rows import Settlement
    from shared.ledger.settler import Settler
    from shared.settings import Settings
    from shared.stores.redis_connections import Word
    from shared.stores.scripts import Scripts

log = structlog.get_logger(__name__)
FORGET_WINDOW_S = 0.1
RECORDS_PER_LOOK = 500
KEPT_LOCK = 7_201_007
KEPT_LIVE_MS = 86_400_000
"""Should no worker look any more."""


class SettledRecords:
    """Puts settle records aside whose settlements are committed; one that stays is settled again, to no effect."""

    def __init__(self, scripts: Scripts, settings: Settings) -> None:
        self._scripts = scripts
        self._kept_max = settings.settled_kept_max
        self._bytes_max = settings.settled_record_bytes_max
        self._settlements: list[Settlement] = []

    async def forget(self, settlements: list[Settlement]) -> None:
        """Nobody waits for it, so that those of a while are put aside together, by whoever comes first."""
        self._settlements += settlements
        await asyncio.sleep(FORGET_WINDOW_S)
        taken, self._settlements = self._settlements, []
        if taken:
            await self._put_aside(taken)

    async def _put_aside(self, settlements: list[Settlement]) -> None:
        pairs: list[Word] = [word for one in settlements for word in (one.id, self._kept_of(one))]
        names = [keys.SETTLES, keys.SETTLED, keys.SETTLED_AT]
        try:
            await self._scripts.call("forget", names, [self._kept_max, KEPT_LIVE_MS, *pairs])
        except Unavailable as error:
            log.warning("settle records not put aside", reason=error.message)

    def _kept_of(self, settlement: Settlement) -> bytes | str:
        """As `forget.lua` takes it. Of a long answer only the price is kept; a line of a batch is run again then."""
        if settlement.answer is None or len(settlement.answer) <= self._bytes_max:
            return ""
        return "-" if settlement.batch_line else pack(msgspec.structs.replace(settlement, answer=None))


async def sweep_kept_records(pool: asyncpg.Pool, client: redis.asyncio.Redis, settler: Settler, kept_s: float) -> int:
    """Settle again what Postgres has lost since its commit, and forget what it has not; returns how many were lost.

    Raises redis-py's and asyncpg's errors and `Unavailable`.
    """
    lost = 0
    async with alone(pool, KEPT_LOCK) as connection:
        if connection is None:
            return 0
        while request_ids := await _over(client, kept_s):
            states = await hold_states(pool, request_ids)
            lost += len(await settle_kept(client, settler, [one for one in request_ids if states[one] == HELD]))
            for unknown in (one for one in request_ids if states[one] is None):
                log.error("request lost by Postgres, nothing to charge", alert=True, request_id=unknown)
            await _forget(client, request_ids)
    return lost


async def settle_kept(client: redis.asyncio.Redis, settler: Settler, request_ids: list[str]) -> set[str]:
    """Settle again what is kept of these: they are owed once more. Returns those of which there was a record.

    Raises redis-py's errors.
    """
    if not request_ids:
        return set()
    records = await client.hmget(keys.SETTLED, request_ids)  # type: ignore[misc] # typed for both clients
    found = {one: record for one, record in zip(request_ids, records, strict=True) if record}
    if found:
        await client.hset(keys.SETTLES, mapping=found)  # type: ignore[misc]
    for request_id, record in found.items():
        log.error("settlement lost by Postgres, settled again", alert=True, request_id=request_id)
        settler.keep(unpack_settlement(record))
    return set(found)


async def _over(client: redis.asyncio.Redis, kept_s: float) -> list[str]:
    """The ids of some that have been kept for so long, the oldest first."""
    seconds, _ = await client.time()
    found = await client.zrangebyscore(keys.SETTLED_AT, "-inf", (seconds - kept_s) * 1000, 0, RECORDS_PER_LOOK)
    return [one.decode() for one in found]


async def _forget(client: redis.asyncio.Redis, request_ids: list[str]) -> None:
    async with client.pipeline() as pipe:
        pipe.zrem(keys.SETTLED_AT, *request_ids)
        pipe.hdel(keys.SETTLED, *request_ids)
        await pipe.execute()
