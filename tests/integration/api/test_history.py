"""An account's history, over months: pages are complete and in order, and reading one costs about its own rows."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from api.requests.log import Search, find_request, list_requests, search_requests
from shared.errors import NotFound
from shared.ids import new_id
from shared.ledger.ledger import Ledger
from shared.stores.postgres import load_queries
from tests.harness.builders import a_reservation
from tests.integration.books import reserve_all
from tests.integration.conftest import NewAccount, a_database
from tests.integration.ledger.plans import PLAN_CACHE_MODES, nodes_of, plan_of, rows_read, scans_of

QUERIES = load_queries("request_log")
LIMIT = 50
MONTHS = 6
ROWS_MAX = 1_000
PARTITIONS_MAX = MONTHS + 5  # the coming months and the default one
FILL = """
    DO $$ BEGIN
        FOR month IN 1..5 LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF requests FOR VALUES FROM (%L) TO (%L)', 'requests_old_' || month,
                date_trunc('month', now()) - make_interval(months => month),
                date_trunc('month', now()) - make_interval(months => month - 1));
        END LOOP;
    END $$;
    INSERT INTO requests (id, created_at, account_id, key_id, model, upstream, provider, api, lane, stream,
        price_version, input_price, output_price, input_bound, output_limit, hold_nano, deadline_at, expires_at,
        state, hold_state, ended_at)
    SELECT 'req_' || n, date_trunc('month', now()) + interval '1 day' - n * interval '59 seconds',
        CASE WHEN n % 2 = 0 THEN 'acc_large' ELSE 'acc_' || n % 5000 END, 'k', 'm', 'm', 'openai', 'x', 'batch', true,
        'v', 1, 1, 1, 1, 1, now(), now(), 'failed', 'released', now() FROM generate_series(1, 210000) n;
    ANALYZE requests;
"""


@pytest.fixture(scope="module")
async def months(postgres_url: str, template_database: str) -> AsyncIterator[asyncpg.Pool]:
    """210,000 requests of five months, half of them of one account."""
    async with (
        a_database(postgres_url, template_database) as url,
        asyncpg.create_pool(url, min_size=1, max_size=2) as connections,
    ):
        await connections.execute("SET timezone = 'UTC'")
        await connections.execute(FILL)
        yield connections


@pytest.mark.parametrize("mode", PLAN_CACHE_MODES)
@pytest.mark.parametrize("before", ["'9999-01-01', '~'", "now() - interval '70 days', 'req_5'"], ids=["first", "later"])
async def test_a_page_reads_about_its_own_rows_by_the_index_of_each_month(
    months: asyncpg.Pool, mode: str, before: str
) -> None:
    types = "text, timestamptz, text, integer"
    plan = await plan_of(months, mode, QUERIES["page"], types, f"'acc_large', {before}, {LIMIT}")
    assert plan["Actual Rows"] == LIMIT
    assert {node["Node Type"] for node in scans_of(plan)} == {"Index Scan"}
    assert all(node["Index Name"].endswith("_account_id_created_at_idx") for node in scans_of(plan))
    assert rows_read(plan) <= LIMIT + PARTITIONS_MAX, plan
    assert "Sort" not in {node["Node Type"] for node in nodes_of(plan)}  # an incremental one sorts equal moments only


@pytest.mark.parametrize("mode", PLAN_CACHE_MODES)
async def test_a_search_looks_through_as_many_requests_as_it_may_and_no_more(months: asyncpg.Pool, mode: str) -> None:
    types = "text, timestamptz, text, integer, integer, text, text"
    arguments = f"'acc_large', '9999-01-01', '~', {LIMIT}, {ROWS_MAX}, 'succeeded', 'rare'"
    plan = await plan_of(months, mode, QUERIES["search"], types, arguments)
    assert plan["Actual Rows"] == 0
    assert {node["Node Type"] for node in scans_of(plan)} == {"Index Scan"}
    assert rows_read(plan) <= ROWS_MAX + PARTITIONS_MAX, plan


@pytest.mark.parametrize("mode", PLAN_CACHE_MODES)
async def test_one_request_is_looked_up_in_one_partition(months: asyncpg.Pool, mode: str) -> None:
    moment = await months.fetchval("SELECT created_at FROM requests WHERE id = 'req_150000'")
    arguments = f"'req_150000', '{moment.isoformat()}', 'acc_large'"
    plan = await plan_of(months, mode, QUERIES["find"], "text, timestamptz, text", arguments)
    (scan,) = scans_of(plan)
    assert (scan["Node Type"], rows_read(plan), plan["Actual Rows"]) == ("Index Scan", 1, 1)


async def test_pages_are_the_whole_history_newest_first_also_within_one_millisecond(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account, other = await new_account(10_000), await new_account(10_000)
    moments = [1_790_000_000_000 + number // 5 for number in range(23)]
    reservations = [a_reservation(account, id=new_id("req", moment)) for moment in moments]
    await reserve_all(ledger, *reservations, *(a_reservation(other, id=new_id("req", moments[0])) for _ in range(3)))
    found: list[str] = []
    while page := await list_requests(pool, account, after=found[-1] if found else None, limit=4):
        found += [request.id for request in page]
    expected = sorted(reservations, key=lambda row: (row.created_at, row.id), reverse=True)
    assert found == [row.id for row in expected]


@pytest.mark.parametrize("rows_max", [1, 5, 100])
async def test_a_search_finds_all_that_fit_however_many_it_looks_through_at_once(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount, rows_max: int
) -> None:
    account = await new_account(10_000)
    models = ("one-small", "two-large")
    reservations = [a_reservation(account, model=models[number % 2]) for number in range(22)]
    await reserve_all(ledger, *reservations)
    found: list[str] = []
    cursor: str | None = None
    while True:
        search = Search(state="pending", text="LARGE")
        page = await search_requests(pool, account, search, after=cursor, limit=4, rows_max=rows_max)
        found += [request.id for request in page.requests]
        cursor = page.next_cursor
        if cursor is None:
            break
    wanted = [row for row in reservations if row.model == "two-large"]
    assert found == [row.id for row in sorted(wanted, key=lambda row: (row.created_at, row.id), reverse=True)]
    nothing = await search_requests(pool, account, Search(state="failed"), after=None, limit=4, rows_max=100)
    assert nothing == ([], None)


async def test_a_request_is_found_by_its_account_only(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account, other = await new_account(1_000), await new_account(1_000)
    reservation = a_reservation(account)
    await ledger.reserve(reservation)
    assert (await find_request(pool, account, reservation.id)).id == reservation.id
    for stranger, request_id in ((other, reservation.id), (account, new_id("req")), (account, "req_\0")):
        with pytest.raises(NotFound):
            await find_request(pool, stranger, request_id)
