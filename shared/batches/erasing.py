"""Erases a batch that has ended, for its owner: what Anthropic's API calls to delete a batch."""

from __future__ import annotations

import asyncpg

from shared.batches.batches import Batch
from shared.batches.queries import BATCHES, FILES, value_of
from shared.batches.quota import LINE_BYTES
from shared.errors import Conflict
from shared.stores.postgres import reached

ANSWERS_PER_STEP = 1_000


async def erase_batch(pool: asyncpg.Pool, batch: Batch, days_kept: int) -> None:
    """Erase the answers of an ended batch, then hide the batch. Its lines are deleted too, unless they are a file that was
    sent to `/v1/files`. If this breaks off, the batch is still listed, and a repeated call deletes the rest. Raises
    `Conflict` while the batch has not ended, and `Unavailable`.
    """
    if batch.ended_at is None:
        raise Conflict("The batch has not ended: cancel it, and delete it when it has.")
    while await value_of(pool, BATCHES["erase_answers"], batch.id, batch.day, ANSWERS_PER_STEP):
        pass
    async with reached("Batches"), pool.acquire() as connection, connection.transaction():
        await connection.execute(BATCHES["hide"], batch.id)
        if batch.form != "openai":
            await connection.fetchval(FILES["delete"], batch.file_id, batch.account_id, days_kept, LINE_BYTES)
