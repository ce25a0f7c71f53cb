"""Creates batches, and files by `/v1/files`, once for each Idempotency-Key."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import msgspec

from shared.batches.batches import Batch, find_batch
from shared.batches.files import File
from shared.batches.queries import BATCHES
from shared.errors import IdempotencyMismatch, InvalidRequest, NotFound, RateLimited
from shared.ids import created_at, new_id
from shared.ledger.ended_keys import KeyEnded
from shared.stores.postgres import Connection, reached
from shared.stores.turns import in_turn

if TYPE_CHECKING:
    from shared.settings import Settings


class RepeatableBy(NamedTuple):
    """An Idempotency-Key and the body that came with it, both as SHA-256."""

    key: bytes
    fingerprint: bytes


class NewBatch(NamedTuple):
    """The values from which a batch is created. The file must be complete."""

    file: File
    key_id: str
    endpoint: str
    metadata: dict[str, str] | None = None
    repeatable_by: RepeatableBy | None = None
    asked_at: datetime | None = None
    """The time at which the upload began; None means now."""


class Created(NamedTuple):
    """A batch, and whether an earlier call with the same Idempotency-Key created it (`again`)."""

    batch: Batch
    again: bool


async def create_batch(pool: asyncpg.Pool, new: NewBatch, settings: Settings) -> Created:
    """Create a batch; workers feed its lines from now on. Raises `RateLimited` if too many batches are open, `KeyEnded`
    if the key has ended meanwhile, `NotFound` if the file was deleted meanwhile, `IdempotencyMismatch` or
    `Unavailable`.
    """
    account_id = new.file.account_id
    within_s = settings.turn_timeout_s
    async with reached("Batches"), in_turn(pool, BATCHES["lock_creation"], account_id, within_s) as connection:
        earlier = await _made_before(connection, account_id, new.repeatable_by)
        batch_id = earlier or await _make(connection, new, settings)
    return Created(await find_batch(pool, account_id, batch_id), earlier is not None)


async def first_with_key(pool: asyncpg.Pool, repeatable_by: RepeatableBy, file: File, settings: Settings) -> str:
    """The id of the file that came first with the Idempotency-Key: `file`'s own id, unless this is a repeat. Raises
    `IdempotencyMismatch` or `Unavailable`.
    """
    within_s = settings.turn_timeout_s
    async with reached("Files"), in_turn(pool, BATCHES["lock_creation"], file.account_id, within_s) as connection:
        earlier = await _made_before(connection, file.account_id, repeatable_by)
        if earlier is None:
            await _keep_key(connection, repeatable_by, file.account_id, file.id, settings)
    return earlier or file.id


async def made_before(pool: asyncpg.Pool, account_id: str, repeatable_by: RepeatableBy | None) -> Batch | None:
    """The batch that an earlier call with this Idempotency-Key created, even if its file is gone; None without such a
    batch. Raises `IdempotencyMismatch` or `Unavailable`.
    """
    async with reached("Batches"), pool.acquire() as connection:
        batch_id = await _made_before(connection, account_id, repeatable_by)
    return None if batch_id is None else await find_batch(pool, account_id, batch_id)


async def key_was_used(pool: asyncpg.Pool, account_id: str, key: bytes) -> bool:
    """True if the Idempotency-Key was used before. If it was, nothing new is created with it."""
    async with reached("Batches"):
        return await pool.fetchrow(BATCHES["find_key"], account_id, key) is not None


async def _made_before(connection: Connection, account_id: str, repeatable_by: RepeatableBy | None) -> str | None:
    if repeatable_by is None:
        return None
    row = await connection.fetchrow(BATCHES["find_key"], account_id, repeatable_by.key)
    if row is None:
        return None
    if row["fingerprint"] != repeatable_by.fingerprint:
        raise IdempotencyMismatch("This Idempotency-Key was used with another body: use a new key for a new request.")
    return str(row["made"])


async def _make(connection: Connection, new: NewBatch, settings: Settings) -> str:
    """Insert the batch and return its id."""
    batch_id, file = new_id("batch"), new.file
    moment = created_at(batch_id)
    expires_at = moment + timedelta(seconds=settings.batch_expires_s)
    if file.expires_at <= expires_at:
        raise InvalidRequest("The file expires before a batch over it would: upload it again.")
    if not await connection.fetchval(BATCHES["lock_file"], file.id, file.account_id):
        raise NotFound("There is no such file any more: it was deleted just now.")
    key_id = await _holder(connection, new.key_id, new.asked_at or moment)
    metadata = None if new.metadata is None else msgspec.json.encode(new.metadata).decode()
    made = await connection.fetchval(
        BATCHES["create"],
        *(batch_id, file.account_id, key_id, new.endpoint, metadata, moment),
        *(expires_at, file.id, settings.batches_open_max, moment + timedelta(days=settings.batch_days_kept)),
    )
    if not made:
        raise RateLimited(
            f"The account has {settings.batches_open_max} batches that have not ended: wait for one of them."
        )
    await connection.execute(BATCHES["create_cursors"], batch_id, file.id, file.day)
    if new.repeatable_by:
        await _keep_key(connection, new.repeatable_by, file.account_id, batch_id, settings)
    return batch_id


async def _holder(connection: Connection, key_id: str, began_at: datetime) -> str:
    """The id of the key, or of the successor that took over its work. Raises `KeyEnded`. If the key ends a moment
    later, workers stop the batch.
    """
    ((holder, reason),) = await connection.fetch(BATCHES["holder"], key_id, began_at)
    if reason:
        raise KeyEnded.because(reason)
    return str(holder)


async def _keep_key(
    connection: Connection,
    repeatable_by: RepeatableBy,
    account_id: str,
    made: str,
    settings: Settings,
) -> None:
    moment: datetime = created_at(made)
    until = moment + timedelta(seconds=settings.answers_kept_s)
    await connection.execute(BATCHES["keep_key"], account_id, *repeatable_by, made, moment, until)
