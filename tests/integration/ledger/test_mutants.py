"""Every guard of the ledger's SQL is needed: without it a promise of this file is broken, and something notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import asyncpg
import pytest

from shared.errors import Conflict, NotFound
from shared.ids import new_id
from shared.ledger.accounts import credit_account
from shared.ledger.pinned_price import PinnedPrice, pinned, price_of
from shared.ledger.settlement import LostCall
from shared.money import LongContext, NanoUsd, Price
from tests.harness.builders import NANO_PER_TOKEN, a_release, a_reservation, a_settlement
from tests.harness.support import eventually_true
from tests.integration.books import Wallet, assert_books_balance, limited_key, request_row, wallet
from tests.integration.ledger.chain_mutants import CHAIN_MUTANTS
from tests.integration.ledger.repeat_mutants import REPEAT_MUTANTS
from tests.integration.ledger.scratch import Mutant, Promise, Scratch, break_with, empty, restore


async def credit_is_never_passed(scratch: Scratch) -> None:
    account = await scratch.account(100)
    holds = [a_reservation(account, hold) for hold in (101, 60, 60, 40)]
    assert await scratch.reserve(*holds) == ["credit", "admitted", "credit", "admitted"]
    assert await wallet(scratch.pool, account) == Wallet(100, 100, 2)


async def a_batch_is_admitted_in_its_order(scratch: Scratch) -> None:
    account = await scratch.account(100)
    assert await scratch.reserve(a_reservation(account, 60), a_reservation(account, 70)) == ["admitted", "credit"]


async def each_account_has_its_own_credit(scratch: Scratch) -> None:
    rich, poor = sorted([await scratch.account(0), await scratch.account(0)])
    await credit_account(scratch.pool, rich, NanoUsd(1_000), ref=None, note=None)
    assert await scratch.reserve(a_reservation(rich), a_reservation(poor)) == ["admitted", "credit"]


async def a_reservation_sees_what_was_committed_while_it_waited(scratch: Scratch) -> None:
    account = await scratch.account(100)
    late = scratch.reserve(a_reservation(account, 60))
    assert await scratch.behind(a_reservation(account, 60), late) == ["credit"]


async def an_account_has_only_so_many_in_flight(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    outcomes = await scratch.reserve(*(a_reservation(account) for _ in range(3)), in_flight_max=2)
    assert outcomes == ["admitted", "admitted", "in_flight"]
    assert await scratch.reserve(a_reservation(account), in_flight_max=2) == ["in_flight"]


async def a_keys_limit_is_never_passed(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    key = await limited_key(scratch.pool, account, 100)
    holds = [a_reservation(account, hold, key_id=key) for hold in (101, 60, 60, 40)]
    assert await scratch.reserve(*holds) == ["key_limit", "admitted", "key_limit", "admitted"]
    assert await scratch.reserve(a_reservation(account, 1, key_id=key)) == ["key_limit"]
    await scratch.settle(a_settlement(holds[1], 10))
    await assert_books_balance(scratch.pool)


async def less_than_the_floor_is_never_granted(scratch: Scratch) -> None:
    account = await scratch.account(50)
    wish = a_reservation(account, input_bound=0, output_price=NANO_PER_TOKEN, output_limit=100, output_floor=60)
    assert await scratch.reserve(wish) == ["credit"]


async def a_hold_is_rounded_up(scratch: Scratch) -> None:
    account = await scratch.account(100)
    await scratch.reserve(a_reservation(account, 3, input_price=NANO_PER_TOKEN // 2))
    assert await wallet(scratch.pool, account) == Wallet(100, 2, 1)


async def a_hold_is_at_the_dearest_prices(scratch: Scratch) -> None:
    account = await scratch.account(100)
    dear = {"hold_input_price": 3 * NANO_PER_TOKEN, "hold_output_price": 2 * NANO_PER_TOKEN}
    wish = a_reservation(account, 10, output_price=NANO_PER_TOKEN, output_limit=40, output_floor=1, **dear)
    assert await scratch.reserve(wish) == ["admitted"]
    assert await scratch.pool.fetchval("SELECT output_limit FROM requests") == 35
    assert await wallet(scratch.pool, account) == Wallet(100, 100, 1)
    cheap = {"hold_input_price": 0, "hold_output_price": 0, "output_price": NANO_PER_TOKEN}
    wish = a_reservation(await scratch.account(9), 5, output_limit=5, output_floor=5, **cheap)
    assert await scratch.reserve(wish) == ["credit"]


async def what_was_promised_is_what_is_charged_by(scratch: Scratch) -> None:
    price = Price(2, 3, 1, 4, 5, LongContext(6, 7, 8, 9, 10, above=11)).times(Decimal(NANO_PER_TOKEN))
    for tokens, charge in ((11, 2 * 3 + 2 * 1 + 4 * 4 + 2 * 5 + 3), (12, 6 * 4 + 2 * 8 + 4 * 9 + 2 * 10 + 7)):
        wish = a_reservation(await scratch.account(1_000), 12, **pinned(price, "0123456789ab", 12))
        await scratch.reserve(wish)
        assert price_of(await request_row(scratch.pool, wish)) == price
        parts = {"tokens_cached": 2, "tokens_cache_written": 6, "tokens_cache_written_long": 2, "tokens_output": 1}
        await scratch.settle(a_settlement(wish, charge, tokens_input=tokens, **parts))
        row = await request_row(scratch.pool, wish)
        assert {name: row[name] for name in parts} == parts
    await assert_books_balance(scratch.pool)


async def a_hold_ends_once(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    charged, released = a_reservation(account), a_reservation(account)
    await scratch.reserve(charged, released)
    await scratch.settle(a_settlement(charged, 40), a_release(released))
    assert await scratch.settle(a_settlement(charged, 40), a_release(released)) == ["repeated", "repeated"]
    assert await wallet(scratch.pool, account) == Wallet(960, 0, 0)
    assert not await scratch.pool.fetch("SELECT FROM unbilled")
    await assert_books_balance(scratch.pool)


async def a_charge_of_another_amount_than_was_taken_says_so(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    settled, overrun, released = (a_reservation(account) for _ in range(3))
    await scratch.reserve(settled, overrun, released)
    await scratch.settle(a_settlement(settled, 40), a_settlement(overrun, 140), a_release(released))
    again = [a_settlement(settled, 41), a_settlement(settled, 40), a_release(settled), a_settlement(overrun, 140)]
    outcomes = [(await scratch.settle(one))[0] for one in [*again, a_settlement(released)]]
    assert outcomes == ["differs", "repeated", "repeated", "repeated", "repeated"]
    assert await wallet(scratch.pool, account) == Wallet(1_000 - 140, 0, 0)


async def what_is_void_is_never_charged(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    void, released = a_reservation(account), a_reservation(account)
    await scratch.reserve(void, released)
    assert await scratch.settle(a_release(void, void=True), a_release(released)) == ["settled", "settled"]
    late = [a_settlement(void, 40), a_settlement(released, 40)]
    assert await scratch.settle(*late) == ["void", "unbilled"]
    assert await scratch.settle(a_release(void, void=True)) == ["repeated"]
    assert await wallet(scratch.pool, account) == Wallet(1_000, 0, 0)
    assert await scratch.pool.fetchval("SELECT array_agg(request_id) FROM unbilled") == [released.id]


async def an_overrun_is_written_down_and_not_charged(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    reservation = a_reservation(account)
    await scratch.reserve(reservation)
    await scratch.settle(a_settlement(reservation, 130))
    assert await wallet(scratch.pool, account) == Wallet(900, 0, 0)
    assert await scratch.pool.fetchval("SELECT amount_nano FROM overruns") == 30


async def a_late_charge_is_written_down_once(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    reservation = a_reservation(account)
    await scratch.reserve(reservation)
    late = scratch.settle(a_settlement(reservation, 40))
    assert await scratch.behind(a_release(reservation), late) == ["unbilled"]
    assert await scratch.settle(a_settlement(reservation, 40)) == ["repeated"]
    assert await scratch.pool.fetchval("SELECT sum(amount_nano) FROM unbilled") == 40


async def what_calls_cost_that_nobody_pays_for_is_written_down_once(scratch: Scratch) -> None:
    """Whether they come with the end of their request, or after another end of it."""
    account = await scratch.account(1_000)
    served, released, quiet, free, unknown = (a_reservation(account) for _ in range(5))
    assert await scratch.reserve(served, released, quiet, free) == ["admitted"] * 4
    lost = (LostCall(1, "eu", served.model, "provider_error", 7, estimated=True),)
    await scratch.settle(a_release(released), a_release(quiet))
    await scratch.settle(a_release(free, calls=2, upstream="eu", lost_calls=lost))
    ends = [
        a_settlement(served, 40, vendor_cost_nano=30, calls=2, upstream="us", lost_calls=lost),
        a_settlement(released, 40, vendor_cost_nano=20, calls=1, upstream="us"),
        a_release(quiet, calls=1, upstream="us"),
        a_release(free, calls=2, upstream="eu", lost_calls=lost),
        a_settlement(unknown, 40, vendor_cost_nano=10, calls=2, upstream="us", lost_calls=lost),
    ]
    for _ in range(2):
        await scratch.settle(*ends)
    await scratch.settle(a_settlement(free, 40, vendor_cost_nano=30, calls=2, upstream="us"))
    rows = await scratch.pool.fetch("SELECT request_id, upstream, vendor_cost_nano FROM lost_calls")
    assert {tuple(row) for row in rows} == {(served.id, "eu", 7), (released.id, "us", 20), (free.id, "eu", 7)}
    assert len(rows) == 3


async def everybody_locks_accounts_in_the_same_order(scratch: Scratch) -> None:
    low, high = sorted([await scratch.account(1_000), await scratch.account(1_000)])
    held = [a_reservation(low), a_reservation(high)]
    await scratch.reserve(*held)
    async with scratch.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", low)
        reserving = asyncio.ensure_future(scratch.reserve(a_reservation(low), a_reservation(high)))
        await eventually_true(lambda: _waiting(scratch.pool, 1), "the reservation waits")
        settling = asyncio.ensure_future(scratch.settle(*(a_release(row) for row in held)))
        await eventually_true(lambda: _waiting(scratch.pool, 2), "the settlement waits")
    assert await reserving == ["admitted", "admitted"]
    assert await settling == ["settled", "settled"]


async def _waiting(pool: asyncpg.Pool, number: int) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(await pool.fetchval(query) == number)


async def money_comes_and_goes_with_an_account_only(scratch: Scratch) -> None:
    with pytest.raises(NotFound):
        await credit_account(scratch.pool, new_id("acc"), NanoUsd(5), ref=None, note=None)
    with pytest.raises(asyncpg.NoDataFoundError):  # whoever calls it
        await scratch.pool.execute("SELECT credit($1, 5, NULL, NULL)", new_id("acc"))
    await assert_books_balance(scratch.pool)


async def a_reference_credits_once(scratch: Scratch) -> None:
    account = await scratch.account(100)
    for _ in range(2):
        await credit_account(scratch.pool, account, NanoUsd(5), ref="invoice-1", note=None)
    assert await wallet(scratch.pool, account) == Wallet(105, 0, 0)


async def what_is_held_cannot_be_taken_back(scratch: Scratch) -> None:
    account = await scratch.account(150)
    await scratch.reserve(a_reservation(account))
    with pytest.raises(Conflict):
        await credit_account(scratch.pool, account, NanoUsd(-51), ref=None, note=None)
    await credit_account(scratch.pool, account, NanoUsd(-50), ref=None, note=None)


async def no_entry_is_ever_changed(scratch: Scratch) -> None:
    await scratch.account(100)
    for change in ("UPDATE ledger SET note = ''", "DELETE FROM ledger"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await scratch.pool.execute(change)


LOCK = "ORDER BY a.id FOR UPDATE;"
PRICE_COLUMNS = [
    name for name in PinnedPrice.__struct_fields__ if name not in {"price_version", "input_price", "output_price"}
]
"""Without those that no row may lack."""
MUTANTS = [
    Mutant(a_reservation_sees_what_was_committed_while_it_waited, "reserve", LOCK, "ORDER BY a.id;"),
    Mutant(a_batch_is_admitted_in_its_order, "reserve", "b.account_id, b.position", "b.account_id, b.position DESC"),
    Mutant(each_account_has_its_own_credit, "reserve", "item.account_id <> current_account", "current_account = ''"),
    Mutant(credit_is_never_passed, "reserve", "ELSIF granted_hold > credit THEN", "ELSIF false THEN"),
    Mutant(credit_is_never_passed, "reserve", "credit := credit - granted_hold;", ""),
    Mutant(credit_is_never_passed, "reserve", "a.held_nano + sums.hold_nano", "a.held_nano"),
    Mutant(an_account_has_only_so_many_in_flight, "reserve", "IF room <= 0 THEN", "IF false THEN"),
    Mutant(an_account_has_only_so_many_in_flight, "reserve", "room := room - 1;", ""),
    Mutant(an_account_has_only_so_many_in_flight, "reserve", "a.in_flight + sums.n", "a.in_flight"),
    Mutant(a_keys_limit_is_never_passed, "reserve", "ELSIF granted_hold > spendable THEN", "ELSIF false THEN"),
    Mutant(
        a_keys_limit_is_never_passed,
        "reserve",
        "item.key_left - COALESCE((key_spent->>item.key_id)::bigint, 0)",
        "item.key_left",
    ),
    Mutant(a_keys_limit_is_never_passed, "reserve", "k.used_nano + (spent.amount)::bigint", "k.used_nano"),
    Mutant(less_than_the_floor_is_never_granted, "reserve", "item.output_floor::numeric", "1::numeric"),
    Mutant(a_hold_is_rounded_up, "div_up", "(total + 999999)", "total"),
    *(
        Mutant(a_hold_is_at_the_dearest_prices, "reserve", f"GREATEST(b.{kind}_price, b.hold_{kind}_price)", instead)
        for kind in ("input", "output")
        for instead in (f"b.{kind}_price", f"COALESCE(b.hold_{kind}_price, b.{kind}_price)")
    ),
    *(
        Mutant(a_hold_is_at_the_dearest_prices, "reserve", guard, guard.replace("dearest_", "") + "_price")
        for guard in ("* 1000000 - item.input_bound * item.dearest_input", "/ item.dearest_output")
    ),
    *(Mutant(what_was_promised_is_what_is_charged_by, "reserve", f"b.{column},", "NULL,") for column in PRICE_COLUMNS),
    *(
        Mutant(what_was_promised_is_what_is_charged_by, "settle", f"{name} = g.{name},", "")
        for name in ("tokens_cached", "tokens_cache_written", "tokens_cache_written_long")
    ),
    Mutant(a_late_charge_is_written_down_once, "settle", LOCK, "ORDER BY a.id;"),
    Mutant(a_late_charge_is_written_down_once, "settle", "WHERE l.charge_nano > 0 AND", "WHERE false AND"),
    Mutant(a_late_charge_is_written_down_once, "settle", "ON CONFLICT DO NOTHING RETURNING", "RETURNING"),
    Mutant(
        what_calls_cost_that_nobody_pays_for_is_written_down_once, "settle", "ON CONFLICT DO NOTHING\n    )\n", ")\n"
    ),
    *(
        Mutant(what_calls_cost_that_nobody_pays_for_is_written_down_once, "settle", guard, instead)
        for guard, instead in (
            ("WHERE l.ended_without_us AND", "WHERE"),
            ("r.upstream_name IS NULL AS", "true AS"),
            ("AND l.vendor_cost_nano > 0", ""),
            ("AND EXISTS (SELECT FROM requests r WHERE r.id = g.id AND r.created_at = g.created_at)", ""),
        )
    ),
    Mutant(everybody_locks_accounts_in_the_same_order, "settle", LOCK, "ORDER BY a.id DESC FOR UPDATE;"),
    *(
        Mutant(a_charge_of_another_amount_than_was_taken_says_so, "settle", guard, instead)
        for guard, instead in (
            ("WHEN l.differs THEN 'differs'", ""),
            ("g.hold_state = 'settled' AND r.hold_state", "r.hold_state"),
            ("LEAST(g.charge_nano, r.hold_nano) <>", "g.charge_nano <>"),
        )
    ),
    Mutant(what_is_void_is_never_charged, "settle", "COALESCE(g.void, false)", "false"),
    Mutant(what_is_void_is_never_charged, "settle", "AND NOT l.void", ""),
    Mutant(what_is_void_is_never_charged, "settle", "WHEN l.void AND l.charge_nano > 0 THEN 'void'", ""),
    Mutant(what_is_void_is_never_charged, "settle", "l.void AND l.charge_nano > 0", "l.void"),
    Mutant(a_hold_ends_once, "settle", "AND r.hold_state = 'held'", ""),
    Mutant(a_hold_ends_once, "settle", "AND l.hold_state IN ('released', 'expired')", ""),
    Mutant(a_hold_ends_once, "settle", "WHERE l.charge_nano > 0 AND", "WHERE"),
    Mutant(a_hold_ends_once, "settle", "WHERE e.charged_nano > 0", "WHERE false"),
    Mutant(a_hold_ends_once, "settle", "a.balance_nano - sums.charged", "a.balance_nano"),
    Mutant(a_hold_ends_once, "settle", "a.held_nano - sums.hold,", "a.held_nano,"),
    Mutant(a_hold_ends_once, "settle", "a.in_flight - sums.n", "a.in_flight"),
    Mutant(a_keys_limit_is_never_passed, "settle", "sum(e.hold_nano - e.charged_nano)", "sum(e.hold_nano)"),
    Mutant(
        an_overrun_is_written_down_and_not_charged,
        "settle",
        "= LEAST(g.charge_nano, r.hold_nano)",
        "= g.charge_nano",
    ),
    Mutant(
        an_overrun_is_written_down_and_not_charged,
        "settle",
        "WHERE e.charge_nano > e.hold_nano",
        "WHERE false",
    ),
    Mutant(
        money_comes_and_goes_with_an_account_only,
        "credit",
        "RAISE EXCEPTION 'no such account' USING ERRCODE = 'no_data_found';",
        "NULL;",
    ),
    Mutant(a_reference_credits_once, "credit", "RETURN false;", "NULL;"),
    Mutant(what_is_held_cannot_be_taken_back, "", "", "ALTER TABLE accounts DROP CONSTRAINT accounts_never_overspend"),
    Mutant(no_entry_is_ever_changed, "", "", "DROP TRIGGER ledger_append_only ON ledger"),
    *REPEAT_MUTANTS,
    *CHAIN_MUTANTS,
]
NOTICED = (AssertionError, asyncpg.PostgresError, pytest.fail.Exception)
PROMISES = list(dict.fromkeys(mutant.broken for mutant in MUTANTS))


@pytest.fixture(scope="module")
async def impatient_pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections to this module's database on which a deadlock is found at once."""
    server_settings = {"deadlock_timeout": "10ms"}
    async with asyncpg.create_pool(database_url, min_size=1, max_size=4, server_settings=server_settings) as pool:
        yield pool


@pytest.fixture
async def scratch(impatient_pool: asyncpg.Pool) -> Scratch:
    await empty(impatient_pool)
    return Scratch(impatient_pool)


@pytest.fixture
async def own_scratch(fresh_database_url: str) -> AsyncIterator[Scratch]:
    """In a database of its own, for what cannot be put back."""
    async with asyncpg.create_pool(fresh_database_url, min_size=1, max_size=4) as pool:
        yield Scratch(pool)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_the_real_ledger_keeps_its_promise(scratch: Scratch, promise: Promise) -> None:
    await promise(scratch)


@pytest.mark.parametrize(
    "mutant",
    [mutant for mutant in MUTANTS if mutant.function],
    ids=lambda mutant: f"{mutant.function} without {mutant.guard}",
)
async def test_a_ledger_without_this_guard_is_noticed(scratch: Scratch, mutant: Mutant) -> None:
    await break_with(scratch, mutant)
    try:
        with pytest.raises(NOTICED):
            await mutant.broken(scratch)
    finally:
        await restore(scratch, mutant)


@pytest.mark.parametrize(
    "mutant", [mutant for mutant in MUTANTS if not mutant.function], ids=lambda mutant: mutant.instead
)
async def test_a_database_without_this_guard_is_noticed(own_scratch: Scratch, mutant: Mutant) -> None:
    await break_with(own_scratch, mutant)
    with pytest.raises(NOTICED):
        await mutant.broken(own_scratch)
