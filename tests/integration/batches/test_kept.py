"""What was promised stays readable, and what is gone says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import asyncpg
import msgspec
import pytest

from api.formats.openai.files import output_object
from api.requests.log import find_answer
from shared.batches.batches import Batch, cancel_batch, find_batch
from shared.batches.files import abandon_upload, delete_file, find_file
from shared.batches.results import RESULTS_PER_READ, line_number, require_results, results_kept_until, results_of
from shared.errors import Gone, NotFound
from shared.job import Done, KeptAnswer, pack
from shared.money import Usage
from tests.integration.batches.batching import BAD, SETTINGS, a_batch, a_file, all_results, an_item, feed, the_end_of
from tests.integration.ledger.scratch import Scratch
from workers.sweeps.partitions import sweep_days

DAYS_KEPT = SETTINGS.batch_days_kept
ANSWER = KeptAnswer(Done("stop", Usage(1, 1), 5, "text"), None)


@pytest.fixture
async def scratch(fresh_database_url: str) -> AsyncIterator[Scratch]:
    async with asyncpg.create_pool(fresh_database_url, min_size=1, max_size=4) as pool:
        yield Scratch(pool)


def _ago(days: int) -> date:
    return datetime.now(UTC).date() - timedelta(days=days)


async def _make_day(pool: asyncpg.Pool, table: str, day: date) -> str:
    name = f"{table}{day:_%Y_%m_%d}"
    await pool.execute(
        f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES FROM ('{day}') TO ('{day + timedelta(1)}')"
    )
    return name


async def _age_file(pool: asyncpg.Pool, batch: Batch, days: int) -> str:
    """As if the batch's file had been sent so many days ago; gives the partition of its lines."""
    day = _ago(days)
    name = await _make_day(pool, "file_lines", day)
    await pool.execute("UPDATE file_lines SET day = $2 WHERE file_id = $1", batch.file_id, day)
    moved = (
        "UPDATE files SET day = $2, created_at = $2::date, expires_at = $2::date + $3 * interval '1 day' WHERE id = $1"
    )
    await pool.execute(moved, batch.file_id, day, DAYS_KEPT)
    await pool.execute("UPDATE batches SET file_day = $2 WHERE id = $1", batch.id, day)
    return name


async def _age_batch(pool: asyncpg.Pool, batch: Batch, days: int) -> Batch:
    """As if it had been made so many days earlier, with what came of it."""
    for table in ("batch_items", "batch_answers"):
        if await pool.fetchval(f"SELECT to_regclass('{table}{batch.day - timedelta(days):_%Y_%m_%d}')") is None:
            await _make_day(pool, table, batch.day - timedelta(days))
        await pool.execute(f"UPDATE {table} SET day = day - $2::integer WHERE batch_id = $1", batch.id, days)
    moved = "UPDATE batches SET created_at = created_at - $2 * interval '1 day', day = day - $2::integer WHERE id = $1"
    await pool.execute(moved, batch.id, days)
    kept = "UPDATE batch_keeping SET results_until = results_until - $2 * interval '1 day' WHERE batch_id = $1"
    await pool.execute(kept, batch.id, days)
    return await find_batch(pool, batch.account_id, batch.id)


async def _ended(pool: asyncpg.Pool, batch: Batch) -> Batch:
    await pool.execute("UPDATE batches SET ended_at = now(), state = 'completed' WHERE id = $1", batch.id)
    return await find_batch(pool, batch.account_id, batch.id)


async def _a_batch_with_an_answer(scratch: Scratch) -> Batch:
    batch = await a_batch(scratch.pool, await scratch.account(100), "openai")
    item = an_item(batch, 1)
    await feed(scratch.pool, batch, item)
    assert await scratch.settle(the_end_of(item, answer=pack(ANSWER))) == ["settled"]
    return batch


async def test_a_batch_over_an_old_file_is_readable_as_long_as_a_batch_is(scratch: Scratch) -> None:
    """The file is two days older than what is kept, the batch was made on the file's last day but one."""
    batch = await _a_batch_with_an_answer(scratch)
    lines_day = await _age_file(scratch.pool, batch, DAYS_KEPT + 2)
    await scratch.pool.fetchval("SELECT rotate_days(3, $1)", DAYS_KEPT)
    batch = await find_batch(scratch.pool, batch.account_id, batch.id)
    (result,) = await all_results(scratch.pool, batch)
    assert (result.custom_id, result.answer) == ("1", pack(ANSWER))
    batch = await _age_batch(scratch.pool, await _ended(scratch.pool, batch), DAYS_KEPT + 1)
    await scratch.pool.fetchval("SELECT rotate_days(3, $1)", DAYS_KEPT)
    assert await scratch.pool.fetchval("SELECT to_regclass($1)", lines_day) is None


async def test_the_lines_of_a_file_stay_until_the_file_said_it_expires(scratch: Scratch) -> None:
    """Also when an operator keeps less from now on."""
    file = await a_file(scratch.pool, await scratch.account(0), "openai")
    lines_day = await _make_day(scratch.pool, "file_lines", _ago(5))
    await scratch.pool.execute("UPDATE files SET day = $2 WHERE id = $1", file.id, _ago(5))
    for state, kept in (("ready", lines_day), ("deleted", None)):
        await scratch.pool.execute("UPDATE files SET state = $2 WHERE id = $1", file.id, state)
        await scratch.pool.fetchval("SELECT rotate_days(3, 2)")
        assert await scratch.pool.fetchval("SELECT to_regclass($1)::text", lines_day) == kept


async def test_results_are_gone_when_their_time_is_over_and_not_before(scratch: Scratch) -> None:
    batch = await _a_batch_with_an_answer(scratch)
    require_results(await _age_batch(scratch.pool, batch, DAYS_KEPT - 1), DAYS_KEPT)
    over = await _age_batch(scratch.pool, batch, 1)
    assert results_kept_until(over, DAYS_KEPT) <= datetime.now(UTC)
    with pytest.raises(Gone, match="were kept until"):
        require_results(over, DAYS_KEPT)


@pytest.mark.parametrize("days_kept_now", [7, 60])
async def test_results_are_kept_as_long_as_was_told_whatever_is_kept_of_later_ones(
    scratch: Scratch, days_kept_now: int
) -> None:
    pool = scratch.pool
    batch = await _age_batch(pool, await _ended(pool, await _a_batch_with_an_answer(scratch)), 20)
    told = batch.created_at + timedelta(DAYS_KEPT)
    await pool.fetchval("SELECT rotate_days(3, $1)", days_kept_now)
    require_results(batch, days_kept_now)
    assert output_object(batch, "output", days_kept_now).expires_at == int(told.timestamp())
    assert [result.answer for result in await all_results(pool, batch)] == [pack(ANSWER)]
    over = await _age_batch(pool, batch, DAYS_KEPT - 20)
    with pytest.raises(Gone, match="were kept until"):
        require_results(over, days_kept_now)


async def test_days_of_an_open_batch_stay(scratch: Scratch) -> None:
    batch = await _age_batch(scratch.pool, await _a_batch_with_an_answer(scratch), DAYS_KEPT + 5)
    await scratch.pool.fetchval("SELECT rotate_days(3, $1)", DAYS_KEPT)
    assert [result.answer for result in await all_results(scratch.pool, batch)] == [pack(ANSWER)]


async def test_a_batch_from_before_that_was_written_down_is_kept_as_the_setting_says(scratch: Scratch) -> None:
    """Its items may have gone while its lines are kept for a younger batch, and then more days are kept."""
    pool = scratch.pool
    batch = await _age_batch(pool, await _ended(pool, await _a_batch_with_an_answer(scratch)), 9)
    await pool.execute("TRUNCATE batch_keeping")
    batch = await find_batch(pool, batch.account_id, batch.id)
    assert results_kept_until(batch, 7) == batch.created_at + timedelta(7)
    await pool.fetchval("SELECT rotate_days(3, 7)")
    require_results(batch, DAYS_KEPT)
    with pytest.raises(Gone, match="not kept any more"):
        await all_results(pool, batch)


async def test_a_line_of_a_completed_batch_was_not_left_out_because_the_batch_was_completed(scratch: Scratch) -> None:
    batch = await a_batch(scratch.pool, await scratch.account(100), "openai", "openai")
    await feed(scratch.pool, batch, *(an_item(batch, number) for number in (1, 2)))
    await scratch.pool.execute("DELETE FROM batch_items WHERE number = 2")
    await scratch.pool.execute("UPDATE batches SET completed = total")
    batch = await _ended(scratch.pool, batch)
    with pytest.raises(Gone, match="not kept any more"):
        await all_results(scratch.pool, batch)


async def test_going_on_behind_a_line_of_what_is_gone_is_no_empty_body_either(scratch: Scratch) -> None:
    batch = await _a_batch_with_an_answer(scratch)
    assert await line_number(scratch.pool, batch, "1") == 1
    assert await all_results(scratch.pool, batch, after=1) == []
    await scratch.pool.execute("TRUNCATE file_lines")
    with pytest.raises(Gone, match="not kept any more"):
        await line_number(scratch.pool, batch, "1")
    with pytest.raises(Gone, match="not kept any more"):
        await all_results(scratch.pool, batch, after=1)


@pytest.mark.parametrize("pages", [1, 2])
async def test_a_download_breaks_off_when_its_day_goes_meanwhile(scratch: Scratch, pages: int) -> None:
    lines = [BAD] * (2 * RESULTS_PER_READ + 1)
    batch = await a_batch(scratch.pool, await scratch.account(100), *lines)
    reading = results_of(scratch.pool, batch, SETTINGS.results_page_bytes_max)
    for _ in range(pages * RESULTS_PER_READ):
        await anext(reading)
    await scratch.pool.execute("TRUNCATE file_lines")
    with pytest.raises(Gone, match="not kept any more"):
        await anext(reading)


async def test_results_whose_lines_are_gone_are_not_an_empty_body(scratch: Scratch) -> None:
    batch = await _a_batch_with_an_answer(scratch)
    await scratch.pool.execute("TRUNCATE file_lines")
    with pytest.raises(Gone, match="not kept any more"):
        await all_results(scratch.pool, batch)


async def test_a_line_whose_answer_is_gone_says_so(scratch: Scratch) -> None:
    batch = await _a_batch_with_an_answer(scratch)
    await scratch.pool.execute("TRUNCATE batch_answers")
    assert [result.error_code for result in await all_results(scratch.pool, batch)] == ["gone"]


async def test_a_line_is_shown_with_its_answer_as_long_as_its_batch_is_kept(scratch: Scratch) -> None:
    batch = await a_batch(scratch.pool, await scratch.account(100), "openai", "openai")
    kept, over = (
        msgspec.structs.replace(an_item(batch, number), keep_until=datetime.now(UTC) + timedelta(days=days))
        for number, days in ((1, 1), (2, -1))
    )
    await feed(scratch.pool, batch, kept, over)
    assert await scratch.settle(*(the_end_of(item, answer=pack(ANSWER)) for item in (kept, over))) == ["settled"] * 2
    assert await find_answer(scratch.pool, kept.id) == ANSWER
    assert await find_answer(scratch.pool, over.id) is None


async def test_a_file_is_gone_when_its_time_is_over_and_was_never_there_when_it_was_deleted(scratch: Scratch) -> None:
    account = await scratch.account(0)
    file, deleted = [await a_file(scratch.pool, account, "openai") for _ in range(2)]
    await delete_file(scratch.pool, account, deleted.id, SETTINGS)
    with pytest.raises(NotFound):
        await find_file(scratch.pool, account, deleted.id)
    await scratch.pool.execute("UPDATE files SET expires_at = now()")
    await sweep_days(scratch.pool, SETTINGS)
    with pytest.raises(NotFound):
        await find_file(scratch.pool, account, deleted.id)
    with pytest.raises(Gone, match="send it again"):
        await find_file(scratch.pool, account, file.id)
    with pytest.raises(NotFound):
        await find_file(scratch.pool, await scratch.account(0), file.id)


async def test_a_file_whose_lines_were_dropped_cannot_be_used(scratch: Scratch) -> None:
    """Its upload broke off at its very end."""
    account = await scratch.account(0)
    file = await a_file(scratch.pool, account, "openai")
    await abandon_upload(scratch.pool, file)
    with pytest.raises(NotFound):
        await find_file(scratch.pool, account, file.id)


async def test_a_batch_that_goes_while_it_is_cancelled_is_missed_in_the_words_of_its_api(scratch: Scratch) -> None:
    batch = await a_batch(scratch.pool, await scratch.account(100))
    await scratch.pool.execute("""
        CREATE FUNCTION hide() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO batch_deletions (batch_id) VALUES (NEW.id); RETURN NULL;
        END $$;
        CREATE TRIGGER hides AFTER UPDATE OF state ON batches FOR EACH ROW EXECUTE FUNCTION hide();
    """)
    with pytest.raises(NotFound, match="GET /v1/batches lists yours"):
        await cancel_batch(scratch.pool, batch.account_id, batch.id, "/v1/batches")
