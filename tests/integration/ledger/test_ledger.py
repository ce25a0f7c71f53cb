"""The ledger on a real database: what is admitted, what is refused, and how holds end."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec
import pytest

from shared.errors import InsufficientCredit, InvalidRequest, PermissionDenied, RateLimited, RebootError
from shared.ids import new_id
from shared.ledger.ledger import Ledger
from shared.ledger.pinned_price import pinned, price_of
from shared.ledger.rows import Grant, Reservation
from shared.ledger.settlement import LostCall
from shared.money import LongContext, NanoUsd, Price, nano_to_usd
from shared.settings import Settings
from tests.harness.builders import NANO_PER_TOKEN, a_release, a_reservation, a_settlement
from tests.integration.books import Wallet, assert_books_balance, limited_key, request_row, reserve_all, wallet
from tests.integration.conftest import NewAccount, running


async def _used(pool: asyncpg.Pool, key_id: str) -> int:
    return int(await pool.fetchval("SELECT used_nano FROM api_keys WHERE id = $1", key_id))


async def test_a_hold_is_the_upper_bound_of_the_price_rounded_up_once(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000_000)
    reservation = a_reservation(
        account, input_bound=3, input_price=333_333, output_limit=7, output_floor=7, output_price=142_857
    )
    grant = await ledger.reserve(reservation)
    assert grant == Grant(NanoUsd(2), 7)  # 1.999998 rounded up
    assert await wallet(pool, account) == Wallet(1_000_000, 2, 1)


async def test_a_reservation_is_recorded_with_everything_that_was_promised(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    price = Price(1, 0, 3, 4, 5, LongContext(6, 0, 8, 9, 10, above=11))
    reservation = a_reservation(
        await new_account(1_000),
        messages='[{"role":"user","content":"nul: \\u0000"}]',
        **{**pinned(price, "0123456789ab", 100), "hold_input_price": NANO_PER_TOKEN},
    )
    await ledger.reserve(reservation)
    row = await request_row(pool, reservation)
    for name in set(Reservation.__struct_fields__) - {
        "output_floor",
        "messages",
        "idempotency_key",
        "fingerprint",
        "batch_bytes",
        "hold_input_price",
        "hold_output_price",
        "stored_input",
        "vendor_model",
    }:
        assert row[name] == getattr(reservation, name), name
    assert row["upstream"] == reservation.vendor_model
    assert (row["state"], row["hold_state"], row["hold_nano"], row["charged_nano"]) == ("pending", "held", 100, 0)
    assert row["messages"].startswith('[{"role":"user"')
    assert price_of(row) == price


@pytest.mark.parametrize(
    ("hold_input", "hold_output", "hold"),
    [(None, None, 10 + 20), (0, 0, 10 + 20), (2, None, 20 + 20), (None, 3, 10 + 60), (2, 3, 20 + 60)],
)
async def test_a_hold_is_at_the_dearest_prices_that_the_request_can_come_to(
    ledger: Ledger, new_account: NewAccount, hold_input: int | None, hold_output: int | None, hold: int
) -> None:
    dearest: dict[str, Any] = {
        "hold_input_price": None if hold_input is None else hold_input * NANO_PER_TOKEN,
        "hold_output_price": None if hold_output is None else hold_output * NANO_PER_TOKEN,
    }
    account = await new_account(hold)
    wanted = {"input_bound": 10, "output_limit": 20, "output_floor": 20, "output_price": NANO_PER_TOKEN}
    assert await ledger.reserve(a_reservation(account, **wanted, **dearest)) == Grant(NanoUsd(hold), 20)
    account = await new_account(hold - 1)
    with pytest.raises(InsufficientCredit) as refused:
        await ledger.reserve(a_reservation(account, **wanted, **dearest))
    assert refused.value.details["needed_usd"] == nano_to_usd(hold)


async def test_an_output_limit_shrinks_to_what_is_affordable_at_the_price_of_long_requests(
    ledger: Ledger, new_account: NewAccount
) -> None:
    price = Price(1, 2, long_context=LongContext(2, 3, above=10)).times(Decimal(NANO_PER_TOKEN))
    wanted = {"input_bound": 11, "output_limit": 100, "output_floor": 10}
    reservations = [
        a_reservation(await new_account(credit), **wanted, **pinned(price, "0123456789ab", 11))
        for credit in (54, 52, 51)
    ]
    granted, least, refused = await reserve_all(ledger, *reservations)
    assert granted == Grant(NanoUsd(22 + 30), 10)
    assert least == Grant(NanoUsd(22 + 30), 10)
    assert isinstance(refused, InsufficientCredit)
    more = a_reservation(await new_account(99), **wanted, **pinned(price, "0123456789ab", 11))
    assert await ledger.reserve(more) == Grant(NanoUsd(22 + 75), 25)


async def test_a_request_that_the_credit_cannot_cover_is_refused_with_both_amounts(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_500_000_000)
    reservation = a_reservation(account, 2_000_000_000)
    with pytest.raises(InsufficientCredit) as refused:
        await ledger.reserve(reservation)
    assert refused.value.details == {"needed_usd": "2", "available_usd": "1.5"}
    assert await wallet(pool, account) == Wallet(1_500_000_000, 0, 0)
    assert not await pool.fetchval("SELECT count(*) FROM requests WHERE id = $1", reservation.id)


async def test_a_refused_large_request_does_not_refuse_the_smaller_one_behind_it(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(100)
    large, small, exact, one_more = await reserve_all(
        ledger, *(a_reservation(account, hold) for hold in (101, 30, 70, 1))
    )
    assert isinstance(large, InsufficientCredit)
    assert small == Grant(NanoUsd(30), 1)
    assert exact == Grant(NanoUsd(70), 1)
    assert isinstance(one_more, InsufficientCredit)
    assert await wallet(pool, account) == Wallet(100, 100, 2)


@pytest.mark.parametrize(
    ("credit", "granted"),
    [(10_000, 1_000), (1_010, 1_000), (1_009, 999), (400, 390), (110, 100), (109, None), (5, None), (0, None)],
)
async def test_an_output_limit_shrinks_to_what_is_affordable_but_not_below_its_floor(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount, credit: int, granted: int | None
) -> None:
    account = await new_account(credit)
    reservation = a_reservation(
        account, input_bound=10, output_limit=1_000, output_floor=100, output_price=NANO_PER_TOKEN
    )
    (outcome,) = await reserve_all(ledger, reservation)
    if granted is None:
        assert isinstance(outcome, InsufficientCredit)
        assert outcome.details["needed_usd"] == "0.00000011"  # the input and the floor: the least that would do
    else:
        assert outcome == Grant(NanoUsd(10 + granted), granted)
        assert (await request_row(pool, reservation))["output_limit"] == granted


async def test_an_explicit_output_limit_is_held_as_given_or_refused(ledger: Ledger, new_account: NewAccount) -> None:
    reservation = a_reservation(
        await new_account(99), input_bound=0, output_limit=100, output_floor=100, output_price=NANO_PER_TOKEN
    )
    with pytest.raises(InsufficientCredit):
        await ledger.reserve(reservation)


async def test_a_request_larger_than_any_account_is_refused_and_its_batch_mates_are_admitted(
    ledger: Ledger, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    huge = a_reservation(account, 2**40, input_price=10**12)
    outcomes = await reserve_all(ledger, a_reservation(account), huge, a_reservation(account))
    assert [type(outcome) for outcome in outcomes] == [Grant, InvalidRequest, Grant]


async def test_a_row_that_the_database_refuses_takes_nobody_with_it(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    outcomes = await reserve_all(ledger, *(a_reservation(account, lane=lane) for lane in ("batch", "fast", "batch")))
    assert [type(outcome) for outcome in outcomes] == [Grant, RebootError, Grant]
    assert await wallet(pool, account) == Wallet(1_000, 200, 2)


async def test_a_key_of_an_account_that_is_gone_is_refused(ledger: Ledger) -> None:
    with pytest.raises(PermissionDenied):
        await ledger.reserve(a_reservation(new_id("acc")))


async def test_a_keys_own_limit_counts_charges_and_holds_and_gives_back_what_was_not_used(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(10_000)
    key = await limited_key(pool, account, limit=100)
    first, second, third = (a_reservation(account, 60, key_id=key) for _ in range(3))
    admitted, refused = await reserve_all(ledger, first, second)
    assert (type(admitted), type(refused)) == (Grant, PermissionDenied)
    assert await _used(pool, key) == 60
    await ledger.settle(a_settlement(first, charge=40))
    assert await _used(pool, key) == 40
    await ledger.reserve(third)
    assert await _used(pool, key) == 100
    await ledger.settle(a_release(third))
    assert await _used(pool, key) == 40
    await assert_books_balance(pool)


async def test_a_keys_limit_shrinks_an_output_limit_as_credit_does(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(10_000)
    key = await limited_key(pool, account, limit=300)
    wanted = {"input_bound": 0, "output_limit": 1_000, "output_floor": 100, "output_price": NANO_PER_TOKEN}
    first, second = await reserve_all(ledger, *(a_reservation(account, key_id=key, **wanted) for _ in range(2)))
    assert first == Grant(NanoUsd(300), 300)
    assert isinstance(second, PermissionDenied)


async def test_one_keys_limit_leaves_the_accounts_other_keys_alone(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(10_000)
    poor, rich = await limited_key(pool, account, limit=10), await limited_key(pool, account, limit=10_000)
    refused, admitted, without = await reserve_all(
        ledger, *(a_reservation(account, 20, key_id=key) for key in (poor, rich, "no_limit"))
    )
    assert isinstance(refused, PermissionDenied)
    assert admitted == without == Grant(NanoUsd(20), 1)


async def test_an_account_has_no_more_requests_in_flight_than_allowed(
    pool: asyncpg.Pool, settings: Settings, new_account: NewAccount
) -> None:
    account, other = await new_account(10_000), await new_account(10_000)
    narrow = Ledger(pool, msgspec.structs.replace(settings, in_flight_max=2))
    async with running(narrow.run_reserve(), narrow.run_settle()):
        reservations = [a_reservation(account) for _ in range(3)]
        *admitted, refused = await reserve_all(narrow, *reservations)
        assert [type(outcome) for outcome in admitted] == [Grant, Grant]
        assert isinstance(refused, RateLimited)
        await narrow.reserve(a_reservation(other))
        with pytest.raises(RateLimited):
            await narrow.reserve(a_reservation(account))
        await narrow.settle(a_release(reservations[0]))
        await narrow.reserve(a_reservation(account))


async def test_settling_captures_the_charge_and_gives_the_rest_back(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    reservation = a_reservation(account, 300)
    await ledger.reserve(reservation)
    settlement = a_settlement(
        reservation,
        charge=120,
        vendor_cost_nano=90,
        tokens_input=120,
        tokens_output=6,
        tokens_cached=1,
        tokens_cache_written=30,
        tokens_cache_written_long=20,
        tokens_reasoning=2,
        usage_estimated=False,
        finish_reason="stop",
        calls=3,
    )
    assert await ledger.settle(settlement) == "settled"
    assert await wallet(pool, account) == Wallet(880, 0, 0)
    row = await request_row(pool, reservation)
    for name in set(settlement.__struct_fields__) - {
        "charge_nano",
        "answer",
        "keep_until",
        "batch_line",
        "tier_loss_nano",
        "calls",
        "upstream",  # in the row it is the vendor's id of the model
        "lost_calls",
        "served",
    }:
        assert row[name] == getattr(settlement, name), name
    assert (row["upstream_name"], row["attempts"]) == (settlement.upstream, settlement.calls)
    assert row["charged_nano"] == 120
    (entry,) = await pool.fetch(
        "SELECT debit_account, credit_account, amount_nano, kind FROM ledger WHERE request_id = $1", reservation.id
    )
    assert tuple(entry) == (account, "house:revenue", 120, "capture")


async def test_what_a_dearer_tier_costs_is_the_houses_loss_and_booked_once(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    reservation, at_flex = a_reservation(account, 300, lane="flex"), a_reservation(account, 300, lane="flex")
    for one in (reservation, at_flex):
        await ledger.reserve(one)
    dearer = a_settlement(
        reservation, charge=50, vendor_cost_nano=100, served_tier="default", saved_nano=50, tier_loss_nano=50
    )
    assert [await ledger.settle(dearer) for _ in range(2)] == ["settled", "repeated"]
    assert await ledger.settle(a_settlement(at_flex, 40, vendor_cost_nano=40, served_tier="flex")) == "settled"
    row = await request_row(pool, reservation)
    assert (row["charged_nano"], row["vendor_cost_nano"], row["served_tier"], row["saved_nano"]) == (
        50,
        100,
        "default",
        50,
    )
    losses = await pool.fetch("SELECT served_tier, vendor_cost_nano, amount_nano FROM tier_losses")
    assert [tuple(loss) for loss in losses] == [("default", 100, 50)]
    assert await wallet(pool, account) == Wallet(910, 0, 0)


async def _lost(pool: asyncpg.Pool, request: Reservation) -> list[tuple[object, ...]]:
    query = "SELECT number, upstream, model, reason, vendor_cost_nano, estimated FROM lost_calls"
    rows = await pool.fetch(f"{query} WHERE request_id = $1 ORDER BY number", request.id)
    return [tuple(row) for row in rows]


async def test_what_lost_calls_cost_is_booked_once_by_upstream_and_charged_to_nobody(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    reservation = a_reservation(account, 300)
    await ledger.reserve(reservation)
    lost = (
        LostCall(1, "openai-eu", reservation.model, "provider_timeout", 7, estimated=True),
        LostCall(2, None, reservation.model, "worker_lost", 8, estimated=True),
    )
    served = a_settlement(reservation, 50, vendor_cost_nano=40, calls=3, upstream="openai-us", lost_calls=lost)
    assert [await ledger.settle(served) for _ in range(2)] == ["settled", "repeated"]
    row = await request_row(pool, reservation)
    assert (row["charged_nano"], row["vendor_cost_nano"], row["upstream_name"]) == (50, 40, "openai-us")
    assert await _lost(pool, reservation) == [
        (1, "openai-eu", reservation.model, "provider_timeout", 7, True),
        (2, None, reservation.model, "worker_lost", 8, True),
    ]
    assert await wallet(pool, account) == Wallet(950, 0, 0)


@pytest.mark.parametrize("hold_state", ["released", "expired"])
async def test_a_call_of_a_request_that_had_ended_is_lost_once(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount, hold_state: str
) -> None:
    reservation = a_reservation(await new_account(1_000), 300)
    await ledger.reserve(reservation)
    await ledger.settle(a_release(reservation, hold_state=hold_state))
    late = a_settlement(reservation, 50, vendor_cost_nano=40, calls=1, upstream="openai", usage_estimated=False)
    assert [await ledger.settle(late) for _ in range(2)] == ["unbilled", "repeated"]
    assert await _lost(pool, reservation) == [(1, "openai", reservation.model, "ended_before", 40, False)]


async def test_a_failure_that_is_told_twice_loses_nothing_more(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    reservation = a_reservation(await new_account(1_000), 300)
    await ledger.reserve(reservation)
    lost = (LostCall(1, "openai", reservation.model, "provider_error", 7, estimated=False),)
    failed = a_release(reservation, calls=1, upstream="openai", lost_calls=lost)
    assert [await ledger.settle(failed) for _ in range(2)] == ["settled", "repeated"]
    assert len(await _lost(pool, reservation)) == 1


@pytest.mark.parametrize("hold_state", ["released", "expired"])
async def test_a_hold_that_is_released_or_expires_gives_everything_back_and_leaves_no_entry(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount, hold_state: str
) -> None:
    account = await new_account(1_000)
    reservation = a_reservation(account)
    await ledger.reserve(reservation)
    assert await ledger.settle(a_release(reservation, hold_state=hold_state)) == "settled"
    assert await wallet(pool, account) == Wallet(1_000, 0, 0)
    assert (await request_row(pool, reservation))["hold_state"] == hold_state
    assert not await pool.fetchval("SELECT count(*) FROM ledger WHERE request_id = $1", reservation.id)


async def test_settling_twice_charges_once(ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount) -> None:
    account = await new_account(1_000)
    reservation = a_reservation(account)
    await ledger.reserve(reservation)
    settlement = a_settlement(reservation, charge=40)
    assert [await ledger.settle(settlement) for _ in range(3)] == ["settled", "repeated", "repeated"]
    assert await wallet(pool, account) == Wallet(960, 0, 0)
    await assert_books_balance(pool)


async def test_the_same_settlement_twice_in_one_batch_charges_once(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    reservation = a_reservation(account)
    await ledger.reserve(reservation)
    await asyncio.gather(*(ledger.settle(a_settlement(reservation, charge=40)) for _ in range(5)))
    assert await wallet(pool, account) == Wallet(960, 0, 0)
    await assert_books_balance(pool)


async def test_a_release_after_a_settlement_gives_nothing_back(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    reservation = a_reservation(account)
    await ledger.reserve(reservation)
    await ledger.settle(a_settlement(reservation, charge=100))
    assert await ledger.settle(a_release(reservation)) == "repeated"
    assert await wallet(pool, account) == Wallet(900, 0, 0)


@pytest.mark.parametrize("hold_state", ["released", "expired"])
async def test_a_charge_for_a_hold_that_had_ended_is_unbilled_and_counted_once(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount, hold_state: str
) -> None:
    account = await new_account(1_000)
    reservation = a_reservation(account)
    await ledger.reserve(reservation)
    await ledger.settle(a_release(reservation, hold_state=hold_state))
    settlement = a_settlement(reservation, charge=40)
    assert [await ledger.settle(settlement) for _ in range(2)] == ["unbilled", "repeated"]
    rows = await pool.fetch("SELECT amount_nano FROM unbilled WHERE request_id = $1", reservation.id)
    assert [row["amount_nano"] for row in rows] == [40]
    assert await wallet(pool, account) == Wallet(1_000, 0, 0)


async def test_a_charge_beyond_the_hold_is_the_houses_loss(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    reservation = a_reservation(account, 100)
    await ledger.reserve(reservation)
    assert await ledger.settle(a_settlement(reservation, charge=250)) == "settled"
    assert await wallet(pool, account) == Wallet(900, 0, 0)
    assert (await request_row(pool, reservation))["charged_nano"] == 100
    overrun = await pool.fetchval("SELECT amount_nano FROM overruns WHERE request_id = $1", reservation.id)
    assert overrun == 150
    await assert_books_balance(pool)


async def test_a_request_that_nobody_knows_is_unknown_and_changes_nothing(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    assert await ledger.settle(a_settlement(a_reservation(account), charge=5)) == "unknown"
    assert await wallet(pool, account) == Wallet(1_000, 0, 0)


async def test_a_poisoned_settlement_is_set_aside_and_its_batch_mates_are_settled(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(10_000)
    reservations = [a_reservation(account) for _ in range(20)]
    await reserve_all(ledger, *reservations)
    settlements = [a_settlement(reservation, charge=10) for reservation in reservations]
    settlements[7] = a_release(reservations[7], charge_nano=10)  # a charge for a hold that it releases: refused
    outcomes = await asyncio.gather(*(ledger.settle(settlement) for settlement in settlements))
    assert [number for number, outcome in enumerate(outcomes) if outcome == "quarantined"] == [7]
    assert set(outcomes) == {"settled", "quarantined"}
    assert await wallet(pool, account) == Wallet(10_000 - 19 * 10, 100, 1)
    (row,) = await pool.fetch("SELECT * FROM quarantine WHERE request_id = $1", reservations[7].id)
    assert "requests_free_unless_settled" in row["reason"]
    assert reservations[7].id in row["settlement"]
    await pool.execute("DELETE FROM quarantine")
    await ledger.settle(a_release(reservations[7]))
    await assert_books_balance(pool)


async def test_a_nul_in_a_message_of_a_vendor_poisons_nothing(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    reservation = a_reservation(await new_account(1_000))
    await ledger.reserve(reservation)
    assert await ledger.settle(a_release(reservation, error_message="bad\0gateway")) == "settled"
    assert (await request_row(pool, reservation))["error_message"] == "bad\N{REPLACEMENT CHARACTER}gateway"


async def test_what_a_caller_noted_on_a_request_is_kept_as_it_was_but_for_nul(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    noted = {"a": "\\u0000", "b": "\\\\u0000", "c": "\0", "d": "\\\0", "\N{SNOWMAN}": "x"}
    reservation = a_reservation(await new_account(1_000), metadata=noted)
    await ledger.reserve(reservation)
    stored = json.loads((await request_row(pool, reservation))["metadata"])
    assert stored == {name: text.replace("\0", "\N{REPLACEMENT CHARACTER}") for name, text in noted.items()}
