"""Where the rows of requests and ledger lie, and that the hot queries find them by an index."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest

from shared.ids import new_id
from shared.ledger.accounts import create_account
from shared.ledger.ledger import Ledger, settling
from shared.money import NanoUsd
from shared.settings import Settings
from shared.stores.postgres import load_queries
from tests.harness.builders import a_reservation, a_settlement, repeatable
from tests.integration.books import Wallet, wallet
from tests.integration.conftest import NewAccount, a_database, running


async def test_rows_land_in_the_partition_of_their_month(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    reservation = a_reservation(account)
    await ledger.reserve(reservation)
    await ledger.settle(a_settlement(reservation, charge=1))
    month = f"{reservation.created_at:_%Y_%m}"
    assert await pool.fetchval("SELECT tableoid::regclass::text FROM requests WHERE id = $1", reservation.id) == (
        f"requests{month}"
    )
    tables = await pool.fetch(
        "SELECT DISTINCT tableoid::regclass::text AS name FROM ledger WHERE debit_account = $1", account
    )
    assert [row["name"] for row in tables] == [f"ledger{datetime.now(UTC):_%Y_%m}"]


@pytest.mark.parametrize("age", [timedelta(days=400), timedelta(days=-400)])
async def test_a_month_without_a_partition_is_kept_in_the_default_one_and_settles_there(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount, age: timedelta
) -> None:
    account = await new_account(1_000)
    moment = datetime.now(UTC) - age
    reservation = a_reservation(account, id=new_id("req", int(moment.timestamp() * 1000)))
    await ledger.reserve(reservation)
    row = await pool.fetchval("SELECT tableoid::regclass::text FROM requests WHERE id = $1", reservation.id)
    assert row == "requests_default"
    assert await ledger.settle(a_settlement(reservation, charge=10)) == "settled"
    assert await wallet(pool, account) == Wallet(990, 0, 0)


@pytest.fixture
async def fresh_pool(fresh_database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A database whose partitions nobody else extends."""
    async with asyncpg.create_pool(fresh_database_url, min_size=1, max_size=4) as connections:
        yield connections


async def test_partitions_are_made_once(fresh_pool: asyncpg.Pool) -> None:
    assert await fresh_pool.fetchval("SELECT ensure_partitions(3)") == 0
    assert await fresh_pool.fetchval("SELECT ensure_partitions(5)") == 4  # two months, of requests and of the ledger
    assert await fresh_pool.fetchval("SELECT ensure_partitions(5)") == 0


async def test_rows_that_came_before_their_partition_stay_and_do_not_stop_the_others_from_being_made(
    fresh_pool: asyncpg.Pool, settings: Settings
) -> None:
    early = await fresh_pool.fetchval("SELECT now() + interval '4 months'")
    account = (await create_account(fresh_pool, "someone", NanoUsd(1_000))).id
    books = Ledger(fresh_pool, settings)
    async with running(books.run_reserve(), books.run_settle()):
        for made in (3, 0):  # of the ledger two months, of requests only the one without rows
            reservation = a_reservation(account, id=new_id("req", int(early.timestamp() * 1000)))
            await books.reserve(reservation)
            assert await fresh_pool.fetchval("SELECT ensure_partitions(5)") == made
            assert await books.settle(a_settlement(reservation, charge=10)) == "settled"
    assert await wallet(fresh_pool, account) == Wallet(980, 0, 0)
    assert await fresh_pool.fetchval("SELECT count(*) FROM requests_default") == 2


@pytest.fixture(scope="module")
async def busy_pool(postgres_url: str, template_database: str) -> AsyncIterator[asyncpg.Pool]:
    """A database with so many rows that reading a whole table would be the wrong plan."""
    async with (
        a_database(postgres_url, template_database) as url,
        asyncpg.create_pool(url, min_size=1, max_size=2) as connections,
    ):
        await connections.execute("""
            INSERT INTO accounts (id, name, balance_nano) SELECT 'acc_' || n, 'x', 1000 FROM generate_series(1, 5000) n;
            INSERT INTO api_keys (id, account_id, name, secret_sha256, scopes, limit_nano)
            SELECT 'key_' || n, 'acc_' || n, '', sha256(n::text::bytea), '{}', 1000 FROM generate_series(1, 5000) n;
            INSERT INTO requests (id, created_at, account_id, key_id, model, upstream, provider, api, lane, stream,
                price_version, input_price, output_price, input_bound, output_limit, hold_nano, deadline_at, expires_at,
                state, hold_state, ended_at)
            SELECT 'req_' || n, now(), 'acc_' || n % 5000, 'key_' || n % 5000, 'm', 'm', 'openai', 'x', 'batch', true,
                'v', 1, 1, 1, 1, 1, now(), now(), 'failed', 'released', now() FROM generate_series(1, 20000) n;
            INSERT INTO idempotency_keys SELECT 'acc_' || 1 + n % 5000, sha256(n::text::bytea), sha256(''), 'req_' || n,
                now(), now() + interval '1 day' FROM generate_series(1, 20000) n;
            INSERT INTO answers SELECT 'req_' || n, '', now() + interval '1 day' FROM generate_series(1, 20000) n;
            INSERT INTO usage_by_day SELECT 'acc_' || 1 + n % 5000, now()::date - n / 5000, 'm', 'k', 1, 1, 0, 0, 0, 0, 0
            FROM generate_series(1, 20000) n;
            ANALYZE;
        """)
        yield connections


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (load_queries("ledger")["expired_holds"].replace("$1", "500"), "_expires_at_idx"),
        (load_queries("credentials")["find"].replace("$1", "'key_7'"), "api_keys_pkey"),
        (
            load_queries("credentials")["list"].replace("$1", "'acc_7'").replace("$2", "2000"),
            "api_keys_by_account",
        ),
        (load_queries("credentials")["count_usable"].replace("$1", "'acc_7'"), "api_keys_by_account"),
        (load_queries("credentials")["ended_lately"].replace("$1", "720"), "api_keys_revoked"),
        (load_queries("request_log")["answer"].replace("$1", "'req_7'").replace("$2", "now()"), "answers_pkey"),
        (load_queries("accounts")["find"].replace("$1", "'acc_7'"), "accounts_pkey"),
        (
            "SELECT * FROM requests WHERE account_id = 'acc_7' ORDER BY created_at DESC LIMIT 20",
            "_account_id_created_at_idx",
        ),
    ],
)
async def test_a_hot_query_uses_its_index(busy_pool: asyncpg.Pool, query: str, index: str) -> None:
    plan = "\n".join(row[0] for row in await busy_pool.fetch(f"EXPLAIN {query}"))
    assert index in plan, plan
    assert f"Seq Scan on requests{datetime.now(UTC):_%Y_%m}" not in plan, plan


async def test_reserving_and_settling_read_no_table_as_a_whole_and_no_other_month(busy_pool: asyncpg.Pool) -> None:
    reservations, again = (
        [a_reservation(f"acc_{number}", key_id=f"key_{number}", **repeatable()) for number in range(1, 20)]
        for _ in range(2)
    )
    settlements = [a_settlement(row, charge=1, answer=b"x", keep_until=row.keep_until) for row in reservations]
    reserve = load_queries("ledger")["reserve"]
    async with busy_pool.acquire() as connection, connection.transaction():
        await connection.execute(reserve, _json(reservations), 1_000)
        repeats = await connection.fetch(reserve, _json(again), 1_000)
        await connection.fetch(*settling(settlements))
        scans = await connection.fetch("SELECT relname, seq_scan, idx_scan FROM pg_stat_xact_user_tables")
    assert {row["outcome"] for row in repeats} == {"repeat"}
    by_table = {row["relname"]: (row["seq_scan"], row["idx_scan"]) for row in scans}
    month = f"requests{datetime.now(UTC):_%Y_%m}"
    for name in ("accounts", "api_keys", "idempotency_keys", month):
        read_whole, looked_up = by_table[name]
        assert (read_whole, looked_up > 0) == (0, True), name
    assert all(by_table[name][0] == 0 for name in ("usage_by_day", "answers"))
    other_months = [name for name in by_table if name.startswith("requests_") and name != month]
    assert [by_table[name] for name in other_months] == [(0, 0)] * len(other_months)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
