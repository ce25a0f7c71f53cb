"""The ledger under contention, and what the database refuses whoever asks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.errors import InsufficientCredit, Unavailable
from shared.ledger.accounts import credit_account
from shared.ledger.ledger import Ledger, settling
from shared.ledger.rows import Grant
from shared.money import NanoUsd
from shared.settings import Settings
from tests.harness.builders import a_release, a_reservation, a_settlement
from tests.harness.support import eventually_true
from tests.integration.books import (
    Wallet,
    assert_books_balance,
    limited_key,
    processes,
    reserve_all,
    somebody_waits_for_a_lock,
    wallet,
)
from tests.integration.conftest import NewAccount

ENDED = "UPDATE requests SET hold_state = 'settled', state = 'succeeded', ended_at = now()"


@contextlib.asynccontextmanager
async def _locked(pool: asyncpg.Pool, account: str) -> AsyncIterator[None]:
    """Keep somebody else's lock on the account."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", account)
        yield


async def test_a_locked_account_keeps_only_its_own_rows_waiting(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    locked, *free = [await new_account(1_000) for _ in range(3)]
    async with _locked(pool, locked):
        reservations = [a_reservation(account) for account in (locked, *free)]
        refused, *granted = await reserve_all(ledger, *reservations)
        assert isinstance(refused, Unavailable)
        assert [type(outcome) for outcome in granted] == [Grant, Grant]
        outcomes = await asyncio.gather(
            *(ledger.settle(a_settlement(reservation, charge=7)) for reservation in reservations),
            return_exceptions=True,
        )
        assert isinstance(outcomes[0], Unavailable)
        assert outcomes[1:] == ["settled", "settled"]
    assert await ledger.settle(a_settlement(reservations[0])) == "unknown"


async def test_a_reservation_that_waited_for_a_settlement_sees_what_it_gave_back(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(100)
    first = a_reservation(account, 100)
    await ledger.reserve(first)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(*settling([a_release(first)]))
        waiting = asyncio.ensure_future(ledger.reserve(a_reservation(account, 100)))
        await eventually_true(lambda: somebody_waits_for_a_lock(pool), "the reservation waits for the account")
        await transaction.commit()
    assert await waiting == Grant(NanoUsd(100), 1)


async def test_parallel_requests_from_several_processes_never_pass_the_credit(
    pool: asyncpg.Pool, settings: Settings, new_account: NewAccount
) -> None:
    affordable, hold = 37, 1_000_000_007
    credit = affordable * hold + hold - 1
    account = await new_account(credit)
    async with processes(settings, 5) as ledgers:
        for _ in range(2):  # after every hold has been released nothing is refused that was not before
            reservations = [a_reservation(account, hold) for _ in range(400)]
            outcomes = await asyncio.gather(
                *(ledgers[i % 5].reserve(row) for i, row in enumerate(reservations)), return_exceptions=True
            )
            admitted = [row for row, outcome in zip(reservations, outcomes, strict=True) if isinstance(outcome, Grant)]
            assert len(admitted) == affordable
            assert sum(isinstance(outcome, InsufficientCredit) for outcome in outcomes) == 400 - affordable
            assert await wallet(pool, account) == Wallet(credit, affordable * hold, affordable)
            await asyncio.gather(*(ledgers[i % 5].settle(a_release(row)) for i, row in enumerate(admitted)))
            assert await wallet(pool, account) == Wallet(credit, 0, 0)
    await assert_books_balance(pool)


async def test_reserving_settling_and_crediting_one_account_at_once_loses_not_a_nano_dollar(
    pool: asyncpg.Pool, settings: Settings, new_account: NewAccount
) -> None:
    account, hold, charge = await new_account(10_000), 500, 123
    spent = credited = 0
    async with processes(settings, 4) as ledgers:

        async def onerequest_row(number: int) -> int:
            reservation = a_reservation(account, hold)
            try:
                await ledgers[number % 4].reserve(reservation)
            except InsufficientCredit:
                return 0
            await ledgers[(number + 1) % 4].settle(a_settlement(reservation, charge=charge))
            return charge

        async def one_credit() -> int:
            await credit_account(pool, account, NanoUsd(77), ref=None, note=None)
            return 77

        results = await asyncio.gather(*(onerequest_row(i) for i in range(200)), *(one_credit() for _ in range(50)))
        spent, credited = sum(results[:200]), sum(results[200:])
    assert spent > 0
    assert await wallet(pool, account) == Wallet(10_000 + credited - spent, 0, 0)
    await assert_books_balance(pool)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE accounts SET held_nano = balance_nano + 1 WHERE id = $1",
        "UPDATE accounts SET balance_nano = held_nano - 1 WHERE id = $1",
        "UPDATE accounts SET held_nano = -1 WHERE id = $1",
        "UPDATE accounts SET in_flight = -1 WHERE id = $1",
        f"{ENDED}, charged_nano = hold_nano + 1 WHERE account_id = $1",
        "UPDATE requests SET charged_nano = -1 WHERE account_id = $1",
        "UPDATE requests SET charged_nano = 1 WHERE account_id = $1",
        "UPDATE requests SET hold_state = 'released' WHERE account_id = $1",
        "UPDATE requests SET state = 'succeeded', ended_at = now() WHERE account_id = $1",
        "UPDATE api_keys SET used_nano = limit_nano + 1 WHERE account_id = $1",
        "INSERT INTO ledger (debit_account, credit_account, amount_nano, kind) VALUES ($1, $1, 1, 'credit')",
        "INSERT INTO ledger (debit_account, credit_account, amount_nano, kind) VALUES ('house:funding', $1, -1, 'credit')",
        "INSERT INTO ledger (debit_account, credit_account, amount_nano, kind) VALUES ($1, 'house:revenue', 1, 'capture')",
    ],
)
async def test_no_hand_written_statement_can_overspend(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount, change: str
) -> None:
    account = await new_account(1_000)
    await ledger.reserve(a_reservation(account, key_id=await limited_key(pool, account, limit=500)))
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute(change, account)


@pytest.mark.parametrize(
    "change", ["UPDATE ledger SET amount_nano = 1", "DELETE FROM ledger", "UPDATE ledger SET note = 'x'"]
)
async def test_the_ledger_is_append_only(pool: asyncpg.Pool, new_account: NewAccount, change: str) -> None:
    account = await new_account(1_000)
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await pool.execute(f"{change} WHERE credit_account = $1", account)
    assert await pool.fetchval("SELECT amount_nano FROM ledger WHERE credit_account = $1", account) == 1_000
