"""Files of lines: batches are created from them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

import asyncpg
import msgspec

from shared.batches.queries import FILES, execute, known_id, page_begins, row_of, rows_of, value_of
from shared.batches.quota import FILE_BYTES, GIVEN_UP, LINE_BYTES, Announced, limits_of, require_quota
from shared.errors import Conflict, Gone, InsufficientCredit, NotFound, Unavailable
from shared.ids import created_at, new_id
from shared.lanes import Feed
from shared.ledger.ended_keys import KeyEnded
from shared.money import nano_to_usd
from shared.stores.postgres import reached

if TYPE_CHECKING:
    from shared.settings import Settings

LINE_COLUMNS = ("day", "file_id", "number", "custom_id", "provider", "asked", "error_code", "error_message")
"""The columns of `file_lines`: the day, the file, and the fields of a `Line`. The column `provider` has the line's feed."""
OLDEST = (datetime.min.replace(tzinfo=UTC), "")
Form = Literal["native", "openai", "anthropic"]


class LineError(msgspec.Struct, frozen=True):
    """A line of a batch that was not understood."""

    line: int
    """The number of the line, counted from 1."""
    code: str
    """The code of the error, one of `/docs/errors`."""
    message: str
    """A sentence that says what is wrong with the line, and what to do."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a file. A line that was understood has its request in `asked`, and its `feed`; any other has `error_code`
    and `error_message`.
    """

    number: int
    custom_id: str | None
    feed: Feed | None = None
    asked: bytes | None = None
    error_code: str | None = None
    error_message: str | None = None


class Contents(NamedTuple):
    """The contents of an upload. `counted` is the number of bytes that its lines count towards the quota."""

    bytes: int
    counted: int
    lines: int
    bad_lines: int


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `files`. `day` is the partition of its lines."""

    id: str
    account_id: str
    day: date
    form: Form
    filename: str
    endpoint: str | None
    """The endpoint that the file's lines are for; None until one line was understood."""
    state: str
    bytes: int
    lines: int
    bad_lines: int
    created_at: datetime
    expires_at: datetime


async def require_credit(pool: asyncpg.Pool, account_id: str) -> None:
    """Raise `InsufficientCredit` if the account has no credit that could be held."""
    available = await value_of(pool, FILES["available"], account_id)
    if not available or available <= 0:
        amount = nano_to_usd(available or 0)
        raise InsufficientCredit(
            f"{amount} USD are available: add credit before you send a batch.",
            needed_usd="0.000000001",
            available_usd=amount,
        )


async def begin_file(
    pool: asyncpg.Pool,
    account_id: str,
    form: Form,
    filename: str,
    settings: Settings,
    announced: Announced = Announced(),  # noqa: B008 - it is immutable
) -> File:
    """Create a file that lines can be added to; it is hidden until `finish_file`. Raises `RequestTooLarge` or
    `InsufficientCredit` if the account's quota has too few bytes left for it.
    """
    file_id = new_id("file")
    moment = created_at(file_id)
    expires = moment + timedelta(days=settings.batch_days_kept)
    wanted = FILE_BYTES + announced.bytes
    given = (file_id, account_id, wanted, *limits_of(settings, announced), settings.upload_silent_s)
    (row,) = await rows_of(pool, FILES["begin"], *given, form, filename, moment, expires)
    require_quota(row, wanted, settings)
    return File(
        id=file_id,
        account_id=account_id,
        day=row["day"],
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
    """Store lines with COPY. Raises `Unavailable`."""
    records = [(file.day, file.id, *msgspec.structs.astuple(line)) for line in lines]
    async with reached("Files"):
        await pool.copy_records_to_table("file_lines", records=records, columns=LINE_COLUMNS)


async def finish_file(pool: asyncpg.Pool, file: File, key_id: str, has: Contents) -> File:
    """Make the file usable, with the `endpoint` and `expires_at` of `file`. Raises `KeyEnded` if the key that sends it
    has ended meanwhile, and `Unavailable` if Postgres does not answer or the upload was given up.
    """
    fields = (file.id, has.bytes, has.lines, has.bad_lines, file.endpoint, file.expires_at, key_id, has.counted)
    ((reason, done),) = await rows_of(pool, FILES["ready"], *fields)
    if reason:
        raise KeyEnded.because(reason)
    if not done:
        raise Unavailable(GIVEN_UP)
    return msgspec.structs.replace(file, state="ready", bytes=has.bytes, lines=has.lines, bad_lines=has.bad_lines)


async def abandon_upload(pool: asyncpg.Pool, file: File) -> None:
    """Abandon an upload that broke off, even at its very end: a usable file has all its lines. A sweep deletes the stored
    lines. If this raises `Unavailable`, the sweep gives the upload up later.
    """
    await execute(pool, FILES["abandon"], file.id)


async def delete_unused_file(pool: asyncpg.Pool, file: File, settings: Settings) -> None:
    """Delete a file from which no batch was created. If this raises `Unavailable`, the file is deleted when it expires."""
    await _delete(pool, file.account_id, file.id, settings)


async def find_file(pool: asyncpg.Pool, account_id: str, file_id: str) -> File:
    """The account's file with this id. Raises `NotFound`, also for another account's and for a deleted file, and `Gone` if
    it has expired.
    """
    row = await row_of(pool, FILES["find"], known_id(file_id), account_id)
    if row is None:
        raise NotFound("There is no such file: GET /v1/files lists yours.")
    if row["is_over"]:
        raise Gone(
            f"The file has expired at {row['expires_at']:%Y-%m-%d %H:%M} UTC and is not kept any more: send it again."
        )
    return File(**{name: row[name] for name in File.__struct_fields__})


async def list_files(
    pool: asyncpg.Pool,
    account_id: str,
    *,
    after: str | None,
    limit: int,
    first: int,
    at_once: int,
    oldest_first: bool = False,
) -> AsyncIterator[list[File]]:
    """Yield up to `limit` files, newest first unless `oldest_first`: first a page of `first` files, then pages of
    `at_once`, each read when it is asked for. Raises `NotFound` if `after` is not an id.
    """
    query = FILES["page_oldest_first"] if oldest_first else FILES["page"]
    begin = OLDEST if oldest_first and after is None else page_begins(after)
    left, wanted = limit, min(limit, first)
    while wanted:
        rows = await rows_of(pool, query, account_id, *begin, wanted)
        yield [File(**row) for row in rows]
        if len(rows) < wanted:
            return
        left -= wanted
        wanted, begin = min(left, at_once), page_begins(rows[-1]["id"])


async def delete_file(pool: asyncpg.Pool, account_id: str, file_id: str, settings: Settings) -> None:
    """Delete a file. Its bytes no longer count at once, and a sweep deletes its lines, except those that results repeat.
    Raises `NotFound` or `Gone`, or `Conflict` while a batch needs the file.
    """
    file = await find_file(pool, account_id, file_id)
    if not await _delete(pool, account_id, file.id, settings):
        raise Conflict("A batch that has not ended needs this file: cancel the batch, or wait for its end.")


async def _delete(pool: asyncpg.Pool, account_id: str, file_id: str, settings: Settings) -> bool:
    """False if an open batch needs the file, or if there is no such file."""
    return bool(await value_of(pool, FILES["delete"], file_id, account_id, settings.batch_days_kept, LINE_BYTES))
