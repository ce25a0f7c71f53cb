"""Files of lines, from which batches are made."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import asyncpg
import msgspec

from shared.batches.queries import FILES, execute, known_id, page_begins, row_of, rows_of, value_of
from shared.errors import Conflict, Gone, InsufficientCredit, NotFound
from shared.ids import created_at, new_id
from shared.ledger.ended_keys import KeyEnded
from shared.money import nano_to_usd
from shared.stores.postgres import reached

if TYPE_CHECKING:
    from shared.settings import Settings

LINE_COLUMNS = ("day", "file_id", "number", "custom_id", "provider", "asked", "error_code", "error_message")
OLDEST = (datetime.min.replace(tzinfo=UTC), "")
Form = Literal["native", "openai"]


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


async def require_credit(pool: asyncpg.Pool, account_id: str) -> None:
    """Raises `InsufficientCredit` when the account has nothing that could be held."""
    available = await value_of(pool, FILES["available"], account_id)
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
    await execute(pool, FILES["create"], file_id, account_id, moment.date(), form, filename, moment, expires)
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
    async with reached("Files"):
        await pool.copy_records_to_table("file_lines", records=records, columns=LINE_COLUMNS)


async def finish_file(pool: asyncpg.Pool, file: File, key_id: str, *, size: int, lines: int, bad_lines: int) -> File:
    """From now on it can be used, for what its `endpoint` and until what its `expires_at` say. Raises `KeyEnded` when the key
    that sends it has ended meanwhile.
    """
    fields = (file.id, size, lines, bad_lines, file.endpoint, file.expires_at, key_id)
    if reason := await value_of(pool, FILES["ready"], *fields):
        raise KeyEnded.because(reason)
    return msgspec.structs.replace(file, state="ready", bytes=size, lines=lines, bad_lines=bad_lines)


async def drop_file(pool: asyncpg.Pool, file: File) -> None:
    """Forget an upload that broke off, also at its very end: a file that can be used has all its lines."""
    await execute(pool, FILES["forget"], file.id)
    await execute(pool, FILES["drop_lines"], file.id, file.day)


async def forget_file(pool: asyncpg.Pool, file: File) -> None:
    """A file of which no batch came. Raises `Unavailable`; then its day takes it along."""
    if await value_of(pool, FILES["delete"], file.id, file.account_id):
        await execute(pool, FILES["drop_lines"], file.id, file.day)


async def find_file(pool: asyncpg.Pool, account_id: str, file_id: str) -> File:
    """Raises `NotFound`, also for another account's and for one that was deleted, and `Gone` when its time is over."""
    row = await row_of(pool, FILES["find"], known_id(file_id), account_id)
    if row is None:
        raise NotFound("There is no such file: GET /v1/files lists yours.")
    if row["is_over"]:
        raise Gone(
            f"The file has expired at {row['expires_at']:%Y-%m-%d %H:%M} UTC and is not kept any more: send it again."
        )
    return File(**{name: row[name] for name in File.__struct_fields__})


async def list_files(
    pool: asyncpg.Pool, account_id: str, *, after: str | None, limit: int, oldest_first: bool = False
) -> list[File]:
    """Newest first, unless asked for otherwise. Raises `NotFound` for an `after` that is no id."""
    query = FILES["page_oldest_first"] if oldest_first else FILES["page"]
    begin = OLDEST if oldest_first and after is None else page_begins(after)
    return [File(**row) for row in await rows_of(pool, query, account_id, *begin, limit)]


async def delete_file(pool: asyncpg.Pool, account_id: str, file_id: str) -> None:
    """Its lines go with their day. Raises `NotFound` or `Gone`, or `Conflict` while a batch needs it."""
    file = await find_file(pool, account_id, file_id)
    if not await value_of(pool, FILES["delete"], file.id, account_id):
        raise Conflict("A batch that has not ended needs this file: cancel the batch, or wait for its end.")
