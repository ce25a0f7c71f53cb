"""What is kept of a request that others may go on from: with its hold, within its account's room, until it is forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from shared.errors import InsufficientCredit, RequestTooLarge
from shared.job import Done, KeptAnswer, pack
from shared.ledger.ledger import Ledger
from shared.ledger.rows import Grant, KeptInput, Repeat, Reservation
from shared.money import Usage
from shared.settings import Settings
from tests.harness.builders import a_release, a_reservation, a_settlement, repeatable
from tests.integration.books import reserve_all
from tests.integration.conftest import NewAccount, running

ROOM = 1_000
INLINE = 200
ANSWER = pack(KeptAnswer(Done("stop", Usage(1, 1), 40, "x" * 50), None))


@pytest.fixture
async def narrow(pool: asyncpg.Pool, settings: Settings) -> AsyncIterator[Ledger]:
    """A ledger whose accounts have little room."""
    changes = {"responses_bytes_max": ROOM, "reserve_inputs_bytes_max": INLINE}
    ledger = Ledger(pool, msgspec.structs.replace(settings, **changes))
    async with running(ledger.run_reserve(), ledger.run_settle()):
        yield ledger


def _keeping(account: str, size: int, hold: int = 1, **changes: Any) -> Reservation:
    kept = KeptInput(told=b"t", input=b"i" * (size - 1), previous_id="req_before")
    fields: dict[str, Any] = {"kept": kept, "keep_until": datetime.now(UTC) + timedelta(days=1), **changes}
    return a_reservation(account, hold, **fields)


async def _row(pool: asyncpg.Pool, reservation: Reservation) -> asyncpg.Record | None:
    return await pool.fetchrow("SELECT * FROM responses WHERE request_id = $1", reservation.id)


async def _room(pool: asyncpg.Pool, account: str) -> int:
    return int(await pool.fetchval("SELECT bytes FROM response_room WHERE account_id = $1", account) or 0)


async def _summed(pool: asyncpg.Pool, account: str) -> int:
    query = "SELECT COALESCE(sum(bytes), 0) FROM responses WHERE account_id = $1"
    return int(await pool.fetchval(query, account))


async def test_an_input_is_kept_with_its_hold(narrow: Ledger, pool: asyncpg.Pool, new_account: NewAccount) -> None:
    account = await new_account(100)
    every = bytes(range(256))[:100]
    reservation = _keeping(account, 10, kept=KeptInput(told=b'{"a":1}', input=every, previous_id=None, attended=False))
    assert isinstance(await narrow.reserve(reservation), Grant)
    row = await _row(pool, reservation)
    assert row is not None
    assert (row["told"], row["input"], row["previous_id"], row["attended"]) == (b'{"a":1}', every, None, False)
    assert (row["account_id"], row["keep_until"], row["bytes"]) == (account, reservation.keep_until, 107)
    assert await _room(pool, account) == 107


async def test_nothing_is_kept_of_what_is_refused_or_came_before(
    narrow: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(10)
    first = _keeping(account, 50, 5, **repeatable())
    again, poor, plain = (
        _keeping(account, 50, 5, **repeatable()),
        _keeping(account, 50, 11),
        a_reservation(account, 5),
    )
    assert isinstance(await narrow.reserve(first), Grant)
    answers = await reserve_all(narrow, again, poor, plain)
    assert [type(answer) for answer in answers] == [Repeat, InsufficientCredit, Grant]
    assert [await _row(pool, one) for one in (again, poor, plain)] == [None, None, None]
    assert await _room(pool, account) == 50


async def test_what_has_no_room_is_refused_in_words_and_others_are_not(
    narrow: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    """One database call with all of them; a request that keeps nothing needs no room."""
    account, other = await new_account(100), await new_account(100)
    await reserve_all(narrow, *(_keeping(account, 150) for _ in range(6)))
    fits, beyond, plain, elsewhere = await reserve_all(
        narrow, _keeping(account, 100), _keeping(account, 2), a_reservation(account, 1), _keeping(other, 150)
    )
    assert [type(answer) for answer in (fits, plain, elsewhere)] == [Grant] * 3
    assert isinstance(beyond, RequestTooLarge)
    assert (beyond.status, beyond.details) == (413, {"param": "store"})
    assert "takes 2 bytes" in beyond.message
    assert await _room(pool, account) == ROOM
    assert await pool.fetchval("SELECT in_flight FROM accounts WHERE id = $1", account) == 8


async def test_a_large_input_is_written_before_its_request_and_counts_once_that_is_admitted(
    narrow: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(100)
    large = _keeping(account, 500)
    aside = await narrow.put_aside(large)
    row = await _row(pool, large)
    assert row is not None
    assert (row["input"], row["bytes"], row["keep_until"] < large.keep_until) == (b"i" * 499, 0, True)
    assert (aside.kept and aside.kept.input, await _room(pool, account)) == (b"", 0)
    assert isinstance(await narrow.reserve(aside), Grant)
    row = await _row(pool, large)
    assert row is not None
    assert (row["input"], row["bytes"], row["keep_until"]) == (b"i" * 499, 500, large.keep_until)
    assert await _room(pool, account) == 500
    small = _keeping(account, INLINE)
    assert await narrow.put_aside(small) is small
    with pytest.raises(RequestTooLarge, match="leave room for 500"):
        await narrow.put_aside(too_large := _keeping(account, 501))
    assert await _row(pool, too_large) is None


async def test_an_answer_counts_from_its_end_on_and_what_is_released_keeps_its_input(
    narrow: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(100)
    answered, failed = _keeping(account, 100), _keeping(account, 100)
    await reserve_all(narrow, answered, failed)
    settlement = a_settlement(answered, answer=ANSWER, keep_until=answered.keep_until)
    assert await narrow.settle(settlement) == "settled"
    assert await narrow.settle(settlement) == "repeated"
    await narrow.settle(a_release(failed))
    assert await _room(pool, account) == await _summed(pool, account) == 200 + len(ANSWER)


async def test_what_is_forgotten_is_gone_with_its_answer_and_leaves_room(
    narrow: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account, stranger = await new_account(100), await new_account(100)
    ended, running_on = _keeping(account, 100), _keeping(account, 100)
    await reserve_all(narrow, ended, running_on)
    await narrow.settle(a_settlement(ended, answer=ANSWER, keep_until=ended.keep_until))
    assert not await narrow.forget(stranger, ended.id)
    for one in (ended, running_on):
        assert await narrow.forget(account, one.id)
        assert not await narrow.forget(account, one.id)
    await narrow.settle(a_settlement(running_on, answer=ANSWER, keep_until=running_on.keep_until))
    ids = [ended.id, running_on.id]
    assert await pool.fetchval("SELECT count(*) FROM answers WHERE request_id = ANY($1)", ids) == 0
    assert (
        await pool.fetchval("SELECT sum(length(input) + length(told)) FROM responses WHERE request_id = ANY($1)", ids)
        == 0
    )
    assert await _room(pool, account) == await _summed(pool, account) == 0
