"""Group commit: callers submit one row each, and one writer per process sends the rows together.

While one batch is under way the next one gathers, so the load decides the batch size. A short window lets the first row of
a batch wait for others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shared.errors import Unavailable
from shared.runtime.metrics import BATCH_ROWS

Row = TypeVar("Row")
Result = TypeVar("Result")


class MicroBatch(Generic[Row, Result]):
    """Turns `submit(row)` into calls of `flush(rows) -> results`, with one result per row in the same order.

    A result that is an exception is raised for its own row; an exception from `flush` is raised for every row of the batch.
    `pending_max` bounds the waiting rows; beyond it `submit` raises `Unavailable` at once. A caller that is cancelled while
    its row waits or runs does not stop the row.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Row]], Awaitable[Sequence[Result | BaseException]]],
        *,
        window_s: float,
        rows_max: int,
        pending_max: int,
        name: str,
    ) -> None:
        self._flush = flush
        self._window_s = window_s
        self._rows_max = rows_max
        self._pending_max = pending_max
        self._pending: deque[tuple[Row, asyncio.Future[Result]]] = deque()
        self._rows = BATCH_ROWS.labels(name)
        self._stopped = False
        self._arrived = asyncio.Event()

    async def submit(self, row: Row) -> Result:
        """Wait for this row's result."""
        if self._stopped:
            raise Unavailable("The process is stopping: try again.")
        if len(self._pending) >= self._pending_max:
            raise Unavailable("Too many requests are waiting for the store: try again shortly.")
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._pending.append((row, done))
        self._arrived.set()
        return await done

    async def run(self) -> None:
        """Send batches until cancelled; rows that still wait then are refused with `Unavailable`."""
        try:
            while True:
                await self._arrived.wait()
                if self._window_s and len(self._pending) < self._rows_max:
                    await asyncio.sleep(self._window_s)
                await self._write_one_batch()
        finally:
            self._stopped = True
            for _, done in self._pending:
                _set_error(done, Unavailable("The process is stopping: try again."))

    async def _write_one_batch(self) -> None:
        batch = [self._pending.popleft() for _ in range(min(self._rows_max, len(self._pending)))]
        if not self._pending:
            self._arrived.clear()
        self._rows.observe(len(batch))
        try:
            results = await self._flush([row for row, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the callers and the writer lives on
            results = [error] * len(batch)
        except asyncio.CancelledError:
            for _, done in batch:
                _set_error(done, Unavailable("The process is stopping: try again."))
            raise
        for (_, done), result in zip(batch, results, strict=True):
            _resolve(done, result)


def _resolve(done: asyncio.Future[Result], result: Result | BaseException) -> None:
    if isinstance(result, BaseException):
        _set_error(done, result)
    elif not done.done():
        done.set_result(result)


def _set_error(done: asyncio.Future[Result], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
