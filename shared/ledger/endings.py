"""Asks Postgres which requests have ended: it knows that also when Redis has forgotten it.

A Redis that fails over may lose the end of a request and the claim before it, so that the job is due once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared.ids import created_at
from shared.ledger.ledger import SQL
from shared.ledger.microbatch import MicroBatch
from shared.stores.postgres import reached

if TYPE_CHECKING:
    import asyncpg

    from shared.settings import Settings

HELD = "held"


class Endings:
    """`have_ended` for one request; what is asked at the same time travels together. `run` is a task of the owner."""

    def __init__(self, pool: asyncpg.Pool, settings: Settings) -> None:
        self._pool = pool
        self._questions: MicroBatch[str, bool] = MicroBatch(
            self._ask,
            window_s=0,
            rows_max=settings.micro_batch_rows_max,
            pending_max=settings.micro_batch_pending_max,
            name="ended",
        )

    async def has_ended(self, request_id: str) -> bool:
        """Whether its hold has ended; False also for a request that Postgres does not know. Raises `Unavailable`."""
        return await self._questions.submit(request_id)

    async def run(self) -> None:
        """Runs until cancelled."""
        await self._questions.run()

    async def _ask(self, request_ids: Sequence[str]) -> list[bool]:
        states = await hold_states(self._pool, request_ids)
        return [states[one] not in {HELD, None} for one in request_ids]


async def hold_states(pool: asyncpg.Pool, request_ids: Sequence[str]) -> dict[str, str | None]:
    """How each hold stands, None for a request that is not there. Raises `Unavailable`."""
    moments = [created_at(one) for one in request_ids]
    async with reached("The ledger"):
        rows = await pool.fetch(SQL["hold_states"], request_ids, moments)
    return {row["id"]: row["hold_state"] for row in rows}
