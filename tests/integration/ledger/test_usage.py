"""Usage comes from the roll-up alone: by its primary key, and bounded, however many requests there were."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from datetime import date, timedelta

import asyncpg
import pytest

from api.endpoints.usage import Group, read_usage
from shared.errors import InvalidRequest, Unavailable
from shared.stores.postgres import load_queries
from tests.integration.conftest import a_database
from tests.integration.ledger.plans import PLAN_CACHE_MODES, plan_of, rows_read, scans_of

QUERIES = load_queries("usage")
ACCOUNTS = 1_000 if os.environ.get("PROOFS") else 100
DAYS, MODELS = 366, 5
LAST = date(2027, 12, 31)
FIRST = LAST - timedelta(days=DAYS - 1)
FILL = """
    SET session_replication_role = replica; -- no look-up of the account for each of the rows
    INSERT INTO accounts (id, name) SELECT 'acc_' || n, 'x' FROM generate_series(1, $accounts) n;
    INSERT INTO usage_by_day
    SELECT 'acc_' || a, date '$first' + d, 'model-' || m, 'key', 2, 1, 3, 4, 5, 6, 7
    FROM generate_series(0, $days - 1) d, generate_series(1, $models) m, generate_series(1, $accounts) a;
    RESET session_replication_role;
    VACUUM ANALYZE usage_by_day
"""
GROUPINGS: list[tuple[Group, ...]] = [("day",), ("model",), ("key",), ("day", "model", "key")]


@pytest.fixture(scope="module")
async def large(postgres_url: str, template_database: str) -> AsyncIterator[asyncpg.Pool]:
    """A year of many accounts with five models each: 183,000 rows, with PROOFS=1 1.8 million."""
    values = {"accounts": ACCOUNTS, "days": DAYS, "models": MODELS, "first": FIRST}
    async with (
        a_database(postgres_url, template_database) as url,
        asyncpg.create_pool(url, min_size=1, max_size=2) as connections,
    ):
        statements = FILL
        for name, value in values.items():
            statements = statements.replace(f"${name}", str(value))
        async with connections.acquire() as connection:
            for statement in statements.split(";\n"):
                await connection.execute(statement)
        yield connections


@pytest.mark.parametrize("mode", PLAN_CACHE_MODES)
@pytest.mark.parametrize("days", [1, 30, DAYS])
async def test_usage_reads_the_accounts_own_days_by_the_primary_key(large: asyncpg.Pool, mode: str, days: int) -> None:
    types = "text, date, date, boolean, boolean, boolean, integer"
    first = LAST - timedelta(days=days - 1)
    plan = await plan_of(large, mode, QUERIES["rows"], types, f"'acc_7', '{first}', '{LAST}', true, true, false, 20001")
    assert plan["Actual Rows"] == days * MODELS
    (scan,) = [node for node in scans_of(plan) if node["Relation Name"] == "usage_by_day"]
    assert scan.get("Index Name", "usage_by_day_pkey") == "usage_by_day_pkey"
    assert scan["Node Type"] in {"Index Scan", "Bitmap Heap Scan"}, plan
    assert rows_read(plan) <= days * MODELS + 1


async def test_usage_of_a_year_beside_many_accounts_is_exact_and_takes_this_long(
    large: asyncpg.Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    for group_by in GROUPINGS:
        begun = time.perf_counter()
        rows = await read_usage(large, "acc_7", FIRST, LAST, group_by, rows_max=20_000)
        took_ms = (time.perf_counter() - begun) * 1000
        assert sum(row.requests for row in rows) == 2 * DAYS * MODELS
        assert sum(row.charged_nano for row in rows) == 7 * DAYS * MODELS
        with capsys.disabled():
            print(f"\nusage of {DAYS} days by {','.join(group_by)}: {len(rows)} rows, {took_ms:.1f} ms")  # noqa: T201


async def test_more_rows_than_an_answer_may_have_are_refused_with_a_way_out(large: asyncpg.Pool) -> None:
    everything: tuple[Group, ...] = ("day", "model", "key")
    assert len(await read_usage(large, "acc_7", FIRST, LAST, everything, rows_max=DAYS * MODELS)) == DAYS * MODELS
    with pytest.raises(InvalidRequest, match="group_by"):
        await read_usage(large, "acc_7", FIRST, LAST, everything, rows_max=DAYS * MODELS - 1)


async def test_without_the_database_usage_is_unavailable(postgres_url: str) -> None:
    pool = await asyncpg.create_pool(postgres_url, min_size=1, max_size=1)
    await pool.close()
    with pytest.raises(Unavailable):
        await read_usage(pool, "acc_7", FIRST, LAST, GROUPINGS[0], rows_max=1)
