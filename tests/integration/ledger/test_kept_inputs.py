"""What is kept of a request that others may go on from: with its hold, within its account's room, until it is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from shared.errors import InsufficientCredit, RequestTooLarge
from shared.input_tokens import BYTES_PER_TOKEN
from shared.job import Done, KeptAnswer, pack
from shared.ledger.ledger import RESPONSES, Ledger, settling
from shared.ledger.rows import Grant, Repeat, Reservation, StoredInput
from shared.money import Usage
from shared.settings import Settings
from tests.harness.builders import a_release, a_reservation, a_settlement, repeatable
from tests.harness.support import eventually_true
from tests.integration.books import processes, reserve_all, somebody_waits_for_a_lock
from tests.integration.conftest import NewAccount, running

ROOM = 1_000
INLINE = 200
TO_COME = BYTES_PER_TOKEN
"""What counts of the answers that `_keeping` may have, of one token each, until they are there."""
ANSWER = pack(KeptAnswer(Done("stop", Usage(1, 1), 40, "x" * 50), None))


@pytest.fixture
async def narrow(pool: asyncpg.Pool, settings: Settings) -> AsyncIterator[Ledger]:
    """A ledger whose accounts have little room."""
    changes = {"responses_bytes_max": ROOM, "reserve_inputs_bytes_max": INLINE}
    ledger = Ledger(pool, msgspec.structs.replace(settings, **changes))
    async with running(ledger.run_reserve(), ledger.run_settle()):
        yield ledger


def _keeping(account: str, size: int, hold: int = 1, **changes: Any) -> Reservation:
    """It counts `size` bytes, and `TO_COME` until it ends."""
    stored = StoredInput(repeated=b"t", input=b"i" * (size - 1), previous_id="req_before")
    fields: dict[str, Any] = {"stored_input": stored, "keep_until": datetime.now(UTC) + timedelta(days=1), **changes}
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
    reservation = _keeping(
        account, 10, stored_input=StoredInput(repeated=b'{"a":1}', input=every, previous_id=None, outlives_reader=True)
    )
    assert isinstance(await narrow.reserve(reservation), Grant)
    row = await _row(pool, reservation)
    assert row is not None
    assert (row["told"], row["input"], row["previous_id"], row["attended"]) == (b'{"a":1}', every, None, False)
    assert (row["account_id"], row["keep_until"], row["bytes"]) == (account, reservation.keep_until, 107 + TO_COME)
    assert await _room(pool, account) == 107 + TO_COME


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
    assert await _room(pool, account) == 50 + TO_COME


async def test_what_has_no_room_is_refused_in_words_and_others_are_not(
    narrow: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    """One database call with all of them; a request that keeps nothing needs no room."""
    account, other = await new_account(100), await new_account(100)
    await reserve_all(narrow, *(_keeping(account, 150 - TO_COME) for _ in range(6)))
    fits, beyond, plain, elsewhere = await reserve_all(
        narrow, _keeping(account, 100 - TO_COME), _keeping(account, 2), a_reservation(account, 1), _keeping(other, 150)
    )
    assert [type(answer) for answer in (fits, plain, elsewhere)] == [Grant] * 3
    assert isinstance(beyond, RequestTooLarge)
    assert (beyond.status, beyond.details) == (413, {"param": "store"})
    assert "may take 6 bytes" in beyond.message
    assert "leave room for 0" in beyond.message
    assert await _room(pool, account) == ROOM
    assert await pool.fetchval("SELECT in_flight FROM accounts WHERE id = $1", account) == 8


async def test_a_large_input_is_written_before_its_request_and_counts_once_that_is_admitted(
    narrow: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(100)
    large = _keeping(account, 500)
    aside = await narrow.write_large_input(large)
    row = await _row(pool, large)
    assert row is not None
    assert (row["input"], row["bytes"], row["keep_until"] < large.keep_until) == (b"i" * 499, 0, True)
    assert (aside.stored_input and aside.stored_input.input, await _room(pool, account)) == (b"", 0)
    assert isinstance(await narrow.reserve(aside), Grant)
    row = await _row(pool, large)
    assert row is not None
    assert (row["input"], row["bytes"], row["keep_until"]) == (b"i" * 499, 500 + TO_COME, large.keep_until)
    assert await _room(pool, account) == 500 + TO_COME
    small = _keeping(account, INLINE)
    assert await narrow.write_large_input(small) is small
    with pytest.raises(RequestTooLarge, match="leave room for 496"):
        await narrow.write_large_input(too_large := _keeping(account, 497 - TO_COME))
    assert await _row(pool, too_large) is None


async def test_an_answer_that_may_come_counts_and_from_its_end_on_the_one_that_came(
    narrow: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(100)
    long: dict[str, Any] = {"output_limit": 50, "output_floor": 50}
    answered, failed, cancelled = (_keeping(account, 100, **long) for _ in range(3))
    assert [type(one) for one in await reserve_all(narrow, answered, failed, cancelled)] == [Grant] * 3
    assert await _room(pool, account) == await _summed(pool, account) == 3 * (100 + 50 * BYTES_PER_TOKEN)
    assert isinstance(await narrow.reserve(_keeping(account, 100 - TO_COME)), Grant)
    with pytest.raises(RequestTooLarge, match="lower max_output_tokens"):
        await narrow.reserve(_keeping(account, 1))
    settlement = a_settlement(answered, answer=ANSWER, keep_until=answered.keep_until)
    assert await narrow.settle(settlement) == "settled"
    assert await narrow.settle(settlement) == "repeated"
    await narrow.settle(a_release(failed))
    await narrow.settle(a_settlement(cancelled, state="cancelled"))
    assert await _room(pool, account) == await _summed(pool, account) == 400 + len(ANSWER)


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


async def test_parallel_requests_from_several_processes_never_pass_the_room(
    pool: asyncpg.Pool, settings: Settings, new_account: NewAccount
) -> None:
    """Nor are any refused that had room: as many are admitted as fit."""
    account = await new_account(1_000)
    narrow_settings = msgspec.structs.replace(settings, responses_bytes_max=ROOM)
    await pool.execute("INSERT INTO response_room VALUES ($1, 0)", account)  # as since its first response
    async with processes(narrow_settings, 6) as ledgers:
        wanted = [(ledger, _keeping(account, 50 - TO_COME)) for ledger in ledgers for _ in range(15)]
        calls = (ledger.reserve(reservation) for ledger, reservation in wanted)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        admitted = [one for (_, one), answer in zip(wanted, answers, strict=True) if isinstance(answer, Grant)]
        assert sum(isinstance(answer, RequestTooLarge) for answer in answers) == len(wanted) - len(admitted)
        assert len(admitted) == ROOM // 50
        assert await _room(pool, account) == await _summed(pool, account) == ROOM
        await asyncio.gather(*(ledgers[0].settle(a_release(one)) for one in admitted))
    assert await _room(pool, account) == await _summed(pool, account) == ROOM - len(admitted) * TO_COME


async def test_what_is_deleted_while_its_answer_is_being_kept_leaves_nothing(
    narrow: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(100)
    reservation = _keeping(account, 100)
    await narrow.reserve(reservation)
    settlement = a_settlement(reservation, answer=ANSWER, keep_until=reservation.keep_until)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(*settling([settlement]))
        deletion = asyncio.ensure_future(narrow.forget(account, reservation.id))
        await eventually_true(lambda: somebody_waits_for_a_lock(pool), "the deletion waits for the settlement")
        await transaction.commit()
    assert await deletion
    await _nothing_is_left(pool, account, reservation)


async def test_an_answer_that_comes_while_it_is_being_deleted_is_not_kept(
    narrow: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(100)
    reservation = _keeping(account, 100)
    await narrow.reserve(reservation)
    settlement = a_settlement(reservation, answer=ANSWER, keep_until=reservation.keep_until)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        for query in ("lock_to_forget", "forget"):
            await connection.execute(RESPONSES[query], reservation.id, account)
        end = asyncio.ensure_future(narrow.settle(settlement))
        await eventually_true(lambda: somebody_waits_for_a_lock(pool), "the settlement waits for the deletion")
        await transaction.commit()
    assert await end == "settled"
    await _nothing_is_left(pool, account, reservation)


async def _nothing_is_left(pool: asyncpg.Pool, account: str, reservation: Reservation) -> None:
    assert await pool.fetchval("SELECT count(*) FROM answers WHERE request_id = $1", reservation.id) == 0
    row = await _row(pool, reservation)
    assert row is not None
    assert (row["forgotten"], row["told"], row["input"], row["bytes"]) == (True, b"", b"", 0)
    assert await _room(pool, account) == 0
