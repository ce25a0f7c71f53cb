"""Batches over files of lines: how the API creates, shows and cancels them. `workers/batches/feed.py` runs them."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime, timedelta
from typing import Literal

import asyncpg
import msgspec

from shared import clock
from shared.batches.files import Form, LineError
from shared.batches.queries import BATCHES, FILES, known_id, page_begins, row_of, rows_of, value_of
from shared.chat import Chat, Message, Sampling, Tools
from shared.errors import Gone, NotFound
from shared.job import KeptAnswer
from shared.money import NanoUsd
from shared.settings import TURN_TIMEOUT_S
from shared.stores.postgres import reached
from shared.stores.turns import patiently

LISTED_AT = "/api/batches"
"""The native route that lists an account's batches; other APIs have their own."""
RESULTS_PER_READ = 200
RESULT_BYTES = 200
"""Estimated bytes in memory of one result, without its answer and its request."""
State = Literal[
    "validating", "in_progress", "paused", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"
]


class AskedElse(msgspec.Struct, frozen=True, array_like=True):
    """A fallback model of a line: the name that was asked for, and the request in the form for this model. The form of
    the answer is the line's. `ignored` are fields of the line that are left out for this model.
    """

    model: str
    sampling: Sampling
    ignored: tuple[str, ...] = ()


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """The request in one line. `max_tokens` is None if the line left it out."""

    model: str
    messages: list[Message]
    sampling: Sampling
    tools: Tools
    max_tokens: int | None
    metadata: dict[str, str] | None = None
    ignored: tuple[str, ...] = ()
    """Fields that were left out of the line."""
    told: bytes | None = None
    """The fields of the line that its answer repeats, as JSON; None for APIs whose answers repeat none."""
    others: tuple[AskedElse, ...] = ()
    """The fallback models of the line, in order. If there are any, messages and tools keep all cache marks, because each
    model takes different ones.
    """
    passed: tuple[str, ...] = ()
    """Models that the line names before `model`, and that nobody could call when the line was sent."""

    @property
    def chat(self) -> Chat:
        """What the model is asked."""
        return Chat(self.messages, self.sampling, self.tools)

    def answered_by(self, kept: KeptAnswer) -> tuple[str, tuple[str, ...]]:
        """The model that gave the answer, and the fields that were left out for it."""
        other = next((one for one in self.others if one.model == kept.model), None)
        return (kept.model or self.model), (other.ignored if other else self.ignored)


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `batches`. Of `total` lines, `bad` were not understood and count as failed, and `fed` have become items."""

    id: str
    account_id: str
    key_id: str
    file_id: str
    file_day: date
    day: date
    form: Form
    endpoint: str
    state: State
    paused_for: str | None
    needed_nano: NanoUsd | None
    total: int
    bad: int
    fed: int
    completed: int
    failed: int
    cancelled: int
    expired: int
    charged_nano: NanoUsd
    ends_as: str
    metadata: dict[str, str] | None
    exported_to: str | None
    export_after: datetime | None
    deleted_files: list[str]
    created_at: datetime
    started_at: datetime | None
    cancelled_at: datetime | None
    finalized_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime
    reason: str | None = None
    """The reason for which the service itself cancelled the batch: `key_revoked` or `key_expired`; None if it did not.
    """
    results_until: datetime | None = None
    """The time until which results are promised; None for a batch that was created by a release which did not store it.
    """
    saved_nano: NanoUsd = NanoUsd(0)
    """The nano-USD that lines at the tier flex have saved, compared with the default tier."""


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


_BECAUSE = {"key_revoked": ", because its API key was revoked", "key_expired": ", because its API key has expired"}
_ask_encoder = msgspec.msgpack.Encoder()
_ask_decoder = msgspec.msgpack.Decoder(Ask)


def pack_ask(ask: Ask) -> bytes:
    """Encode as msgpack, for `Line.asked`."""
    return _ask_encoder.encode(ask)


def unpack_ask(data: bytes) -> Ask:
    """Decode what `pack_ask` has encoded. Raises `msgspec.DecodeError` for anything else."""
    return _ask_decoder.decode(data)


async def bad_lines_of(pool: asyncpg.Pool, batches: Sequence[Batch], limit: int) -> dict[str, list[LineError]]:
    """For each file, its first `limit` lines that were not understood."""
    days = {batch.file_id: batch.file_day for batch in batches if batch.bad}
    found: dict[str, list[LineError]] = {file_id: [] for file_id in days}
    for row in await rows_of(pool, FILES["bad_lines"], list(found), list(days.values()), limit) if days else ():
        found[row["file_id"]].append(LineError(row["line"], row["code"], row["message"]))
    return found


async def find_batch(pool: asyncpg.Pool, account_id: str, batch_id: str, listed_at: str = LISTED_AT) -> Batch:
    """The account's batch with this id. Raises `NotFound`, also for another account's batch; the message names the route
    that lists the batches of this API.
    """
    row = await row_of(pool, BATCHES["find"], known_id(batch_id), account_id)
    if row is None:
        raise NotFound(f"There is no such batch: GET {listed_at} lists yours.")
    return batch_from_row(row)


async def list_batches(pool: asyncpg.Pool, account_id: str, *, after: str | None, limit: int) -> list[Batch]:
    """The account's batches, newest first."""
    return [batch_from_row(row) for row in await rows_of(pool, BATCHES["page"], account_id, *page_begins(after), limit)]


async def list_newer_batches(pool: asyncpg.Pool, account_id: str, *, before: str, limit: int) -> list[Batch]:
    """The batches that were created right after the batch `before`, newest first. Raises `NotFound` if `before` is not an
    id.
    """
    rows = await rows_of(pool, BATCHES["page_before"], account_id, *page_begins(before), limit)
    return [batch_from_row(row) for row in reversed(rows)]


async def delete_output(pool: asyncpg.Pool, batch: Batch, file_id: str) -> bool:
    """Hide a result file of the batch; its content is deleted with the partition of its day. False if the file was hidden
    before.
    """
    return bool(await value_of(pool, BATCHES["delete_output"], batch.id, batch.account_id, file_id))


async def cancel_batch(
    pool: asyncpg.Pool,
    account_id: str,
    batch_id: str,
    listed_at: str = LISTED_AT,
    *,
    within_s: float = TURN_TIMEOUT_S,
) -> Batch:
    """Cancel a batch: lines that have not started do not start any more. A batch that has ended stays as it is. Raises
    `NotFound`.
    """
    await find_batch(pool, account_id, batch_id, listed_at)
    async with reached("Batches"):
        await patiently(pool, within_s, BATCHES["cancel"], batch_id, account_id)
    return await find_batch(pool, account_id, batch_id)


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
    `Gone` if the lines or their answers are deleted.
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


def batch_from_row(row: asyncpg.Record) -> Batch:
    """Read a row of `batches`; columns that a later release has added are ignored."""
    known = {name: value for name, value in row.items() if name in Batch.__struct_fields__}
    metadata = row["metadata"]
    return Batch(**(known | {"metadata": None if metadata is None else msgspec.json.decode(metadata)}))


def _gone(why: str) -> Gone:
    return Gone(f"The results of this batch {why}: send its lines again if they are still wanted.")


def _result(row: asyncpg.Record, batch: Batch) -> Result | None:
    """The result of a line; None if the line has not ended. Raises `Gone` if its answer is deleted."""
    line = {"number": row["number"], "custom_id": row["custom_id"], "asked": row["asked"]}
    if row["bad_code"]:
        return Result(**line, error_code=row["bad_code"], error_message=row["bad_message"])
    if row["state"] is None and batch.ended_at and batch.state != "failed":
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
