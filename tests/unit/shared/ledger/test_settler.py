from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import structlog

from shared.errors import Unavailable
from shared.ledger.settlement import Outcome, Settlement
from shared.ledger.settler import Settler
from shared.runtime.tasks import background_tasks
from tests.harness.builders import a_release, a_reservation, a_settlement
from tests.harness.support import eventually


class FlakyLedger:
    """Raises what it was told to, in that order; then it settles."""

    def __init__(self, *errors: Exception, outcome: Outcome = "settled") -> None:
        self.errors = list(errors)
        self.outcome = outcome
        self.tried: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def settle(self, settlement: Settlement) -> Outcome:
        self.tried.append(settlement.id)
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        return self.outcome


@contextlib.asynccontextmanager
async def _settling(ledger: FlakyLedger, committed: list[str]) -> AsyncIterator[Settler]:
    async def on_committed(settlement: Settlement, outcome: Outcome) -> None:
        assert outcome == ledger.outcome
        committed.append(settlement.id)

    async with background_tasks() as group:
        yield Settler(ledger, group, retry_s=0.001, on_committed=on_committed)  # type: ignore[arg-type] # a hand-written fake


def _settlement(charge: int = 0) -> Settlement:
    return a_settlement(a_reservation("acc_x"), charge)


async def test_a_settlement_is_sent_until_it_is_committed() -> None:
    ledger, committed = FlakyLedger(Unavailable("away"), Unavailable("away")), list[str]()
    settlement = _settlement()
    async with _settling(ledger, committed) as settler:
        settler.settle_soon(settlement)
        assert len(settler) == 1
        assert await settler.drained(10)
    assert ledger.tried == [settlement.id] * 3
    assert committed == [settlement.id]
    assert len(settler) == 0


async def test_one_that_cannot_be_sent_is_neither_forgotten_nor_the_end_of_the_others() -> None:
    ledger, committed = FlakyLedger(TypeError("nobody thought of this")), list[str]()
    first, second = _settlement(), _settlement()
    async with _settling(ledger, committed) as settler:
        settler.settle_soon(first)
        settler.settle_soon(second)
        assert await settler.drained(10)
    assert sorted(committed) == sorted([first.id, second.id])


async def test_the_same_request_is_kept_once_while_it_is_under_way() -> None:
    ledger, committed = FlakyLedger(), list[str]()
    ledger.open.clear()
    settlement = _settlement()
    async with _settling(ledger, committed) as settler:
        for _ in range(3):
            settler.settle_soon(settlement)
        ledger.open.set()
        assert await settler.drained(10)
        settler.settle_soon(settlement)
        assert await settler.drained(10)
    assert committed == [settlement.id] * 2


async def test_what_cannot_be_settled_now_is_kept_and_its_caller_knows() -> None:
    ledger, committed = FlakyLedger(Unavailable("away")), list[str]()
    first, second = _settlement(), _settlement()
    async with _settling(ledger, committed) as settler:
        with pytest.raises(Unavailable):
            await settler.settle(first)
        assert await settler.drained(10)
        assert committed == [first.id]
        assert await settler.settle(second) == "settled"
        await eventually(lambda: committed == [first.id, second.id], "both are put aside")
    assert ledger.tried == [first.id, first.id, second.id]


async def test_waiting_for_the_last_one_has_an_end() -> None:
    ledger = FlakyLedger()
    ledger.open.clear()
    async with _settling(ledger, []) as settler:
        assert await settler.drained(0.01)
        settler.settle_soon(_settlement())
        assert not await settler.drained(0.01)


@pytest.mark.parametrize(
    ("outcome", "charge", "alerts"),
    [("unbilled", 5, 1), ("unknown", 5, 1), ("void", 5, 0), ("repeated", 5, 0), ("differs", 5, 1), ("unknown", 0, 0)],
)
async def test_a_charge_that_found_no_hold_is_an_alert(outcome: Outcome, charge: int, alerts: int) -> None:
    with structlog.testing.capture_logs() as logs:
        async with _settling(FlakyLedger(outcome=outcome), []) as settler:
            settler.settle_soon(_settlement(charge) if charge else a_release(a_reservation("acc_x")))
            assert await settler.drained(10)
    assert sum(bool(entry.get("alert")) for entry in logs) == alerts
