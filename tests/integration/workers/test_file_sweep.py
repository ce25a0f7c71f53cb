"""Lines go when nobody needs them any more, in small steps, and what results repeat of them stays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import asyncpg
import msgspec
import pytest

from api.formats.openai.batches import output_line
from shared.batches.batches import Batch, find_batch
from shared.batches.files import Line, abandon_upload, add_lines, begin_file, delete_file
from shared.batches.quota import LINE_BYTES
from shared.batches.result_lines import result_line
from shared.job import Done, KeptAnswer, pack
from shared.money import Usage
from shared.stores.lock_numbers import Lock
from shared.stores.migrations import migrate
from tests.integration.batches.batching import (
    COPY_BATCH,
    SETTINGS,
    WITHOUT_CREDIT,
    a_batch,
    a_file,
    all_results,
    an_ask,
    an_item,
    feed,
    the_end_of,
)
from tests.integration.ledger.scratch import Scratch
from workers.sweeps.files import sweep_files
from workers.sweeps.partitions import sweep_days

DAYS_KEPT = SETTINGS.batch_days_kept
ANSWER = pack(KeptAnswer(Done("stop", Usage(1, 1), 5, "text"), None))
LINES = "SELECT count(*) FROM file_lines WHERE file_id = $1"
FILE = "SELECT state, counted, look_at FROM files WHERE id = $1"


@pytest.fixture
async def scratch(fresh_database_url: str) -> AsyncIterator[Scratch]:
    async with asyncpg.create_pool(fresh_database_url, min_size=1, max_size=4) as pool:
        yield Scratch(pool)


async def _an_ended_batch(scratch: Scratch, account: str) -> Batch:
    """Of three lines one was answered, one failed, and one was never run."""
    batch = await a_batch(scratch.pool, account, "openai", "openai", "openai")
    answered, failed = an_item(batch, 1), an_item(batch, 2)
    await feed(scratch.pool, batch, answered, failed)
    ends = (
        the_end_of(answered, answer=ANSWER),
        the_end_of(failed, 0, state="failed", hold_state="released", answer=None),
    )
    assert await scratch.settle(*ends) == ["settled"] * 2
    await scratch.pool.execute(
        "UPDATE batches SET ended_at = now(), state = 'cancelled', ends_as = 'cancelled', cancelled = 1 WHERE id = $1",
        batch.id,
    )
    return await find_batch(scratch.pool, account, batch.id)


async def _shown(pool: asyncpg.Pool, batch: Batch) -> list[bytes]:
    return [
        line for result in await all_results(pool, batch) for line in (result_line(result), output_line(batch, result))
    ]


async def _file(scratch: Scratch, file_id: str) -> asyncpg.Record:
    (row,) = await scratch.pool.fetch(FILE, file_id)
    return row


@pytest.mark.parametrize("rows_max", [1, 2, 5, 100])
async def test_the_lines_of_a_deleted_file_go_and_those_of_others_stay(scratch: Scratch, rows_max: int) -> None:
    settings = msgspec.structs.replace(SETTINGS, retention_rows_max=rows_max)
    account = await scratch.account(0)
    deleted, kept = [await a_file(scratch.pool, account, *["openai"] * 5) for _ in range(2)]
    await delete_file(scratch.pool, account, deleted.id, settings)
    assert await sweep_files(scratch.pool, settings) == 1
    assert [await scratch.pool.fetchval(LINES, file.id) for file in (deleted, kept)] == [0, 5]
    assert await sweep_files(scratch.pool, settings) == 0


async def test_a_step_takes_no_more_bytes_than_it_may_unless_it_is_one_line(scratch: Scratch) -> None:
    await scratch.pool.execute("""
        CREATE TABLE steps (lines bigint);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
            $$BEGIN INSERT INTO steps SELECT count(*) FROM gone HAVING count(*) > 0; RETURN NULL; END$$;
        CREATE TRIGGER noted AFTER DELETE ON file_lines REFERENCING OLD TABLE AS gone EXECUTE FUNCTION note();
    """)
    file = await begin_file(scratch.pool, await scratch.account(0), "native", "x", SETTINGS, WITHOUT_CREDIT)
    sizes = [10, 10, 100, 50, 40, 5, 5]
    lines = [Line(number=3 * n, custom_id=None, feed="openai", asked=b"x" * size) for n, size in enumerate(sizes, 1)]
    await add_lines(scratch.pool, file, lines)
    await abandon_upload(scratch.pool, file)
    await sweep_files(scratch.pool, msgspec.structs.replace(SETTINGS, files_sweep_bytes=95))
    assert [row["lines"] for row in await scratch.pool.fetch("SELECT lines FROM steps")] == [3, 3, 1]


async def test_results_stay_as_they_were_when_their_file_is_deleted(scratch: Scratch) -> None:
    """Nobody reads any more what lines without an answer asked."""
    account = await scratch.account(100)
    batch = await _an_ended_batch(scratch, account)
    before = await _shown(scratch.pool, batch)
    await delete_file(scratch.pool, account, batch.file_id, SETTINGS)
    await sweep_files(scratch.pool, SETTINGS)
    assert len(before) == 6
    assert await _shown(scratch.pool, batch) == before
    asked = await scratch.pool.fetch("SELECT octet_length(asked) > 0 FROM file_lines ORDER BY number")
    assert [row[0] for row in asked] == [True, False, False]
    assert (await _file(scratch, batch.file_id))["counted"] == 3 * LINE_BYTES


async def test_when_the_time_of_results_is_over_the_lines_go(scratch: Scratch) -> None:
    account = await scratch.account(100)
    batch = await _an_ended_batch(scratch, account)
    await delete_file(scratch.pool, account, batch.file_id, SETTINGS)
    await sweep_files(scratch.pool, SETTINGS)
    until = await scratch.pool.fetchval("SELECT results_until FROM batch_keeping")
    assert (await _file(scratch, batch.file_id))["look_at"] == until
    await scratch.pool.execute("UPDATE batch_keeping SET results_until = now()")
    await scratch.pool.execute("UPDATE files SET look_at = now()")
    await sweep_files(scratch.pool, SETTINGS)
    assert await scratch.pool.fetchval(LINES, batch.file_id) == 0
    assert tuple(await _file(scratch, batch.file_id)) == ("deleted", 0, None)


async def test_lines_stay_as_long_as_any_of_several_batches_needs_them(scratch: Scratch) -> None:
    account = await scratch.account(100)
    batch = await _an_ended_batch(scratch, account)
    await scratch.pool.execute(COPY_BATCH, batch.id, ["other"])
    await scratch.pool.execute("UPDATE batches SET state = 'in_progress' WHERE id = 'other'")
    await scratch.pool.execute("UPDATE files SET state = 'deleted', look_at = now()")  # as the previous release may do
    await sweep_files(scratch.pool, SETTINGS)
    assert await scratch.pool.fetchval("SELECT count(*) FROM file_lines WHERE asked <> ''") == 3
    assert await scratch.pool.fetchval("SELECT look_at > now() FROM files")
    await scratch.pool.execute("UPDATE batches SET state = 'failed', ended_at = now() WHERE id = 'other'")
    await scratch.pool.execute("UPDATE files SET look_at = now()")
    await sweep_files(scratch.pool, SETTINGS)
    assert await scratch.pool.fetchval("SELECT count(*) FROM file_lines WHERE asked <> ''") == 1


async def test_an_upload_of_which_nothing_was_heard_is_given_up_and_another_goes_on(scratch: Scratch) -> None:
    account = await scratch.account(0)
    silent, alive = [await begin_file(scratch.pool, account, "native", "x", SETTINGS, WITHOUT_CREDIT) for _ in range(2)]
    for file in (silent, alive):
        await add_lines(scratch.pool, file, [Line(number=1, custom_id="a", feed="openai", asked=an_ask())])
    await scratch.pool.execute("UPDATE files SET look_at = now() WHERE id = $1", silent.id)
    assert await sweep_files(scratch.pool, SETTINGS) == 1
    assert tuple(await _file(scratch, silent.id)) == ("deleted", 0, None)
    assert [await scratch.pool.fetchval(LINES, file.id) for file in (silent, alive)] == [0, 1]
    assert (await _file(scratch, alive.id))["state"] == "uploading"


async def test_a_file_whose_time_is_over_is_left_to_its_day_unless_the_day_stays(scratch: Scratch) -> None:
    account = await scratch.account(0)
    file = await a_file(scratch.pool, account, "openai")
    day = datetime.now(UTC).date() - timedelta(days=DAYS_KEPT)
    await scratch.pool.execute("UPDATE files SET day = $1, expires_at = now(), look_at = now()", day)
    await scratch.pool.execute("UPDATE file_lines SET day = $1", day)
    await sweep_files(scratch.pool, SETTINGS)
    row = await _file(scratch, file.id)
    assert (row["state"], row["counted"]) == ("ready", 0)
    assert await scratch.pool.fetchval(LINES, file.id) == 1
    await scratch.pool.execute("UPDATE files SET expires_at = now() - interval '2 days', look_at = now()")
    await sweep_files(scratch.pool, SETTINGS)
    assert await scratch.pool.fetchval(LINES, file.id) == 0


async def test_a_file_that_was_to_live_shortly_is_not_left_to_its_day(scratch: Scratch) -> None:
    file = await a_file(scratch.pool, await scratch.account(0), "openai")
    await scratch.pool.execute("UPDATE files SET expires_at = now(), look_at = now()")
    await sweep_files(scratch.pool, SETTINGS)
    assert await scratch.pool.fetchval(LINES, file.id) == 0
    assert (await _file(scratch, file.id))["counted"] == 0


async def test_a_file_of_the_previous_release_is_counted_later_and_looked_at_when_its_time_is_over(
    scratch: Scratch,
) -> None:
    file = await a_file(scratch.pool, await scratch.account(0), "openai")
    await scratch.pool.execute("UPDATE files SET counted = 0, bytes = 77, look_at = DEFAULT")
    assert await scratch.pool.fetchval("SELECT look_at - now() FROM files") <= timedelta(days=1)
    await scratch.pool.execute("UPDATE files SET look_at = now()")
    await sweep_files(scratch.pool, SETTINGS)
    assert tuple(await _file(scratch, file.id)) == ("ready", 77, file.expires_at)


async def test_one_worker_looks_at_a_time(scratch: Scratch) -> None:
    account = await scratch.account(0)
    await delete_file(scratch.pool, account, (await a_file(scratch.pool, account, "openai")).id, SETTINGS)
    async with scratch.pool.acquire() as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1)", Lock.FILES)
        assert await sweep_files(scratch.pool, SETTINGS) == 0
    assert await sweep_files(scratch.pool, SETTINGS) == 1


# -- days without a partition


async def _move(scratch: Scratch, batch: Batch, day: date) -> None:
    """Everything of the batch to a day that has no partition."""
    await scratch.pool.execute("UPDATE files SET day = $1", day)
    await scratch.pool.execute("UPDATE batches SET day = $1, file_day = $1", day)
    for table in ("file_lines", "batch_items", "batch_answers"):
        await scratch.pool.execute(f"UPDATE {table} SET day = $1", day)
    assert await _left(scratch) == {"file_lines": 3, "batch_items": 2, "batch_answers": 1}


async def _left(scratch: Scratch) -> dict[str, int]:
    tables = ("file_lines", "batch_items", "batch_answers")
    return {table: await scratch.pool.fetchval(f"SELECT count(*) FROM {table}_default") for table in tables}


@pytest.mark.parametrize("days_ago", [DAYS_KEPT + 1, -400])
async def test_what_came_on_a_day_without_a_partition_goes_when_nobody_needs_it(
    scratch: Scratch, days_ago: int
) -> None:
    account = await scratch.account(100)
    batch = await _an_ended_batch(scratch, account)
    await _move(scratch, batch, datetime.now(UTC).date() - timedelta(days=days_ago))
    settings = msgspec.structs.replace(SETTINGS, retention_rows_max=2)
    await sweep_days(scratch.pool, settings)
    assert await _left(scratch) == {"file_lines": 3, "batch_items": 2, "batch_answers": 1}
    await scratch.pool.execute("UPDATE batch_keeping SET results_until = now()")
    await delete_file(scratch.pool, account, batch.file_id, settings)
    await sweep_days(scratch.pool, settings)
    assert set((await _left(scratch)).values()) == {0}


async def test_what_came_on_a_day_without_a_partition_stays_as_long_as_that_day_would(scratch: Scratch) -> None:
    account = await scratch.account(100)
    batch = await _an_ended_batch(scratch, account)
    await _move(scratch, batch, datetime.now(UTC).date() - timedelta(days=DAYS_KEPT))
    await scratch.pool.execute("UPDATE batch_keeping SET results_until = now()")
    await sweep_days(scratch.pool, SETTINGS)
    assert await _left(scratch) == {"file_lines": 3, "batch_items": 2, "batch_answers": 1}


async def test_migrating_makes_the_days_so_that_a_front_door_that_is_first_has_them(fresh_database_url: str) -> None:
    """As after a weekend without workers."""
    connection = await asyncpg.connect(fresh_database_url)
    today = f"{datetime.now(UTC):_%Y_%m_%d}"
    for table in ("file_lines", "batch_items", "batch_answers"):
        await connection.execute(f"DROP TABLE {table}{today}")
    await migrate(fresh_database_url)
    for table in ("file_lines", "batch_items", "batch_answers"):
        assert await connection.fetchval("SELECT to_regclass($1)::text", f"{table}{today}")
    await connection.close()
