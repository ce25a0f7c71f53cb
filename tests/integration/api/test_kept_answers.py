"""Answers that are kept with the settlement: byte for byte, once, and as long as they should."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest

from api.requests.log import find_answer
from shared.chat import Message
from shared.job import Done, KeptAnswer, pack
from shared.ledger.ledger import Ledger
from shared.ledger.rows import Reservation
from shared.money import Usage
from shared.settings import Settings
from tests.harness.builders import a_release, a_reservation, a_settlement
from tests.integration.books import Wallet, reserve_all, wallet
from tests.integration.conftest import NewAccount, running

TEXTS = [
    "",
    "\0",
    "nul \0 within, \\u0000 written out, \\\\u0000 twice",
    "".join(map(chr, range(0x300))),
    "\N{SNOWMAN}\N{PILE OF POO}\N{COMBINING ACUTE ACCENT}\u202e\ufeff\ufffd\uffff\U0010ffff\ud7ff\ue000\x1e\x7f",
    "x" * 1_000_000,
]


def _tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


async def _held(ledger: Ledger, account: str) -> Reservation:
    reservation = a_reservation(account)
    await ledger.reserve(reservation)
    return reservation


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
async def test_an_answer_comes_back_as_it_was(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount, text: str
) -> None:
    reservation = await _held(ledger, await new_account(1_000))
    answer = KeptAnswer(Done("stop", Usage(1, 1), 40, text), [Message("user", text)])
    settlement = a_settlement(reservation, charge=40, answer=pack(answer), keep_until=_tomorrow())
    assert await ledger.settle(settlement) == "settled"
    assert await find_answer(pool, reservation.id) == answer


async def test_every_byte_is_kept(ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount) -> None:
    reservation = await _held(ledger, await new_account(1_000))
    every = bytes(range(256)) * 3
    await ledger.settle(a_settlement(reservation, answer=every, keep_until=_tomorrow()))
    assert await pool.fetchval("SELECT answer FROM answers WHERE request_id = $1", reservation.id) == every


async def test_an_answer_is_kept_once_and_a_repeat_changes_nothing(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    reservation = await _held(ledger, account)
    settlements = [
        a_settlement(reservation, charge=40, answer=answer, keep_until=_tomorrow()) for answer in (b"1", b"2")
    ]
    assert [await ledger.settle(settlement) for settlement in settlements] == ["settled", "repeated"]
    rows = await pool.fetch("SELECT answer, keep_until FROM answers WHERE request_id = $1", reservation.id)
    assert [tuple(row) for row in rows] == [(b"1", settlements[0].keep_until)]
    assert await wallet(pool, account) == Wallet(960, 0, 0)


async def test_a_request_that_was_not_to_be_kept_or_had_been_released_has_no_answer(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    plain, released = [await _held(ledger, account) for _ in range(2)]
    await ledger.settle(a_settlement(plain, charge=40))
    await ledger.settle(a_release(released))
    assert await ledger.settle(a_settlement(released, 40, answer=b"late", keep_until=_tomorrow())) == "unbilled"
    assert not await pool.fetch("SELECT FROM answers WHERE request_id = ANY($1)", [plain.id, released.id])


async def test_an_answer_whose_time_is_over_is_not_given_any_more(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    reservation = await _held(ledger, await new_account(1_000))
    answer = KeptAnswer(Done("stop", Usage(1, 1), 40, "text"), None)
    await ledger.settle(a_settlement(reservation, answer=pack(answer), keep_until=datetime.now(UTC)))
    assert await find_answer(pool, reservation.id) is None


async def test_many_large_answers_are_written_in_small_commits(
    pool: asyncpg.Pool, settings: Settings, new_account: NewAccount
) -> None:
    """Nobody waits for the account while megabytes are written."""
    account = await new_account(10_000)
    books = Ledger(pool, msgspec.structs.replace(settings, settle_answers_bytes_max=2_500, settle_window_s=0.05))
    async with running(books.run_reserve(), books.run_settle()):
        reservations = [a_reservation(account) for _ in range(16)]
        await reserve_all(books, *reservations)
        ends = [a_settlement(row, 1, answer=bytes(1_000), keep_until=_tomorrow()) for row in reservations]
        assert await asyncio.gather(*(books.settle(end) for end in ends)) == ["settled"] * 16
    query = "SELECT count(*) AS answers FROM answers WHERE request_id = ANY($1) GROUP BY xmin::text"
    written = [row["answers"] for row in await pool.fetch(query, [row.id for row in reservations])]
    assert (sum(written), max(written)) == (16, 2)


async def test_a_settlement_that_is_set_aside_keeps_no_answer(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    reservation = await _held(ledger, await new_account(1_000))
    poisoned = a_release(reservation, charge_nano=10, answer=b"a secret answer", keep_until=_tomorrow())
    assert await ledger.settle(poisoned) == "quarantined"
    row = await pool.fetchrow("SELECT settlement FROM quarantine WHERE request_id = $1", reservation.id)
    assert msgspec.json.decode(row["settlement"])["answer"] is None  # type: ignore[index]
