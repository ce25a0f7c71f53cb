"""Checks settle records that are kept after their commit, in case Postgres fails over to a standby that lacks the
commit.

Each record costs one look-up by primary key when its time is over. If its hold has not ended, the record is settled
again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import msgspec
import structlog

from shared.job import pack, unpack_settlement
from shared.ledger.endings import HELD, hold_states
from shared.stores import keys
from shared.stores.lock_numbers import Lock
from workers.sweeps.locks import alone

if TYPE_CHECKING:
    import redis.asyncio

    from shared.ledger.settlement import Settlement
    from shared.ledger.settler import Settler

log = structlog.get_logger(__name__)
RECORDS_PER_LOOK = 500


async def sweep_kept_records(pool: asyncpg.Pool, client: redis.asyncio.Redis, settler: Settler, kept_s: float) -> int:
    """Settle the records again that Postgres has lost since their commit, delete the others, and return the number of
    lost ones. If a hold was released instead of charged, that is recorded. Raises redis-py's and asyncpg's errors.
    """
    lost = 0
    async with alone(pool, Lock.KEPT_RECORDS) as connection:
        if connection is None:
            return 0
        while request_ids := await _over(client, kept_s):
            states = await hold_states(connection, request_ids)
            lost += len(await settle_kept(client, settler, [one for one in request_ids if states[one] == HELD]))
            ended = [one for one in request_ids if states[one] in {"released", "expired"}]
            for settlement in (await _kept(client, ended)).values():
                if settlement.charge_nano:  # the charge cannot be taken any more, and the books record that
                    settler.settle_soon(settlement)
            for unknown in (one for one in request_ids if states[one] is None):
                log.error("request lost by Postgres, nothing to charge", alert=True, request_id=unknown)
            await _forget(client, request_ids)
    return lost


async def settle_kept(client: redis.asyncio.Redis, settler: Settler, request_ids: list[str]) -> set[str]:
    """Settle the kept records of these requests again, because Postgres has lost them. Returns the ids of those with a
    readable record. Raises redis-py's errors.
    """
    owed = await _kept(client, request_ids)
    if owed:
        records = {one: pack(settlement) for one, settlement in owed.items()}
        await client.hset(keys.SETTLES, mapping=records)  # type: ignore[misc] # typed for both clients
    for request_id, settlement in owed.items():
        log.error("settlement lost by Postgres, settled again", alert=True, request_id=request_id)
        settler.settle_soon(settlement)
    return set(owed)


async def _kept(client: redis.asyncio.Redis, request_ids: list[str]) -> dict[str, Settlement]:
    """The readable records of these requests."""
    if not request_ids:
        return {}
    records = await client.hmget(keys.SETTLED, request_ids)  # type: ignore[misc]
    found = ((one, readable(one, record)) for one, record in zip(request_ids, records, strict=True) if record)
    return {one: settlement for one, settlement in found if settlement}


def readable(request_id: str, record: bytes) -> Settlement | None:
    """The settlement of a record; None, and an alert, if it is unreadable."""
    try:
        return unpack_settlement(record)
    except msgspec.DecodeError as error:
        log.error("settle record unreadable", alert=True, request_id=request_id, reason=str(error))  # noqa: TRY400
        return None


async def _over(client: redis.asyncio.Redis, kept_s: float) -> list[str]:
    """The ids of some records that were kept for `kept_s`, oldest first."""
    seconds, _ = await client.time()
    found = await client.zrangebyscore(keys.SETTLED_AT, "-inf", (seconds - kept_s) * 1000, 0, RECORDS_PER_LOOK)
    return [one.decode() for one in found]


async def _forget(client: redis.asyncio.Redis, request_ids: list[str]) -> None:
    async with client.pipeline() as pipe:
        pipe.zrem(keys.SETTLED_AT, *request_ids)
        pipe.hdel(keys.SETTLED, *request_ids)
        await pipe.execute()
