"""Asks Postgres whether requests have ended. Postgres knows it even if Redis has forgotten it.

A Redis that fails over may lose the end of a request and the claim before it; then the job is due once more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import asyncpg

from shared.errors import Unavailable
from shared.ids import created_at
from shared.ledger.ledger import SQL
from shared.ledger.microbatch import MicroBatch
from shared.stores.postgres import UNREACHABLE, Connection, KeptSession

if TYPE_CHECKING:
    from shared.settings import Settings

HELD = "held"


class Endings:
    """Answers `has_ended` for single requests with one query for all that are asked at the same time. The owner runs `run`
    as a task.
    """

    def __init__(self, pool: asyncpg.Pool, settings: Settings, distrust: Callable[[], Awaitable[None]]) -> None:
        """`distrust` is called if Postgres does not answer, so that no other task waits for a dead connection."""
        self._pool = pool
        self._distrust = distrust
        self._questions: MicroBatch[str, bool] = MicroBatch(
            self._ask,
            window_s=0,
            rows_max=settings.micro_batch_rows_max,
            pending_max=settings.micro_batch_pending_max,
            name="ended",
        )

    async def has_ended(self, request_id: str) -> bool:
        """True if the request's hold has ended; False also for a request that is unknown. Raises `Unavailable`."""
        return await self._questions.submit(request_id)

    async def run(self) -> None:
        """Answer until cancelled."""
        await self._questions.run()

    async def _ask(self, request_ids: Sequence[str]) -> list[bool]:
        session = KeptSession(self._pool)
        try:
            states = await hold_states(session, request_ids)
        except UNREACHABLE as error:
            await self._distrust()
            raise _unavailable() from error
        except asyncpg.PostgresError as error:
            raise _unavailable() from error
        finally:
            await session.release()
        return [states[one] not in {HELD, None} for one in request_ids]


async def hold_states(connection: Connection | KeptSession, request_ids: Sequence[str]) -> dict[str, str | None]:
    """The state of each request's hold; None for an unknown request. Raises asyncpg's errors."""
    moments = [created_at(one) for one in request_ids]
    rows = await connection.fetch(SQL["hold_states"], request_ids, moments)
    return {row["id"]: row["hold_state"] for row in rows}


def _unavailable() -> Unavailable:
    return Unavailable("The ledger cannot be asked now: try again shortly.")
