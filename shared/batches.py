"""Batches: files of lines, and batches over them, as the API makes and shows them. `workers/batch_feed.py` runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import asyncpg
import msgspec

from shared.chat import Message, Sampling, Tools
from shared.database import UNREACHABLE, load_queries
from shared.errors import Conflict, InsufficientCredit, NotFound, Unavailable
from shared.ids import created_at, new_id
from shared.money import NanoUsd, nano_to_usd
from shared.request_log import NEWEST

if TYPE_CHECKING:
    from shared.settings import Settings

FILES, BATCHES = load_queries("files"), load_queries("batches")
LINE_COLUMNS = ("day", "file_id", "number", "custom_id", "provider", "asked", "error_code", "error_message")
RESULTS_PER_READ = 200
OLDEST = (datetime.min.replace(tzinfo=UTC), "")
Form = Literal["native", "openai"]
State = Literal[
    "validating", "in_progress", "paused", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"
]


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """What one line asks for; `max_tokens` is None when it was left out."""

    model: str
    messages: list[Message]
    sampling: Sampling
    tools: Tools
    max_tokens: int | None
    metadata: dict[str, str] | None = None


class LineError(msgspec.Struct, frozen=True):
    """Why a line was set aside; `line` counts from 1."""

    line: int
    code: str
    message: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a file: understood (`asked`, for `provider`), or not (`error_code`, `error_message`)."""

    number: int
    custom_id: str | None
    provider: str | None = None
    asked: bytes | None = None
    error_code: str | None = None
    error_message: str | None = None


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `files`. `day` is the partition of its lines."""

    id: str
    account_id: str
    day: date
    form: Form
    filename: str
    endpoint: str | None
    """What its lines are for; None as long as none was understood."""
    state: str
    bytes: int
    lines: int
    bad_lines: int
    created_at: datetime
    expires_at: datetime


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `batches`. Of `total` lines `bad` were not understood and count as failed; `fed` became items."""

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


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A line that has come to its end: `answer` is a packed `KeptAnswer` of a success, else code and message say why not.
    `request_id` is None when the line was never fed.
    """

    number: int
    custom_id: str | None
    asked: bytes | None
    request_id: str | None = None
    answer: bytes | None = None
    error_code: str | None = None
    error_message: str | None = None


_ask_encoder = msgspec.msgpack.Encoder()
_ask_decoder = msgspec.msgpack.Decoder(Ask)


def pack_ask(ask: Ask) -> bytes:
    """As msgpack, for `Line.asked`."""
    return _ask_encoder.encode(ask)


def unpack_ask(data: bytes) -> Ask:
    """Raises `msgspec.DecodeError` for anything else."""
    return _ask_decoder.decode(data)


async def require_credit(pool: asyncpg.Pool, account_id: str) -> None:
    """Raises `InsufficientCredit` when the account has nothing that could be held."""
    available = await _value(pool, FILES["available"], account_id)
    if not available or available <= 0:
        amount = nano_to_usd(available or 0)
        raise InsufficientCredit(
            f"{amount} USD are available: add credit before you send a batch.",
            needed_usd="0.000000001",
            available_usd=amount,
        )


async def begin_file(pool: asyncpg.Pool, account_id: str, form: Form, filename: str, settings: Settings) -> File:
    """A file to which lines can be added; nobody sees it until `finish_file`."""
    file_id = new_id("file")
    moment = created_at(file_id)
    expires = moment + timedelta(days=settings.batch_days_kept)
    await _execute(pool, FILES["create"], file_id, account_id, moment.date(), form, filename, moment, expires)
    return File(
        id=file_id,
        account_id=account_id,
        day=moment.date(),
        form=form,
        filename=filename,
        endpoint=None,
        state="uploading",
        bytes=0,
        lines=0,
        bad_lines=0,
        created_at=moment,
        expires_at=expires,
    )


async def add_lines(pool: asyncpg.Pool, file: File, lines: list[Line]) -> None:
    """By COPY. Raises `Unavailable`."""
    records = [(file.day, file.id, *msgspec.structs.astuple(line)) for line in lines]
    try:
        await pool.copy_records_to_table("file_lines", records=records, columns=LINE_COLUMNS)
    except UNREACHABLE as error:
        raise Unavailable("The file cannot be stored now: send it again shortly.") from error


async def finish_file(pool: asyncpg.Pool, file: File, *, size: int, lines: int, bad_lines: int) -> File:
    """From now on it can be used, for what its `endpoint` and until what its `expires_at` say."""
    await _execute(pool, FILES["ready"], file.id, size, lines, bad_lines, file.endpoint, file.expires_at)
    return msgspec.structs.replace(file, state="ready", bytes=size, lines=lines, bad_lines=bad_lines)


async def drop_file(pool: asyncpg.Pool, file: File) -> None:
    """Forget an upload that broke off."""
    await _execute(pool, FILES["drop_lines"], file.id, file.day)


async def forget_file(pool: asyncpg.Pool, file: File) -> None:
    """A file of which no batch came. Raises `Unavailable`; then its day takes it along."""
    if await _value(pool, FILES["delete"], file.id, file.account_id):
        await drop_file(pool, file)


async def find_file(pool: asyncpg.Pool, account_id: str, file_id: str) -> File:
    """Raises `NotFound`, also for another account's and for one that was deleted."""
    row = await _row(pool, FILES["find"], _id(file_id), account_id)
    if row is None:
        raise NotFound("There is no such file: GET /v1/files lists yours.")
    return File(**row)


async def list_files(
    pool: asyncpg.Pool, account_id: str, *, after: str | None, limit: int, oldest_first: bool = False
) -> list[File]:
    """Newest first, unless asked for otherwise. Raises `NotFound` for an `after` that is no id."""
    query = FILES["page_oldest_first"] if oldest_first else FILES["page"]
    begin = OLDEST if oldest_first and after is None else _before(after)
    return [File(**row) for row in await _rows(pool, query, account_id, *begin, limit)]


async def bad_lines_of(pool: asyncpg.Pool, batches: Sequence[Batch], limit: int) -> dict[str, list[LineError]]:
    """By file, the first `limit` lines of each that were not understood."""
    days = {batch.file_id: batch.file_day for batch in batches if batch.bad}
    found: dict[str, list[LineError]] = {file_id: [] for file_id in days}
    for row in await _rows(pool, FILES["bad_lines"], list(found), list(days.values()), limit) if days else ():
        found[row["file_id"]].append(LineError(row["line"], row["code"], row["message"]))
    return found


async def delete_file(pool: asyncpg.Pool, account_id: str, file_id: str) -> None:
    """Its lines go with their day. Raises `NotFound`, or `Conflict` while a batch needs it."""
    file = await find_file(pool, account_id, file_id)
    if not await _value(pool, FILES["delete"], file.id, account_id):
        raise Conflict("A batch that has not ended needs this file: cancel the batch, or wait for its end.")


async def find_batch(pool: asyncpg.Pool, account_id: str, batch_id: str) -> Batch:
    """Raises `NotFound`, also for another account's."""
    row = await _row(pool, BATCHES["find"], _id(batch_id), account_id)
    if row is None:
        raise NotFound("There is no such batch: GET /api/batches lists yours.")
    return batch_from_row(row)


async def list_batches(pool: asyncpg.Pool, account_id: str, *, after: str | None, limit: int) -> list[Batch]:
    """Newest first."""
    return [batch_from_row(row) for row in await _rows(pool, BATCHES["page"], account_id, *_before(after), limit)]


async def delete_output(pool: asyncpg.Pool, batch: Batch, file_id: str) -> bool:
    """Hide a file that is made of the batch's results; these go with their day. False when it was hidden before."""
    return bool(await _value(pool, BATCHES["delete_output"], batch.id, batch.account_id, file_id))


async def cancel_batch(pool: asyncpg.Pool, account_id: str, batch_id: str) -> Batch:
    """What has not started does not start any more; one that has ended stays as it is. Raises `NotFound`."""
    await find_batch(pool, account_id, batch_id)
    await _execute(pool, BATCHES["cancel"], batch_id, account_id)
    return await find_batch(pool, account_id, batch_id)


async def results_of(pool: asyncpg.Pool, batch: Batch, after: int = 0) -> AsyncIterator[list[Result]]:
    """Pages of the lines behind number `after` that have ended, in the order of the file; reads a page at a time."""
    while True:
        rows = await _rows(
            pool, BATCHES["results"], batch.id, batch.day, batch.file_id, batch.file_day, after, RESULTS_PER_READ
        )
        yield [result for row in rows if (result := _result(row, batch))]
        if len(rows) < RESULTS_PER_READ:
            return
        after = rows[-1]["number"]


async def line_number(pool: asyncpg.Pool, batch: Batch, custom_id: str) -> int:
    """Where the line with this id stands. Raises `NotFound`."""
    number = await _value(pool, BATCHES["line_number"], batch.file_id, batch.file_day, custom_id.replace("\0", ""))
    if number is None:
        raise NotFound("The batch has no line with this `custom_id`: take that of the last line you have.")
    return int(number)


def batch_from_row(row: asyncpg.Record) -> Batch:
    """A row of `batches`."""
    metadata = row["metadata"]
    return Batch(**{**row, "metadata": None if metadata is None else msgspec.json.decode(metadata)})


def _result(row: asyncpg.Record, batch: Batch) -> Result | None:
    """None while the line is not at its end."""
    line = {"number": row["number"], "custom_id": row["custom_id"], "asked": row["asked"]}
    if row["bad_code"]:
        return Result(**line, error_code=row["bad_code"], error_message=row["bad_message"])
    if row["state"] is None and batch.ended_at and batch.state != "failed":
        return Result(
            **line, error_code=batch.ends_as, error_message=f"The batch was {batch.ends_as} before this line."
        )
    if row["state"] in {None, "running"}:
        return None
    ending = {name: row[name] for name in ("request_id", "answer", "error_code", "error_message")}
    return Result(**line, **ending)


def _before(after: str | None) -> tuple[datetime, str]:
    """Where a page begins. Raises `NotFound` for what is no id."""
    if after is None:
        return NEWEST[1], NEWEST[0]
    try:
        return created_at(after), after
    except ValueError:
        raise NotFound("The cursor is not one of ours: take the one of the page before.") from None


def _id(text: str) -> str:
    """Postgres refuses the one character that no id has."""
    return text.replace("\0", "")


async def _row(pool: asyncpg.Pool, query: str, *arguments: Any) -> asyncpg.Record | None:  # noqa: ANN401
    rows = await _rows(pool, query, *arguments)
    return rows[0] if rows else None


async def _value(pool: asyncpg.Pool, query: str, *arguments: Any) -> Any:  # noqa: ANN401
    row = await _row(pool, query, *arguments)
    return None if row is None else row[0]


async def _rows(pool: asyncpg.Pool, query: str, *arguments: Any) -> list[asyncpg.Record]:  # noqa: ANN401
    try:
        return await pool.fetch(query, *arguments)
    except UNREACHABLE as error:
        raise Unavailable("Batches cannot be read now: try again shortly.") from error


async def _execute(pool: asyncpg.Pool, query: str, *arguments: Any) -> None:  # noqa: ANN401
    await _rows(pool, query, *arguments)
