from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from shared.errors import Unavailable
from shared.ledger.microbatch import MicroBatch


class Store:
    """Writes batches down, and answers each row with its double, unless told to raise. While `closed` it lets nobody in."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.entered = asyncio.Event()
        self.error: Exception | None = None

    async def flush(self, rows: Sequence[int]) -> list[int | BaseException]:
        self.batches.append(list(rows))
        self.entered.set()
        await self.open.wait()
        if self.error:
            raise self.error
        return [ValueError(row) if row < 0 else row * 2 for row in rows]


@contextlib.asynccontextmanager
async def _running(
    store: Store, *, window_s: float = 0.001, rows_max: int = 100, pending_max: int = 1_000
) -> AsyncIterator[MicroBatch[int, int]]:
    batch = MicroBatch[int, int](
        store.flush, window_s=window_s, rows_max=rows_max, pending_max=pending_max, name="test"
    )
    writer = asyncio.ensure_future(batch.run())
    try:
        yield batch
    finally:
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)


async def test_rows_that_come_together_travel_together_and_each_gets_its_own_answer() -> None:
    store = Store()
    async with _running(store) as batch:
        assert await asyncio.gather(*(batch.submit(row) for row in range(50))) == [row * 2 for row in range(50)]
    assert store.batches == [list(range(50))]


async def test_what_comes_while_a_batch_is_under_way_gathers_for_the_next_one() -> None:
    store = Store()
    store.open.clear()
    async with _running(store, window_s=0) as batch:
        first = asyncio.ensure_future(batch.submit(1))
        await store.entered.wait()
        rest = [asyncio.ensure_future(batch.submit(row)) for row in (2, 3, 4)]
        await asyncio.sleep(0)
        store.open.set()
        await asyncio.gather(first, *rest)
    assert store.batches == [[1], [2, 3, 4]]


async def test_no_batch_is_larger_than_allowed() -> None:
    store = Store()
    async with _running(store, rows_max=3) as batch:
        await asyncio.gather(*(batch.submit(row) for row in range(10)))
    assert [len(rows) for rows in store.batches] == [3, 3, 3, 1]


async def test_a_refused_row_raises_for_itself_alone() -> None:
    async with _running(Store()) as batch:
        answers = await asyncio.gather(*(batch.submit(row) for row in (1, -1, 2)), return_exceptions=True)
    assert (answers[0], repr(answers[1]), answers[2]) == (2, "ValueError(-1)", 4)


async def test_a_failed_flush_raises_for_its_batch_and_the_writer_lives_on() -> None:
    store = Store()
    async with _running(store) as batch:
        store.error = OSError("away")
        assert [
            type(answer) for answer in await asyncio.gather(batch.submit(1), batch.submit(2), return_exceptions=True)
        ] == [
            OSError,
            OSError,
        ]
        store.error = None
        assert await batch.submit(3) == 6


async def test_too_many_waiting_rows_are_refused_at_once() -> None:
    store = Store()
    store.open.clear()
    async with _running(store, pending_max=2, window_s=0) as batch:
        under_way = asyncio.ensure_future(batch.submit(1))
        await store.entered.wait()
        waiting = [asyncio.ensure_future(batch.submit(row)) for row in (2, 3)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await batch.submit(4)
        store.open.set()
        assert await asyncio.gather(under_way, *waiting) == [2, 4, 6]


async def test_a_caller_that_goes_away_does_not_stop_its_row() -> None:
    store = Store()
    store.open.clear()
    async with _running(store) as batch:
        callers = [asyncio.ensure_future(batch.submit(row)) for row in (1, 2)]
        await store.entered.wait()
        callers[0].cancel()
        store.open.set()
        assert await callers[1] == 4
    assert store.batches == [[1, 2]]


async def test_rows_that_wait_when_the_writer_stops_are_refused_and_so_are_later_ones() -> None:
    store = Store()
    store.open.clear()
    async with _running(store, window_s=0) as batch:
        under_way = asyncio.ensure_future(batch.submit(1))
        await store.entered.wait()
        waiting = asyncio.ensure_future(batch.submit(2))
        await asyncio.sleep(0)
    for refused in (under_way, waiting, batch.submit(3)):
        with pytest.raises(Unavailable):
            await refused
