from __future__ import annotations

import asyncio

import asyncpg
import pytest
from msgspec.structs import asdict

from shared.errors import Conflict, InvalidRequest, NotFound
from shared.ids import new_id
from shared.ledger.accounts import create_account, credit_account, find_account, list_accounts
from shared.ledger.ledger import Ledger
from shared.money import USD_MAX, NanoUsd, usd_to_nano
from tests.harness.builders import a_reservation
from tests.integration.books import assert_books_balance
from tests.integration.conftest import NewAccount


async def _credit(pool: asyncpg.Pool, account: str, amount: int, ref: str | None = None) -> int:
    return (await credit_account(pool, account, NanoUsd(amount), ref=ref, note="why")).balance


async def test_a_new_account_has_its_opening_credit_in_the_books(pool: asyncpg.Pool) -> None:
    account = await create_account(pool, "Müller & Söhne", usd_to_nano("12.5"))
    assert await find_account(pool, account.id) == account
    assert account in await list_accounts(pool)
    assert asdict(account.public()) == {
        "account_id": account.id,
        "name": "Müller & Söhne",
        "balance_usd": "12.5",
        "held_usd": "0",
        "available_usd": "12.5",
    }
    await assert_books_balance(pool)


@pytest.mark.parametrize(("name", "credit"), [("", 0), ("x" * 201, 0), ("nul\0", 0), ("someone", -1)])
async def test_an_account_without_a_proper_name_or_with_a_debt_is_refused(
    pool: asyncpg.Pool, name: str, credit: int
) -> None:
    with pytest.raises(InvalidRequest):
        await create_account(pool, name, NanoUsd(credit))


async def test_an_account_that_does_not_exist_is_not_found(pool: asyncpg.Pool) -> None:
    with pytest.raises(NotFound):
        await find_account(pool, new_id("acc"))
    with pytest.raises(NotFound):
        await _credit(pool, new_id("acc"), 5)


async def test_credit_is_added_and_taken_back(pool: asyncpg.Pool, new_account: NewAccount) -> None:
    account = await new_account(100)
    assert await _credit(pool, account, 50) == 150
    assert await _credit(pool, account, -150) == 0
    with pytest.raises(InvalidRequest):
        await _credit(pool, account, 0)
    await assert_books_balance(pool)


async def test_what_running_requests_hold_cannot_be_taken_back(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(100)
    await ledger.reserve(a_reservation(account, 30))
    with pytest.raises(Conflict):
        await _credit(pool, account, -71)
    assert await _credit(pool, account, -70) == 30


async def test_a_reference_credits_once_even_at_the_same_time(pool: asyncpg.Pool, new_account: NewAccount) -> None:
    account, other = await new_account(0), await new_account(0)
    await asyncio.gather(*(_credit(pool, account, 5, ref="invoice-1") for _ in range(20)))
    assert (await find_account(pool, account)).balance == 5
    assert await _credit(pool, account, 5, ref="invoice-2") == 10
    assert await _credit(pool, other, 5, ref="invoice-1") == 5
    await assert_books_balance(pool)


async def test_a_refused_credit_does_not_use_up_its_reference(pool: asyncpg.Pool, new_account: NewAccount) -> None:
    account = await new_account(10)
    with pytest.raises(Conflict):
        await _credit(pool, account, -11, ref="refund-1")
    assert await _credit(pool, account, -10, ref="refund-1") == 0


async def test_a_balance_that_no_account_can_hold_is_refused(pool: asyncpg.Pool, new_account: NewAccount) -> None:
    account = await new_account(0)
    most = usd_to_nano(USD_MAX)
    for _ in range(9):
        await _credit(pool, account, most)
    with pytest.raises(InvalidRequest):
        await _credit(pool, account, most)


async def test_every_credit_is_an_entry_with_its_reason(pool: asyncpg.Pool, new_account: NewAccount) -> None:
    account = await new_account(0)
    await _credit(pool, account, 50, ref="invoice-1")
    await _credit(pool, account, -20)
    query = (
        "SELECT debit_account, credit_account, amount_nano, kind, ref, note FROM ledger"
        " WHERE $1 IN (debit_account, credit_account) ORDER BY id"
    )
    assert [tuple(row) for row in await pool.fetch(query, account)] == [
        ("house:funding", account, 50, "credit", "invoice-1", "why"),
        (account, "house:funding", 20, "take_back", None, "why"),
    ]


async def test_a_reference_is_not_reused_for_another_amount(pool: asyncpg.Pool, new_account: NewAccount) -> None:
    account = await new_account(0)
    await credit_account(pool, account, NanoUsd(5), ref="payment", note=None)
    with pytest.raises(Conflict):
        await credit_account(pool, account, NanoUsd(7), ref="payment", note=None)
    with pytest.raises(InvalidRequest):
        await credit_account(pool, account, NanoUsd(7), ref=" ", note=None)
    assert (await find_account(pool, account)).balance == 5
