"""`ledger check` notices every kind of violation: each is planted by hand, past the database's own guards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, NamedTuple, cast

import asyncpg
import msgspec
import pytest

from shared.ledger.accounts import create_account
from shared.ledger.check import UpstreamBooks, check_ledger
from shared.ledger.ledger import Ledger
from shared.ledger.pinned_price import pinned
from shared.ledger.settlement import LostCall
from shared.money import LongContext, NanoUsd, Price
from shared.settings import Settings
from shared.stores.postgres import load_queries
from tests.harness.builders import NANO_PER_TOKEN, a_release, a_reservation, a_settlement
from tests.integration.batches.batching import a_batch_of_one
from tests.integration.books import limited_key
from tests.integration.conftest import a_database, running
from tests.integration.ledger.chain_mutants import DEAR, a_chain

UNGUARD = """
    ALTER TABLE ledger DISABLE TRIGGER ledger_append_only;
    ALTER TABLE accounts DROP CONSTRAINT accounts_never_overspend;
    ALTER TABLE requests DROP CONSTRAINT requests_charged_within_hold, DROP CONSTRAINT requests_free_unless_settled;
"""
COPY = "INSERT INTO ledger (debit_account, credit_account, amount_nano, kind, request_id)"
LATE = "UPDATE requests SET expires_at = now() - interval '61 seconds'"
SAME_ID = """INSERT INTO requests
    SELECT (jsonb_populate_record(r, jsonb_build_object('created_at', created_at + interval '1 ms'))).*"""
BATCH_COUNTS = ("fed", "completed", "failed", "cancelled", "expired")
USAGE_SUMS = (
    "requests",
    "failed",
    "tokens_input",
    "tokens_output",
    "tokens_cached",
    "tokens_cache_written",
    "tokens_reasoning",
    "charged_nano",
)
TOKENS = ("tokens_input", "tokens_output", "tokens_cached", "tokens_cache_written", "tokens_cache_written_long")
PRICES = ("input_price", "output_price", "cached_price", "cache_write_price", "cache_write_long_price")
THAT_WERE_MANY, THAT_WERE_FEW = [f"WHERE long_above {sign} tokens_input" for sign in ("<", ">=")]
EVERY_FORM = Price(10, 20, 1, 13, 25, LongContext(30, 50, 3, 36, 75, above=30)).times(Decimal(NANO_PER_TOKEN // 10))
"""Its numbers are tenths of a nano-USD a token."""
VIOLATIONS = {
    "balance is sum of entries": [
        "UPDATE accounts SET balance_nano = balance_nano + 1",
        "DELETE FROM ledger WHERE kind = 'credit'",
        f"{COPY} VALUES ('house:funding', 'acc_of_nobody', 5, 'credit', NULL)",
    ],
    "held is sum of pending holds": [
        "UPDATE accounts SET held_nano = held_nano + 1",
        "UPDATE accounts SET in_flight = in_flight + 1",
        "UPDATE requests SET hold_state = 'released', state = 'failed', ended_at = now() WHERE hold_state = 'held'",
        "UPDATE requests SET account_id = 'acc_of_nobody' WHERE hold_state = 'held'",
    ],
    "one capture per charged request": [
        "DELETE FROM ledger WHERE kind = 'capture'",
        f"{COPY} SELECT debit_account, credit_account, amount_nano, kind, request_id FROM ledger WHERE kind = 'capture'",
        "UPDATE ledger SET amount_nano = amount_nano + 1 WHERE kind = 'capture'",
        "UPDATE ledger SET debit_account = 'acc_of_nobody' WHERE kind = 'capture'",
        "UPDATE requests SET charged_nano = 0",
        "UPDATE requests SET charged_nano = 5 WHERE hold_state = 'released'",
    ],
    "no hold outlives its time": [f"{LATE} WHERE hold_state = 'held'"],
    "request ids are unique": [f"{SAME_ID} FROM requests r WHERE hold_state = 'released'"],
    "limited keys count what they used": ["UPDATE api_keys SET used_nano = used_nano + 1"],
    "usage is sum of ended requests": [
        *(f"UPDATE usage_by_day SET {sum_} = {sum_} + 1" for sum_ in USAGE_SUMS),
        "UPDATE usage_by_day SET day = day - 1",
        "DELETE FROM usage_by_day",
        "INSERT INTO usage_by_day VALUES ((SELECT id FROM accounts), current_date, 'x', 'x', 0, 0, 0, 0, 0, 0, 0)",
        "UPDATE usage_by_day SET key_id = 'of nobody'",
        "DELETE FROM requests WHERE hold_state = 'released'",
    ],
    "charges are prices times tokens": [
        *(f"UPDATE requests SET {tokens} = {tokens} + 1 {THAT_WERE_MANY}" for tokens in TOKENS),
        *(f"UPDATE requests SET long_{price} = long_{price} + 1000000 {THAT_WERE_MANY}" for price in PRICES),
        *(f"UPDATE requests SET {price} = {price} + 1000000 {THAT_WERE_FEW}" for price in PRICES),
        f"UPDATE requests SET long_above = tokens_input {THAT_WERE_MANY}",
        f"UPDATE requests SET long_above = tokens_input - 1 {THAT_WERE_FEW}",
        f"UPDATE requests SET long_input_price = NULL {THAT_WERE_MANY}",
        f"UPDATE requests SET tokens_cache_written = NULL, tokens_output = 100 {THAT_WERE_MANY}",
        "UPDATE requests SET tokens_input = tokens_input - 1 WHERE charged_nano > 0 AND long_above IS NULL",
        "UPDATE requests SET tokens_input = NULL WHERE charged_nano > 0",
        "UPDATE requests SET hold_nano = charged_nano + 1 WHERE charged_nano = hold_nano",
    ],
    "chains are held for their dearest": [
        "UPDATE requests SET hold_nano = hold_nano + 1 WHERE chain IS NOT NULL",
        "UPDATE requests SET model = 'another' WHERE chain IS NOT NULL",
        "UPDATE requests SET price_version = 'another' WHERE chain IS NOT NULL",
        "UPDATE requests SET output_limit = output_limit + 1 WHERE chain IS NOT NULL",
    ],
    "batches count their items": [
        *(f"UPDATE batches SET {count} = {count} + 1, total = total + 1" for count in BATCH_COUNTS),
        "DELETE FROM batch_items",
    ],
    "items are their requests": [
        "UPDATE batch_items SET state = 'running'",
        "UPDATE batch_items SET state = 'failed' WHERE state = 'completed'",
        "UPDATE batch_items SET request_id = 'req_of_nobody'",
        "UPDATE batch_items SET request_id = NULL",
        "UPDATE requests SET batch_number = 7 WHERE batch_id IS NOT NULL",
    ],
    "dearer tiers are losses": [
        "UPDATE tier_losses SET vendor_cost_nano = vendor_cost_nano + 1",
        "UPDATE tier_losses SET served_tier = 'priority'",
        "UPDATE requests SET served_tier = NULL WHERE lane = 'flex'",
        "UPDATE requests SET lane = 'batch' WHERE lane = 'flex'",
        "UPDATE tier_losses SET request_id = 'req_of_nobody'",
    ],
    "lost calls were made": [
        "UPDATE lost_calls SET request_id = 'req_of_nobody'",
        "UPDATE lost_calls SET number = 0",
        "UPDATE lost_calls SET number = 3",
        "UPDATE lost_calls SET number = 2",
    ],
    "costs are of upstreams": [
        "UPDATE requests SET attempts = 0 WHERE upstream_name IS NOT NULL",
        "UPDATE requests SET upstream_name = 'openai', attempts = 1 WHERE hold_state = 'held'",
        "UPDATE requests SET upstream_name = 'openai', attempts = 1, vendor_cost_nano = 1 WHERE hold_state = 'released'",
    ],
    "nothing is quarantined": ["INSERT INTO quarantine VALUES ('req_poisoned', '{}', 'CheckViolationError')"],
}


@pytest.fixture(scope="module")
async def written_books(database_url: str, settings: Settings) -> str:
    """The name of a database with a held, a charged and a released request, a batch with one line of two that has succeeded,
    one at flex that was served at a dearer tier, one that lost a call, one with a chain, a short and a long request that were
    charged by every form of a price, and one that cost more than its hold.
    """
    async with asyncpg.create_pool(database_url, min_size=1, max_size=4) as pool:
        account = (await create_account(pool, "someone", NanoUsd(2_000))).id
        key = await limited_key(pool, account, 1_000)
        held, charged, released = (a_reservation(account, key_id=key) for _ in range(3))
        ledger = Ledger(pool, settings)
        async with running(ledger.run_reserve(), ledger.run_settle()):
            for reservation in (held, charged, released):
                await ledger.reserve(reservation)
            await ledger.settle(a_settlement(charged, charge=40))
            await ledger.settle(a_release(released))
            await _served_at_a_dearer_tier(ledger, account, key)
            await _after_a_lost_call(ledger, account, key)
            await _every_form_of_a_price(ledger, account, key)
            await a_batch_of_one(pool, ledger, account, key)
            chain = a_chain(account, DEAR, key_id=key)
            await ledger.reserve(chain)
            end = a_settlement(chain, 25, tokens_input=10, tokens_output=5, served="dear")
            assert await ledger.settle(end) == "settled"
    return database_url.partition("?")[0].rpartition("/")[2]


async def _served_at_a_dearer_tier(ledger: Ledger, account: str, key: str) -> None:
    at_flex = a_reservation(account, key_id=key, lane="flex")
    await ledger.reserve(at_flex)
    costs = {"vendor_cost_nano": 20, "served_tier": "default", "saved_nano": 10, "tier_loss_nano": 10}
    await ledger.settle(a_settlement(at_flex, charge=10, **costs))


async def _after_a_lost_call(ledger: Ledger, account: str, key: str) -> None:
    request = a_reservation(account, key_id=key)
    await ledger.reserve(request)
    lost = (LostCall(1, "openai-eu", request.model, "provider_timeout", 3, estimated=True),)
    costs = {"vendor_cost_nano": 20, "upstream": "openai-us", "calls": 2, "lost_calls": lost}
    await ledger.settle(a_settlement(request, charge=25, **costs))


async def _every_form_of_a_price(ledger: Ledger, account: str, key: str) -> None:
    """Charges worked out by hand, in tenths: 9 × 10 + 5 × 1 + 10 × 13 + 6 × 25 + 7 × 20, and with one token more of input."""
    parts = {"tokens_cached": 5, "tokens_cache_written": 16, "tokens_cache_written_long": 6, "tokens_output": 7}
    for tokens, charge in ((30, 52), (31, 148)):
        limits: dict[str, Any] = {"key_id": key, "output_limit": 7, "output_floor": 7}
        reservation = a_reservation(account, **limits, **pinned(EVERY_FORM, "0123456789ab", 31))
        reservation = msgspec.structs.replace(reservation, input_bound=31)
        await ledger.reserve(reservation)
        assert await ledger.settle(a_settlement(reservation, charge, tokens_input=tokens, **parts)) == "settled"
    beyond = a_reservation(account, 100, key_id=key)
    await ledger.reserve(beyond)
    assert await ledger.settle(a_settlement(beyond, 101)) == "settled"


@pytest.fixture
async def books(postgres_url: str, written_books: str) -> AsyncIterator[asyncpg.Pool]:
    """A copy of them for one test."""
    async with a_database(postgres_url, written_books) as url, asyncpg.create_pool(url, min_size=1, max_size=4) as pool:
        yield pool


@pytest.fixture(scope="module")
async def unguarded(postgres_url: str, written_books: str) -> AsyncIterator[asyncpg.Connection]:
    """A copy of them without the database's guards."""
    async with a_database(postgres_url, written_books) as url:
        connection = await asyncpg.connect(url)
        await connection.execute(UNGUARD)
        yield connection
        await connection.close()


class Planted(NamedTuple):
    """A pool whose one connection is in a transaction in which something was planted."""

    connection: asyncpg.Connection

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[asyncpg.Connection]:
        yield self.connection


@asynccontextmanager
async def planting(connection: asyncpg.Connection, statement: str) -> AsyncIterator[asyncpg.Pool]:
    """The books with a violation, which is undone when the block ends."""
    transaction = connection.transaction(isolation="repeatable_read")  # as the check's own is, which is one within it
    await transaction.start()
    try:
        assert await connection.execute(statement) not in {"UPDATE 0", "DELETE 0", "INSERT 0 0"}
        yield cast(asyncpg.Pool, Planted(connection))
    finally:
        await transaction.rollback()


async def test_books_that_balance_are_ok(books: asyncpg.Pool) -> None:
    report = await check_ledger(books)
    assert (report.ok, report.violations, report.accounts, report.requests) == (True, [], 1, 10)
    assert report.tier_losses_usd == "0.00000001"
    assert report.upstreams == [
        UpstreamBooks("openai-eu", 0, "0", "0", 1, "0.000000003"),
        UpstreamBooks("openai-us", 1, "0.000000025", "0.00000002", 0, "0"),
    ]


async def test_what_a_worker_of_the_previous_release_charged_for_a_long_request_is_no_violation(
    books: asyncpg.Pool, settings: Settings
) -> None:
    """It knows neither the prices of long requests nor what was written to a cache."""
    ledger = Ledger(books, settings)
    reservation = a_reservation(
        await books.fetchval("SELECT id FROM accounts"), **pinned(EVERY_FORM, "0123456789ab", 100)
    )
    async with running(ledger.run_reserve(), ledger.run_settle()):
        await ledger.reserve(reservation)
        tokens = {"tokens_input": 100, "tokens_output": 1, "tokens_cached": 10}
        assert await ledger.settle(a_settlement(reservation, charge=93, **tokens)) == "settled"
    assert (await check_ledger(books)).violations == []
    await books.execute("UPDATE requests SET tokens_output = 2 WHERE id = $1", reservation.id)
    (violation,) = [one for one in (await check_ledger(books)).violations if one.startswith("charges")]
    assert violation == (f"charges are prices times tokens: {reservation.id}: charged 93, its tokens cost 95, held 755")


async def test_a_charge_that_has_lost_on_its_way_what_was_written_is_no_violation(books: asyncpg.Pool) -> None:
    """Our worker left the record, and one of the previous release settled it."""
    lost = "UPDATE requests SET tokens_cache_written = NULL, tokens_cache_written_long = NULL"
    await books.execute(f"{lost} {THAT_WERE_MANY}")
    assert [one for one in (await check_ledger(books)).violations if one.startswith("charges")] == []


def test_a_violation_is_planted_for_every_rule() -> None:
    assert set(VIOLATIONS) == {rule.replace("_", " ") for rule in load_queries("ledger_check")} - {
        "counts",
        "upstreams",
    }


@pytest.mark.parametrize(
    ("rule", "planted"), [(rule, planted) for rule, statements in VIOLATIONS.items() for planted in statements]
)
async def test_a_planted_violation_is_found_and_named(unguarded: asyncpg.Connection, rule: str, planted: str) -> None:
    async with planting(unguarded, planted) as books:
        report = await check_ledger(books)
    assert not report.ok
    assert any(violation.startswith(f"{rule}: ") for violation in report.violations), report.violations


async def test_what_is_planted_is_gone_before_anything_else_is(unguarded: asyncpg.Connection) -> None:
    async with planting(unguarded, "UPDATE accounts SET balance_nano = balance_nano + 1"):
        pass
    assert (await check_ledger(cast(asyncpg.Pool, Planted(unguarded)))).ok


async def test_a_check_changes_nothing(books: asyncpg.Pool) -> None:
    async def everything() -> list[list[asyncpg.Record]]:
        return [
            await books.fetch(f"SELECT xmin, t::text FROM {table} t") for table in ("accounts", "requests", "ledger")
        ]

    before = await everything()
    await check_ledger(books)
    assert await everything() == before


async def test_a_hold_that_the_sweep_may_still_end_is_no_violation(books: asyncpg.Pool) -> None:
    await books.execute("UPDATE requests SET expires_at = now() - interval '50 seconds' WHERE hold_state = 'held'")
    assert (await check_ledger(books)).ok
