"""What tests of the ledger ask the books, and how they let several processes at them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import NamedTuple

import asyncpg
import msgspec

from shared.ids import new_id
from shared.ledger.api_keys import KeyRules, create_key
from shared.ledger.check import check_ledger
from shared.ledger.ledger import Ledger
from shared.ledger.rows import Grant, Repeat, Reservation
from shared.money import NanoUsd
from shared.settings import Settings
from shared.stores import postgres
from tests.integration.conftest import running


class Wallet(NamedTuple):
    balance: int
    held: int
    in_flight: int


async def wallet(pool: asyncpg.Pool, account: str) -> Wallet:
    row = await pool.fetchrow("SELECT balance_nano, held_nano, in_flight FROM accounts WHERE id = $1", account)
    assert row is not None
    return Wallet(row["balance_nano"], row["held_nano"], row["in_flight"])


async def old_account(pool: asyncpg.Pool, credit: int) -> str:
    """An account of so many nano-USD, made as a release does that writes no audit log."""
    account_id = new_id("acc")
    await pool.execute("INSERT INTO accounts (id, name) VALUES ($1, 'someone')", account_id)
    await pool.execute("SELECT credit($1, $2, NULL, NULL)", account_id, credit)
    return account_id


async def request_row(pool: asyncpg.Pool, reservation: Reservation) -> asyncpg.Record:
    row = await pool.fetchrow("SELECT * FROM requests WHERE id = $1", reservation.id)
    assert row is not None
    return row


async def limited_key(pool: asyncpg.Pool, account: str, limit: int) -> str:
    return (await create_key(pool, account, KeyRules(limit=NanoUsd(limit)))).key_id


async def reserve_all(ledger: Ledger, *reservations: Reservation) -> list[Grant | Repeat | BaseException]:
    """In one batch; the answers and refusals in the same order."""
    return await asyncio.gather(*(ledger.reserve(reservation) for reservation in reservations), return_exceptions=True)


async def assert_books_balance(pool: asyncpg.Pool) -> None:
    report = await check_ledger(pool)
    assert report.ok, report.violations


async def somebody_waits_for_a_lock(pool: asyncpg.Pool) -> bool:
    return bool(
        await pool.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
        )
    )


@contextlib.asynccontextmanager
async def processes(settings: Settings, number: int) -> AsyncIterator[list[Ledger]]:
    """Ledgers as `number` processes have them: each with connections and writers of its own, and many small batches."""
    patient = msgspec.structs.replace(settings, lock_timeout_s=10.0, micro_batch_rows_max=7)
    async with contextlib.AsyncExitStack() as stack:
        ledgers = []
        for _ in range(number):
            pool = await stack.enter_async_context(await postgres.connect(patient, application="tests"))
            ledgers.append(Ledger(pool, patient))
            await stack.enter_async_context(running(ledgers[-1].run_reserve(), ledgers[-1].run_settle()))
        yield ledgers
