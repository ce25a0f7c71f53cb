"""What an account's files may have together is bounded, also for uploads that come at once, and deleting frees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest

from api.batches import creation
from api.batches.creation import NewBatch, create_batch
from shared.batches import files
from shared.batches.batches import Batch
from shared.batches.files import Contents, File, Line, abandon_upload, begin_file, delete_file, finish_file
from shared.batches.queries import FILES
from shared.batches.quota import FILE_BYTES, LINE_BYTES, Announced, TakenQuota, bytes_of
from shared.errors import Conflict, InsufficientCredit, NotFound, RequestTooLarge, Unavailable
from shared.ids import new_id
from shared.money import NANO_PER_USD, nano_to_usd
from shared.settings import Settings
from shared.stores.lock_numbers import Lock
from tests.harness.support import eventually_true
from tests.integration.batches.batching import COUNTED, SETTINGS, WITHOUT_CREDIT, a_batch, a_file
from tests.integration.books import somebody_waits_for_a_lock
from tests.integration.conftest import NewAccount
from tests.integration.ledger.scratch import Scratch

TEN = 10 * FILE_BYTES
SMALL = msgspec.structs.replace(SETTINGS, files_bytes_max=TEN)
IN_TEN_DAYS_MS = int((datetime.now(UTC) + timedelta(days=10)).timestamp() * 1_000)
COUNTS = "SELECT COALESCE(sum(counted), 0)::bigint FROM files WHERE account_id = $1"


@pytest.fixture
async def scratch(fresh_database_url: str) -> AsyncIterator[Scratch]:
    async with asyncpg.create_pool(fresh_database_url, min_size=1, max_size=8) as pool:
        yield Scratch(pool)


async def _begin(scratch: Scratch, account: str, said: int = 0, settings: Settings = SMALL) -> File:
    announced = Announced(said, by_credit=False)
    return await begin_file(scratch.pool, account, "native", "lines", settings, announced)


async def test_uploads_at_once_do_not_share_their_room(scratch: Scratch) -> None:
    account, other = [await scratch.account(0) for _ in range(2)]
    said = 3 * FILE_BYTES - FILE_BYTES
    wanted = [_begin(scratch, one, said) for one in [account] * 8 + [other] * 3]
    made = await asyncio.gather(*wanted, return_exceptions=True)
    assert sum(isinstance(one, File) and one.account_id == account for one in made) == 3
    assert sum(isinstance(one, File) and one.account_id == other for one in made) == 3
    assert {type(one) for one in made} == {File, RequestTooLarge}
    assert await scratch.pool.fetchval(COUNTS, account) == 9 * FILE_BYTES


async def test_who_asks_for_room_while_another_takes_it_waits_and_sees_what_is_left(scratch: Scratch) -> None:
    account = await scratch.account(0)
    limits = (SMALL.files_max, SMALL.files_bytes_max, None, None, SMALL.upload_silent_s)
    moment = datetime.now(UTC)
    async with scratch.pool.acquire() as first, first.transaction():
        first_file = (new_id("file"), account, 6 * FILE_BYTES, *limits, "native", "x", moment, moment)
        await first.execute(FILES["begin"], *first_file)
        second = asyncio.ensure_future(_begin(scratch, account, 5 * FILE_BYTES))
        await eventually_true(lambda: somebody_waits_for_a_lock(scratch.pool), "the second waits")
    with pytest.raises(RequestTooLarge, match="have 6,000 bytes"):
        await second


async def test_uploads_that_grow_at_once_do_not_share_their_room(scratch: Scratch) -> None:
    account = await scratch.account(0)
    files = [await _begin(scratch, account) for _ in range(5)]
    taken = [TakenQuota(scratch.pool, file, WITHOUT_CREDIT, SMALL) for file in files]
    grown = await asyncio.gather(*(one.reach(4 * FILE_BYTES) for one in taken), return_exceptions=True)
    assert [type(one) for one in grown if one is not None] == [RequestTooLarge] * 4
    assert await scratch.pool.fetchval(COUNTS, account) == 8 * FILE_BYTES


async def test_a_refusal_says_how_much_there_is_and_how_to_make_room(scratch: Scratch) -> None:
    account = await scratch.account(0)
    await _begin(scratch, account, 8 * FILE_BYTES)
    with pytest.raises(RequestTooLarge) as refused:
        await _begin(scratch, account, 2 * FILE_BYTES)
    for word in ("have 9,000 bytes", "takes 3,000 more", "may have 10,000", "DELETE /v1/files/{id}"):
        assert word in refused.value.message


async def test_an_account_has_only_so_many_files(scratch: Scratch) -> None:
    account, settings = await scratch.account(0), msgspec.structs.replace(SETTINGS, files_max=2)
    files = [await a_file(scratch.pool, account, "openai") for _ in range(2)]
    with pytest.raises(RequestTooLarge, match="has 2 files"):
        await _begin(scratch, account, settings=settings)
    await delete_file(scratch.pool, account, files[0].id, settings)
    await _begin(scratch, account, settings=settings)


@pytest.mark.parametrize("balance", [0, 1, 5_000, NANO_PER_USD])
async def test_the_balance_bounds_what_files_may_have(scratch: Scratch, balance: int) -> None:
    """A byte for each nano-USD here."""
    free = SETTINGS.files_bytes_free
    account = await scratch.account(balance)
    with pytest.raises(InsufficientCredit) as refused:
        await begin_file(scratch.pool, account, "native", "x", SETTINGS, Announced(free + balance + 1 - FILE_BYTES))
    assert "for each USD of its balance" in refused.value.message
    assert refused.value.details["needed_usd"] == nano_to_usd(balance + 1)
    assert not await scratch.pool.fetchval("SELECT count(*) FROM files")
    await begin_file(scratch.pool, account, "native", "x", SETTINGS, Announced(free + balance - FILE_BYTES))


async def test_the_balance_does_not_bound_a_repeat(scratch: Scratch) -> None:
    account = await scratch.account(1)
    for by_credit in (False, True):
        announced = Announced(SETTINGS.files_bytes_free, by_credit)
        with pytest.raises(InsufficientCredit) if by_credit else nullcontext():
            await begin_file(scratch.pool, account, "native", "x", SETTINGS, announced)


async def test_an_upload_asks_for_more_only_when_it_needs_more(scratch: Scratch) -> None:
    account = await scratch.account(0)
    announced = Announced(2 * FILE_BYTES, by_credit=False)
    file = await begin_file(scratch.pool, account, "native", "x", SMALL, announced)
    taken = TakenQuota(scratch.pool, file, announced, SMALL)
    await scratch.pool.execute("UPDATE files SET counted = 7")  # whoever asks writes this
    await taken.reach(3 * FILE_BYTES)
    assert await scratch.pool.fetchval(COUNTS, account) == 7
    await taken.reach(3 * FILE_BYTES + 1)
    assert await scratch.pool.fetchval(COUNTS, account) == 3 * FILE_BYTES + 1


async def test_an_upload_that_goes_on_says_so(scratch: Scratch) -> None:
    settings = msgspec.structs.replace(SMALL, upload_silent_s=0.04)
    file = await _begin(scratch, await scratch.account(0), settings=settings)
    taken = TakenQuota(scratch.pool, file, WITHOUT_CREDIT, settings)
    before = await scratch.pool.fetchval("SELECT look_at FROM files")
    await asyncio.sleep(0.02)
    await taken.show_alive()
    assert await scratch.pool.fetchval("SELECT look_at FROM files") > before


async def test_what_an_upload_had_taken_and_did_not_need_is_free_at_its_end(scratch: Scratch) -> None:
    account = await scratch.account(0)
    file = await _begin(scratch, account, 5 * FILE_BYTES)
    await finish_file(scratch.pool, file, "key", Contents(10, 2 * FILE_BYTES, 1, 0))
    assert await scratch.pool.fetchval(COUNTS, account) == 2 * FILE_BYTES


async def test_an_upload_that_was_given_up_is_told(scratch: Scratch) -> None:
    file = await _begin(scratch, await scratch.account(0))
    taken = TakenQuota(scratch.pool, file, WITHOUT_CREDIT, SMALL)
    await abandon_upload(scratch.pool, file)
    with pytest.raises(Unavailable, match="given up"):
        await taken.reach(2 * FILE_BYTES)
    with pytest.raises(Unavailable, match="given up"):
        await finish_file(scratch.pool, file, "key", Contents(10, FILE_BYTES, 1, 0))
    assert await scratch.pool.fetchval("SELECT state FROM files WHERE id = $1", file.id) == "deleted"


async def test_deleting_frees_at_once_but_for_what_results_keep(scratch: Scratch) -> None:
    account = await scratch.account(0)
    alone, used = [await a_file(scratch.pool, account, "openai", "openai") for _ in range(2)]
    batch = (await create_batch(scratch.pool, NewBatch(used, "key", "/api/endpoint"), SETTINGS)).batch
    assert await scratch.pool.fetchval(COUNTS, account) == 2 * COUNTED
    await delete_file(scratch.pool, account, alone.id, SETTINGS)
    assert await scratch.pool.fetchval(COUNTS, account) == COUNTED
    with pytest.raises(Conflict):
        await delete_file(scratch.pool, account, used.id, SETTINGS)
    await scratch.pool.execute("UPDATE batches SET ended_at = now(), state = 'failed' WHERE id = $1", batch.id)
    await delete_file(scratch.pool, account, used.id, SETTINGS)
    assert await scratch.pool.fetchval(COUNTS, account) == 2 * LINE_BYTES


async def test_a_file_whose_results_are_over_is_free_as_a_whole(scratch: Scratch) -> None:
    account = await scratch.account(0)
    batch = await a_batch(scratch.pool, account)
    await scratch.pool.execute("UPDATE batches SET ended_at = now(), state = 'failed'")
    await scratch.pool.execute("UPDATE batch_keeping SET results_until = now()")
    await delete_file(scratch.pool, account, batch.file_id, SETTINGS)
    assert await scratch.pool.fetchval(COUNTS, account) == 0


async def test_who_deletes_a_file_sees_the_batch_that_is_just_made_over_it(scratch: Scratch) -> None:
    account = await scratch.account(0)
    batch = await a_batch(scratch.pool, account)
    await scratch.pool.execute("UPDATE batches SET ended_at = now(), state = 'failed'")
    lock = "SELECT FROM files WHERE id = $1 FOR SHARE"
    async with scratch.pool.acquire() as creating, creating.transaction():
        await creating.execute(lock, batch.file_id)
        await creating.execute("UPDATE batches SET ended_at = NULL, state = 'in_progress'")
        deleting = asyncio.ensure_future(delete_file(scratch.pool, account, batch.file_id, SETTINGS))
        await eventually_true(lambda: somebody_waits_for_a_lock(scratch.pool), "whoever deletes waits")
    with pytest.raises(Conflict):
        await deleting


async def test_who_makes_a_batch_waits_for_whoever_deletes_its_file(scratch: Scratch) -> None:
    account = await scratch.account(0)
    file = await a_file(scratch.pool, account, "openai")
    async with scratch.pool.acquire() as deleting, deleting.transaction():
        assert await deleting.fetchval(FILES["delete"], file.id, account, SETTINGS.batch_days_kept, LINE_BYTES)
        creating = asyncio.ensure_future(create_batch(scratch.pool, NewBatch(file, "key", "/api/endpoint"), SETTINGS))
        await eventually_true(lambda: somebody_waits_for_a_lock(scratch.pool), "whoever makes a batch waits")
    with pytest.raises(NotFound, match="deleted just now"):
        await creating


async def test_no_batch_is_made_over_a_file_that_was_just_deleted(scratch: Scratch) -> None:
    account = await scratch.account(0)
    file = await a_file(scratch.pool, account, "openai")
    await delete_file(scratch.pool, account, file.id, SETTINGS)
    with pytest.raises(NotFound, match="deleted just now"):
        await create_batch(scratch.pool, NewBatch(file, "key", "/api/endpoint"), SETTINGS)
    assert not await scratch.pool.fetchval("SELECT count(*) FROM batches")


async def test_days_are_those_of_the_database(scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A front door whose clock is wrong would store lines on a day that has no partition."""
    for module in (files, creation):
        monkeypatch.setattr(module, "new_id", lambda prefix: new_id(prefix, IN_TEN_DAYS_MS))
    batch = await a_batch(scratch.pool, await scratch.account(0))
    assert batch.created_at > datetime.now(UTC) + timedelta(days=9)
    assert batch.day == batch.file_day == datetime.now(UTC).date()


@pytest.mark.parametrize(
    ("line", "sent", "counted"),
    [
        (Line(number=1, custom_id="a", feed="openai", asked=b"x" * 50), 60, 51 + LINE_BYTES),
        (Line(number=1, custom_id="a", feed="openai", asked=b"x" * 50), 1_000, 1_000),
        (Line(number=1, custom_id=None, error_code="invalid_request", error_message="é" * 10), 2, 20 + LINE_BYTES),
    ],
)
def test_a_line_counts_as_it_was_sent_or_as_it_is_kept(line: Line, sent: int, counted: int) -> None:
    assert bytes_of(line, sent) == counted


@pytest.mark.parametrize("lock", [Lock.FILES_OF_ACCOUNT, Lock.BATCHES_OF_ACCOUNT])
async def test_those_of_one_account_wait_for_each_other_longer_than_for_a_table(
    pool: asyncpg.Pool, new_account: NewAccount, settings: Settings, lock: int
) -> None:
    account = await new_account(NANO_PER_USD)

    async def make() -> Batch:
        file = await a_file(pool, account, "openai")
        return (await create_batch(pool, NewBatch(file, "key", "/api/endpoint"), SETTINGS)).batch

    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1, hashtext($2))", lock, account)
        making = asyncio.ensure_future(make())
        await eventually_true(lambda: somebody_waits_for_a_lock(pool), "whoever makes a batch waits")
        await asyncio.sleep(2 * settings.lock_timeout_s)
    assert (await making).state == "in_progress"
