"""The ledger's history of one account: every transfer once, newest first, and a page costs about its own rows."""

from __future__ import annotations

import asyncpg
import pytest

from shared.errors import NotFound
from shared.ledger.accounts import credit_account
from shared.ledger.history import SQL, list_transfers
from shared.money import NanoUsd
from tests.integration.conftest import NewAccount
from tests.integration.ledger.plans import PLAN_CACHE_MODES, plan_of, rows_read

LIMIT = 50
PARTITIONS_MAX = 6
FILL = """
    INSERT INTO ledger (created_at, debit_account, credit_account, amount_nano, kind, request_id)
    SELECT now() - n * interval '1 second', 'acc_large', 'house', 1, 'capture', 'req_' || n FROM generate_series(1, 20000) n
"""


async def test_pages_are_every_transfer_of_the_account_newest_first(
    pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account, other = await new_account(100), await new_account(100)
    for number in range(1, 12):
        await credit_account(pool, account, NanoUsd(number if number % 2 else -1), ref=f"r{number}", note=None)
        await credit_account(pool, other, NanoUsd(7), ref=None, note=None)
    amounts: list[int] = []
    refs: list[str | None] = []
    cursor: str | None = None
    while True:
        page = await list_transfers(pool, account, cursor=cursor, limit=5)
        amounts += [transfer.amount_nano for transfer in page.transfers]
        refs += [transfer.ref for transfer in page.transfers]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert amounts == [11, -1, 9, -1, 7, -1, 5, -1, 3, -1, 1, 100]
    assert refs == [*(f"r{number}" for number in range(11, 0, -1)), None]


@pytest.mark.parametrize(
    "cursor", ["x", "1-", "-1", "1-x", "99999999999999999999999-1", "1" * 50, "１-１", "9" * 18 + "-1"]
)
async def test_what_is_no_cursor_leads_to_no_page(pool: asyncpg.Pool, new_account: NewAccount, cursor: str) -> None:
    with pytest.raises(NotFound):
        await list_transfers(pool, await new_account(1), cursor=cursor, limit=5)


@pytest.mark.parametrize("mode", PLAN_CACHE_MODES)
async def test_a_page_of_a_long_history_is_read_by_the_indexes_of_both_sides(pool: asyncpg.Pool, mode: str) -> None:
    await pool.execute(FILL)
    await pool.execute("ANALYZE ledger")
    arguments = f"'acc_large', '9999-01-01', 9223372036854775807, {LIMIT}"
    plan = await plan_of(pool, mode, SQL["page"], "text, timestamptz, bigint, integer", arguments)
    assert plan["Actual Rows"] == LIMIT
    assert rows_read(plan) <= LIMIT + PARTITIONS_MAX, plan
