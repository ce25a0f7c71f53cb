"""Results are read by bytes: a page is as large as was asked for, or one line, and Postgres reads no more than it sends."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.batches.batches import Batch, find_batch
from shared.batches.queries import BATCHES
from shared.batches.results import RESULTS_PER_READ, read_results, results_of
from tests.integration.batches.batching import BAD, a_batch, a_batch_of, an_item, feed, the_end_of
from tests.integration.ledger.plans import PLAN_CACHE_MODES, plan_of, rows_read
from tests.integration.ledger.scratch import Scratch

KB, MB = 1_000, 1_000_000
TOASTED = """
SELECT sum(toast_blks_hit + toast_blks_read) FROM pg_statio_user_tables WHERE relname ~ '^(file_lines|batch_answers)'
"""
LINES = """
INSERT INTO file_lines (day, file_id, number, custom_id, provider, asked)
SELECT $2, $1, n, n::text, 'openai', 'asked'::bytea FROM generate_series(2, 8000) n
"""
ITEMS = """
INSERT INTO batch_items (day, batch_id, number, account_id, provider, model, request_id, hold_nano, bytes, fed_at, state)
SELECT $2, $1, n, $3, 'openai', 'm', 'req_' || n, 0, 1, now(), 'completed' FROM generate_series(1, 8000) n
"""
ANSWERS = """
INSERT INTO batch_answers (day, batch_id, number, answer)
SELECT $2, $1, n, 'answer'::bytea FROM generate_series(1, 8000) n
"""


@pytest.fixture
async def scratch(fresh_database_url: str) -> AsyncIterator[Scratch]:
    async with asyncpg.create_pool(fresh_database_url, min_size=1, max_size=1) as pool:
        yield Scratch(pool)


async def _answered(scratch: Scratch, *sizes: int) -> Batch:
    """A batch whose lines and answers have so many bytes together, half each, and cannot be compressed."""
    asked = [os.urandom(size // 2) for size in sizes]
    batch = await a_batch_of(scratch.pool, await scratch.account(1_000), *asked)
    items = [an_item(batch, number) for number in range(1, len(sizes) + 1)]
    await feed(scratch.pool, batch, *items)
    for item, size in zip(items, sizes, strict=True):
        await scratch.settle(the_end_of(item, answer=os.urandom(size // 2)))
    return await find_batch(scratch.pool, batch.account_id, batch.id)


async def _pages(pool: asyncpg.Pool, batch: Batch, bytes_max: int) -> list[list[int]]:
    """The numbers of the lines of each page."""
    after, more, pages = 0, True, []
    while more:
        page = await read_results(pool, batch, bytes_max, after)
        pages.append([result.number for result in page.results])
        after, more = page.after, page.more
    return pages


async def test_a_page_has_as_many_lines_as_its_bytes_allow_and_a_longer_line_comes_alone(scratch: Scratch) -> None:
    batch = await _answered(scratch, 400 * KB, 400 * KB, 400 * KB, 3 * MB, 10 * KB, 10 * KB)
    assert await _pages(scratch.pool, batch, MB) == [[1, 2], [3], [4], [5, 6]]
    assert await _pages(scratch.pool, batch, 1) == [[1], [2], [3], [4], [5], [6]]
    assert await _pages(scratch.pool, batch, 100 * MB) == [[1, 2, 3, 4, 5, 6]]
    assert [result.number async for result in results_of(scratch.pool, batch, MB, after=2)] == [3, 4, 5, 6]


async def test_pages_end_after_the_last_line_however_lines_and_bytes_cut_them(scratch: Scratch) -> None:
    batch = await a_batch(scratch.pool, await scratch.account(1), *[BAD] * (RESULTS_PER_READ + 1))
    for bytes_max in (10 * KB, MB):
        pages = await _pages(scratch.pool, batch, bytes_max)
        assert [number for page in pages for number in page] == list(range(1, RESULTS_PER_READ + 2))


async def test_what_was_asked_is_not_sent_without_an_answer(scratch: Scratch) -> None:
    batch = await a_batch_of(scratch.pool, await scratch.account(1_000), *[os.urandom(3 * MB)] * 3)
    items = [an_item(batch, number) for number in (1, 2, 3)]
    await feed(scratch.pool, batch, *items)
    failed = {"answer": None, "state": "failed", "hold_state": "released", "error_code": "provider_error"}
    await scratch.settle(the_end_of(items[1], 0, **failed))
    page = await read_results(scratch.pool, batch, MB, 0)
    assert [(result.number, result.asked, result.error_code) for result in page.results] == [
        (2, None, "provider_error")
    ]
    assert not page.more


async def test_what_is_cut_off_a_page_is_not_read_from_where_large_values_are_stored(scratch: Scratch) -> None:
    batch = await _answered(scratch, *[2 * MB] * 8)

    async def touched(bytes_max: int) -> int:
        before = await _toast_blocks(scratch.pool)
        await read_results(scratch.pool, batch, bytes_max, 0)
        return await _toast_blocks(scratch.pool) - before

    all_of_them = await touched(100 * MB)
    assert 0 < await touched(MB) < all_of_them / 4


async def _toast_blocks(pool: asyncpg.Pool) -> int:
    """Read or found in memory so far; the pool has one connection, whose counts are told at once."""
    await pool.execute("SELECT pg_stat_force_next_flush()")
    return int(await pool.fetchval(TOASTED))


@pytest.mark.parametrize("mode", PLAN_CACHE_MODES)
async def test_a_page_costs_the_same_however_long_the_batch_and_however_old_the_statistics(
    scratch: Scratch, mode: str
) -> None:
    """Nothing has been analyzed since the tables were empty."""
    batch = await a_batch(scratch.pool, await scratch.account(1), "openai")
    await scratch.pool.execute(LINES, batch.file_id, batch.file_day)
    await scratch.pool.execute(ITEMS, batch.id, batch.day, batch.account_id)
    await scratch.pool.execute(ANSWERS, batch.id, batch.day)
    places = f"'{batch.id}', '{batch.day}', '{batch.file_id}', '{batch.file_day}', 4000, {RESULTS_PER_READ}, {MB}"
    types = "text, date, text, date, integer, integer, bigint"
    plan = await plan_of(scratch.pool, mode, BATCHES["results"], types, places)
    assert plan["Actual Rows"] == RESULTS_PER_READ
    assert rows_read(plan) <= 3 * RESULTS_PER_READ + 1
