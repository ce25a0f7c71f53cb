"""The results of a batch: its lines that have ended, in the order of the file, as long as they are kept."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import asyncpg
import msgspec

from shared import clock
from shared.batches.batches import Batch
from shared.batches.queries import BATCHES, known_id, rows_of, value_of
from shared.errors import Gone, NotFound

RESULTS_PER_READ = 200
RESULT_BYTES = 200
"""Estimated bytes in memory of one result, without its answer and its request."""
_BECAUSE = {"key_revoked": ", because its API key was revoked", "key_expired": ", because its API key has expired"}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A line that has ended. A success has its packed `KeptAnswer` in `answer`, and the request in `asked`; a failure
    has a code and a message. `request_id` is None if the line was never fed.
    """

    number: int
    custom_id: str | None
    asked: bytes | None
    request_id: str | None = None
    answer: bytes | None = None
    error_code: str | None = None
    error_message: str | None = None

    @property
    def size_bytes(self) -> int:
        """Estimated memory, in bytes."""
        said = (self.asked, self.answer, self.error_message)
        return RESULT_BYTES + sum(len(part) for part in said if part)


class ResultPage(msgspec.Struct):
    """Ended lines in the order of the file; take them from the left. If there are `more`, these come after line number
    `after`.
    """

    results: deque[Result]
    after: int
    more: bool

    @property
    def size_bytes(self) -> int:
        """Estimated memory of the remaining lines, in bytes."""
        return sum(result.size_bytes for result in self.results)


def results_kept_until(batch: Batch, days_kept: int) -> datetime:
    """The time until which the results can be read. It was fixed when the batch was created; a later change of the setting
    does not shorten it.
    """
    return batch.results_until or batch.created_at + timedelta(days=days_kept)


def require_results(batch: Batch, days_kept: int) -> None:
    """Raise `Gone` if the results are no longer kept."""
    until = results_kept_until(batch, days_kept)
    if until <= clock.utc_now():
        raise _gone(f"were kept until {until:%Y-%m-%d %H:%M} UTC")


async def results_of(pool: asyncpg.Pool, batch: Batch, page_bytes_max: int, after: int = 0) -> AsyncIterator[Result]:
    """Iterate over the ended lines after number `after` in the order of the file, reading one page at a time. Raises `Gone`
    as `read_results` does, also between two lines.
    """
    more = True
    while more:
        page = await read_results(pool, batch, page_bytes_max, after)
        after, more = page.after, page.more
        while page.results:
            yield page.results.popleft()


async def read_results(pool: asyncpg.Pool, batch: Batch, page_bytes_max: int, after: int) -> ResultPage:
    """Read the next ended lines after number `after`: lines of `page_bytes_max` bytes together, or one larger line. Raises
    `Gone` if the lines or their items are deleted.
    """
    rows = await rows_of(
        pool,
        BATCHES["results"],
        *(batch.id, batch.day, batch.file_id, batch.file_day),
        after,
        RESULTS_PER_READ,
        page_bytes_max,
    )
    if not (_has_its_items(rows, batch) if rows else await _has_its_lines(pool, batch)):
        raise _gone("are not kept any more")
    results = deque(result for row in rows if (result := _result(row, batch)))
    if not rows:
        return ResultPage(results, after, more=False)
    found = rows[0]["found"]
    return ResultPage(results, rows[-1]["number"], more=len(rows) < found or found == RESULTS_PER_READ)


def _has_its_items(rows: list[asyncpg.Record], batch: Batch) -> bool:
    return rows[0]["items_kept"] or not batch.fed


async def _has_its_lines(pool: asyncpg.Pool, batch: Batch) -> bool:
    return bool(await value_of(pool, BATCHES["lines_kept"], batch.file_id, batch.file_day))


async def line_number(pool: asyncpg.Pool, batch: Batch, custom_id: str) -> int:
    """The number of the line with this id. Raises `NotFound`, or `Gone` if the lines are deleted."""
    number = await value_of(pool, BATCHES["line_number"], batch.file_id, batch.file_day, known_id(custom_id))
    if number is None and not await _has_its_lines(pool, batch):
        raise _gone("are not kept any more")
    if number is None:
        raise NotFound("The batch has no line with this `custom_id`: take that of the last line you have.")
    return int(number)


def _gone(why: str) -> Gone:
    return Gone(f"The results of this batch {why}: send its lines again if they are still wanted.")


def _result(row: asyncpg.Record, batch: Batch) -> Result | None:
    """The result of a line; None if the line has not ended. Raises `Gone` if its item is deleted; if only its answer is, the
    result says so.
    """
    line = {"number": row["number"], "custom_id": row["custom_id"], "asked": row["asked"]}
    if row["bad_code"]:
        return Result(**line, error_code=row["bad_code"], error_message=row["bad_message"])
    if row["state"] is None and batch.ended_at:
        if batch.ends_as == "completed":
            raise _gone("are not kept any more")
        message = f"The batch was {batch.ends_as} before this line{_BECAUSE.get(batch.reason or '', '')}."
        return Result(**line, error_code=batch.ends_as, error_message=message)
    if row["state"] in {None, "running"}:
        return None
    if row["state"] == "completed" and row["answer"] is None:
        return Result(**line, error_code=Gone.code, error_message="The answer of this line is not kept any more.")
    ending = {name: row[name] for name in ("request_id", "answer", "error_code", "error_message")}
    return Result(**line, **ending)
