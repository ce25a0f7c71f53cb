"""`rebootml db size`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from deploy.cli.size import table_sizes
from shared.clock import utc_now
from shared.ledger.accounts import create_account, credit_account
from shared.money import NanoUsd
from tests.integration.deploy.test_cli import Cli


@pytest.fixture
async def fresh_pool(fresh_database_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(fresh_database_url, min_size=1, max_size=2) as pool:
        yield pool


async def test_rows_and_bytes_are_told_by_table_and_month(
    fresh_database_url: str, fresh_pool: asyncpg.Pool, tmp_path: Path
) -> None:
    account = await create_account(fresh_pool, "someone", NanoUsd(5))
    await credit_account(fresh_pool, account.id, NanoUsd(5), ref=None, note=None)
    cli = Cli(tmp_path, DATABASE_URL=fresh_database_url)
    rows = {(row["table"], row["month"]): row for row in cli.json("db", "size")}
    assert rows["accounts", None]["rows"] == 1
    assert rows["ledger", f"{utc_now():%Y-%m}"]["rows"] == 2
    assert all(row["bytes"] > 0 for row in rows.values() if row["rows"])
    assert sum(month is not None for table, month in rows if table == "batch_items") in {1, 2}  # its days, by months
    shown = cli("db", "size").out
    assert "total" in shown
    assert "ledger" in shown


async def test_large_tables_are_not_counted(fresh_pool: asyncpg.Pool) -> None:
    await create_account(fresh_pool, "someone", NanoUsd(0))
    await fresh_pool.execute("ANALYZE accounts")
    await create_account(fresh_pool, "another", NanoUsd(0))
    (size,) = [one for one in await table_sizes(fresh_pool, counted_bytes_max=1) if one.table == "accounts"]
    assert (size.rows, size.estimated) == (1, True)
