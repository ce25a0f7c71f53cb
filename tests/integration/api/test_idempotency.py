"""An Idempotency-Key on the real ledger: one request for one key, whatever comes twice, at once or late."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import msgspec
import pytest

from shared.errors import (
    IdempotencyMismatch,
    InsufficientCredit,
    InvalidRequest,
    PermissionDenied,
    RateLimited,
    RebootError,
)
from shared.ledger.ledger import Ledger
from shared.ledger.rows import Grant, Repeat, Reservation
from shared.settings import Settings
from tests.harness.builders import a_release, a_reservation, a_settlement, repeatable
from tests.integration.books import Wallet, assert_books_balance, limited_key, processes, reserve_all, wallet
from tests.integration.conftest import NewAccount, running

ENDS_THAT_KEEP_THE_KEY: dict[str, dict[str, Any]] = {
    "succeeded": {"charge": 40},
    "succeeded for free": {},
    "failed, charged": {"state": "failed", "charge": 1},
    "cancelled, charged": {"state": "cancelled", "charge": 1},
}
ENDS_THAT_FREE_THE_KEY: dict[str, dict[str, Any]] = {
    "failed": {"state": "failed"},
    "cancelled": {"state": "cancelled"},
    "released": {"state": "failed", "hold_state": "released"},
    "expired": {"state": "failed", "hold_state": "expired"},
}
ENDS = ENDS_THAT_KEEP_THE_KEY | ENDS_THAT_FREE_THE_KEY


async def _ended(ledger: Ledger, account: str, end: dict[str, Any]) -> Reservation:
    """A request with a key that has ended in this way."""
    first = a_reservation(account, **repeatable())
    await ledger.reserve(first)
    assert await ledger.settle(a_settlement(first, **end)) == "settled"
    return first


def _kinds(outcomes: list[Grant | Repeat | BaseException]) -> list[type]:
    return [type(outcome) for outcome in outcomes]


async def test_a_request_that_comes_again_while_it_runs_is_the_same_and_held_once(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    first = a_reservation(account, **repeatable())
    await ledger.reserve(first)
    for _ in range(2):
        assert await ledger.reserve(a_reservation(account, **repeatable())) == Repeat(first.id)
    assert await wallet(pool, account) == Wallet(1_000, 100, 1)


@pytest.mark.parametrize("end", ENDS_THAT_KEEP_THE_KEY)
async def test_a_request_that_ended_is_never_paid_for_again(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount, end: str
) -> None:
    account = await new_account(1_000)
    first = await _ended(ledger, account, ENDS[end])
    before = await wallet(pool, account)
    assert await ledger.reserve(a_reservation(account, **repeatable())) == Repeat(first.id)
    assert await wallet(pool, account) == before


@pytest.mark.parametrize("end", ENDS_THAT_FREE_THE_KEY)
async def test_a_request_that_failed_uncharged_is_started_again_and_has_the_key_from_then_on(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount, end: str
) -> None:
    account = await new_account(1_000)
    await _ended(ledger, account, ENDS[end])
    for _ in range(2):  # the second one fails as well
        again = a_reservation(account, **repeatable())
        assert isinstance(await ledger.reserve(again), Grant)
        assert await ledger.reserve(a_reservation(account, **repeatable())) == Repeat(again.id)
        await ledger.settle(a_settlement(again, **ENDS[end]))
    assert await wallet(pool, account) == Wallet(1_000, 0, 0)


@pytest.mark.parametrize("end", ENDS)
async def test_another_body_is_a_mismatch_however_the_first_request_ended(
    ledger: Ledger, new_account: NewAccount, end: str
) -> None:
    account = await new_account(1_000)
    await _ended(ledger, account, ENDS[end])
    with pytest.raises(IdempotencyMismatch):
        await ledger.reserve(a_reservation(account, **repeatable(body="another")))


async def test_a_key_without_a_fingerprint_is_nobodys_repeat(ledger: Ledger, new_account: NewAccount) -> None:
    account = await new_account(1_000)
    without = {**repeatable(), "fingerprint": None}
    with pytest.raises(RebootError):
        await ledger.reserve(a_reservation(account, **without))
    await ledger.reserve(a_reservation(account, **repeatable()))
    with pytest.raises(IdempotencyMismatch):
        await ledger.reserve(a_reservation(account, **without))


async def test_a_key_whose_time_is_over_is_as_good_as_new_even_for_another_body(
    ledger: Ledger, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    await ledger.reserve(a_reservation(account, **repeatable(kept_s=-1)))
    second = a_reservation(account, **repeatable(body="another"))
    assert isinstance(await ledger.reserve(second), Grant)
    assert await ledger.reserve(a_reservation(account, **repeatable(body="another"))) == Repeat(second.id)


async def test_the_same_key_of_another_account_or_another_key_is_another_request(
    ledger: Ledger, new_account: NewAccount
) -> None:
    account, other = await new_account(1_000), await new_account(1_000)
    outcomes = await reserve_all(
        ledger,
        a_reservation(account, **repeatable()),
        a_reservation(other, **repeatable(body="another")),
        a_reservation(account, **repeatable("another key")),
        a_reservation(account),
    )
    assert _kinds(outcomes) == [Grant] * 4


async def test_two_in_one_batch_are_one_request(ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount) -> None:
    account = await new_account(1_000)
    first, second, other = (a_reservation(account, **repeatable(body=body)) for body in ("body", "body", "another"))
    outcomes = await reserve_all(ledger, first, second, other, a_reservation(account))
    assert outcomes[1] == Repeat(first.id)
    assert _kinds(outcomes) == [Grant, Repeat, IdempotencyMismatch, Grant]
    assert await wallet(pool, account) == Wallet(1_000, 200, 2)


async def test_two_in_one_batch_are_one_new_request_when_the_earlier_one_had_failed(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    await _ended(ledger, account, ENDS["failed"])
    again = a_reservation(account, **repeatable())
    outcomes = await reserve_all(ledger, again, a_reservation(account, **repeatable()))
    assert outcomes[1] == Repeat(again.id)
    assert await wallet(pool, account) == Wallet(1_000, 100, 1)


async def test_many_at_once_from_several_processes_are_one_request(
    pool: asyncpg.Pool, settings: Settings, new_account: NewAccount
) -> None:
    account, other = await new_account(100_000), await new_account(100_000)
    wishes = [a_reservation(owner, **repeatable()) for _ in range(60) for owner in (account, other)]
    async with processes(settings, 4) as ledgers:
        outcomes = await asyncio.gather(*(ledgers[i % 4].reserve(wish) for i, wish in enumerate(wishes)))
    for owner in (account, other):
        own = {wish.id: outcome for wish, outcome in zip(wishes, outcomes, strict=True) if wish.account_id == owner}
        (admitted,) = [request for request, outcome in own.items() if isinstance(outcome, Grant)]
        assert {outcome for outcome in own.values() if isinstance(outcome, Repeat)} == {Repeat(admitted)}
        assert await wallet(pool, owner) == Wallet(100_000, 100, 1)


async def test_a_refusal_does_not_use_up_the_key(
    pool: asyncpg.Pool, settings: Settings, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    frugal = await limited_key(pool, account, limit=99)
    books = Ledger(pool, msgspec.structs.replace(settings, in_flight_max=1))
    async with running(books.run_reserve(), books.run_settle()):
        for refused, hold, key in ((InsufficientCredit, 1_001, "any"), (PermissionDenied, 100, frugal)):
            with pytest.raises(refused):
                await books.reserve(a_reservation(account, hold, key_id=key, **repeatable()))
        await books.reserve(a_reservation(account))
        with pytest.raises(RateLimited):
            await books.reserve(a_reservation(account, **repeatable()))
        with pytest.raises(InvalidRequest):
            await books.reserve(a_reservation(account, 2**40, input_price=10**12, **repeatable()))
    assert not await pool.fetch("SELECT FROM idempotency_keys WHERE account_id = $1", account)


async def test_a_refused_repeat_of_a_failed_request_leaves_the_key_as_it_was(
    ledger: Ledger, new_account: NewAccount
) -> None:
    account = await new_account(100)
    await _ended(ledger, account, ENDS["failed"])
    with pytest.raises(InsufficientCredit):
        await ledger.reserve(a_reservation(account, 101, **repeatable()))
    with pytest.raises(IdempotencyMismatch):
        await ledger.reserve(a_reservation(account, **repeatable(body="another")))
    assert isinstance(await ledger.reserve(a_reservation(account, **repeatable())), Grant)


async def test_a_row_that_the_database_refuses_leaves_its_key_to_the_next_one(
    ledger: Ledger, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    broken, sound, again = (
        a_reservation(account, lane=lane, **repeatable()) for lane in ("fast", "interactive", "interactive")
    )
    outcomes = await reserve_all(ledger, broken, sound, again)
    assert _kinds(outcomes) == [RebootError, Grant, Repeat]
    assert outcomes[2] == Repeat(sound.id)


async def test_a_repeat_needs_neither_credit_nor_room(
    pool: asyncpg.Pool, settings: Settings, new_account: NewAccount
) -> None:
    account = await new_account(100)
    books = Ledger(pool, msgspec.structs.replace(settings, in_flight_max=1))
    async with running(books.run_reserve(), books.run_settle()):
        first = a_reservation(account, **repeatable())
        await books.reserve(first)
        assert await books.reserve(a_reservation(account, **repeatable())) == Repeat(first.id)


async def test_a_release_that_comes_late_frees_the_key_and_a_charge_later_still_is_not_made(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    first, again = (a_reservation(account, **repeatable()) for _ in range(2))
    await ledger.reserve(first)  # its caller was told 503
    assert await ledger.reserve(a_reservation(account, **repeatable())) == Repeat(first.id)
    await ledger.settle(a_release(first))
    assert isinstance(await ledger.reserve(again), Grant)
    assert await ledger.settle(a_settlement(first, charge=40)) == "unbilled"
    assert await ledger.settle(a_release(first)) == "repeated"
    assert await ledger.reserve(a_reservation(account, **repeatable())) == Repeat(again.id)
    await ledger.settle(a_settlement(again, charge=40))
    assert await wallet(pool, account) == Wallet(960, 0, 0)
    await assert_books_balance(pool)
