"""Keeps settlements until Postgres has committed them, however long Postgres is away.

Workers hand in settlements, of which Redis has a second copy, the settle record. Front doors hand in releases of holds
whose request did not reach the queue, or is taken back. Memory is bounded by the requests that a process can have in flight.
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
    from shared.ledger.settlement import Outcome, Settlement

log = structlog.get_logger(__name__)
UNKNOWN_TRIES = 15
Committed = Callable[["Settlement", "Outcome"], Coroutine[Any, Any, None]]


class Settler:
    """`settle_soon(settlement)` returns at once; tasks of `group` send the settlement until it is committed. After the commit
    `on_committed(settlement, outcome)` is awaited, which puts the settle record aside. That is best effort: a record that
    stays is settled again by a sweep, without effect.
    """

    def __init__(
        self, ledger: Ledger, group: asyncio.TaskGroup, *, retry_s: float, on_committed: Committed | None = None
    ) -> None:
        self._ledger = ledger
        self._group = group
        self._retry_s = retry_s
        self._on_committed = on_committed
        self._uncommitted: dict[str, Settlement] = {}
        self.answer_bytes = 0
        """Bytes of the answers that wait for their commit."""
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._uncommitted)

    def settle_soon(self, settlement: Settlement) -> None:
        """Take over a settlement. The same request again is ignored while the first is under way."""
        if settlement.id not in self._uncommitted:
            self._uncommitted[settlement.id] = settlement
            self.answer_bytes += len(settlement.answer or b"")
            self._empty.clear()
            UNSETTLED.inc()
            self._group.create_task(self._settle(settlement))

    async def settle(self, settlement: Settlement) -> Outcome:
        """End a hold now. If Postgres does not answer, it is settled later, and `Unavailable` is raised."""
        try:
            outcome = await self._ledger.settle(settlement)
        except Unavailable:
            self.settle_soon(settlement)
            raise
        if self._on_committed:
            self._group.create_task(self._on_committed(settlement, outcome))
        return outcome

    async def drained(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` until everything is committed; False if something is left."""
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
            await asyncio.sleep(self._retry_s)  # the reservation may not be committed yet
            outcome = await self._until_committed(settlement)
        _report(settlement, outcome)
        if self._on_committed:
            await self._on_committed(settlement, outcome)
        del self._uncommitted[settlement.id]
        self.answer_bytes -= len(settlement.answer or b"")
        UNSETTLED.dec()
        if not self._uncommitted:
            self._empty.set()

    async def _until_committed(self, settlement: Settlement) -> Outcome:
        while True:
            try:
                return await self._ledger.settle(settlement)
            except RebootError as error:
                log.warning("settlement postponed", request_id=settlement.id, reason=error.message)
            except Exception:  # a settlement that cannot be sent must neither end the process nor be forgotten
                log.exception("settlement cannot be sent", alert=True, request_id=settlement.id)
            await asyncio.sleep(self._retry_s)


def _report(settlement: Settlement, outcome: Outcome) -> None:
    """Log an outcome that should not be; an operator is alerted if money may be missing."""
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
