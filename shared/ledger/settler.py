"""Keeps what is owed to the ledger until Postgres has committed it, however long Postgres is away.

Workers hand in settlements (whose second copy is the settle record in Redis), front doors hand in releases of holds that
never reached the queue. Memory is bounded by the requests that a process can have in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import structlog

from shared.errors import RebootError, Unavailable
from shared.runtime.metrics import UNSETTLED

if TYPE_CHECKING:
    from shared.ledger.ledger import Ledger
    from shared.ledger.rows import Outcome, Settlement

log = structlog.get_logger(__name__)
UNKNOWN_TRIES = 15
Committed = Callable[["Settlement", "Outcome"], Coroutine[Any, Any, None]]


class Settler:
    """`keep(settlement)` returns at once; the tasks of `group` send it until it is committed.

    `on_committed(settlement, outcome)` is awaited after the commit: settle records are put aside there. It is best effort: a
    record that stays is settled again by a sweep, which changes nothing.
    """

    def __init__(
        self, ledger: Ledger, group: asyncio.TaskGroup, *, retry_s: float, on_committed: Committed | None = None
    ) -> None:
        self._ledger = ledger
        self._group = group
        self._retry_s = retry_s
        self._on_committed = on_committed
        self._kept: dict[str, Settlement] = {}
        self.answer_bytes = 0
        """Of the answers that are kept until they are committed."""
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, settlement: Settlement) -> None:
        """Take charge of a settlement. The same request again while the first is under way is ignored."""
        if settlement.id not in self._kept:
            self._kept[settlement.id] = settlement
            self.answer_bytes += len(settlement.answer or b"")
            self._empty.clear()
            UNSETTLED.inc()
            self._group.create_task(self._settle(settlement))

    async def settle(self, settlement: Settlement) -> Outcome:
        """End a hold now. When Postgres does not answer, it is kept and `Unavailable` is raised."""
        try:
            outcome = await self._ledger.settle(settlement)
        except Unavailable:
            self.keep(settlement)
            raise
        if self._on_committed:
            self._group.create_task(self._on_committed(settlement, outcome))
        return outcome

    async def drained(self, timeout_s: float) -> bool:
        """Wait until nothing is kept, at most `timeout_s`; False when something is left."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def _settle(self, settlement: Settlement) -> None:
        outcome = await self._until_committed(settlement)
        for _ in range(UNKNOWN_TRIES if settlement.hold_state == "released" else 0):
            if outcome != "unknown":
                break
            await asyncio.sleep(self._retry_s)  # its reservation may still be on its way through the database
            outcome = await self._until_committed(settlement)
        if settlement.charge_nano and outcome in {"unbilled", "unknown"}:
            log.error(
                "charge found no hold",
                alert=True,
                request_id=settlement.id,
                outcome=outcome,
                charge_nano=settlement.charge_nano,
            )
        elif outcome == "differs":
            log.error(
                "request charged with another amount before",
                alert=True,
                request_id=settlement.id,
                charge_nano=settlement.charge_nano,
            )
        elif outcome == "void":
            log.warning("void request not charged", request_id=settlement.id, charge_nano=settlement.charge_nano)
        if self._on_committed:
            await self._on_committed(settlement, outcome)
        del self._kept[settlement.id]
        self.answer_bytes -= len(settlement.answer or b"")
        UNSETTLED.dec()
        if not self._kept:
            self._empty.set()

    async def _until_committed(self, settlement: Settlement) -> Outcome:
        while True:
            try:
                return await self._ledger.settle(settlement)
            except RebootError as error:
                log.warning("settlement postponed", request_id=settlement.id, reason=error.message)
            except Exception:  # one that cannot be sent at all must not end the process, nor be forgotten
                log.exception("settlement cannot be sent", alert=True, request_id=settlement.id)
            await asyncio.sleep(self._retry_s)
