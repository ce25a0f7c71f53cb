"""OpenAI's files: how the lines of a file are parsed, and how a file is shown."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec

from api.formats.anthropic.chat import parse_message
from api.formats.asked import ParsedLine
from api.formats.openai.chat import parse_completion
from api.formats.parsing import parse
from api.formats.responses.chat import parse_response_line
from shared.batches.batches import Batch
from shared.batches.files import File
from shared.batches.results import require_results, results_kept_until
from shared.errors import InvalidRequest, NotFound
from shared.patterns import in_words

Endpoint = Literal["/v1/chat/completions", "/v1/responses", "/v1/messages"]
PARSERS = {
    "/v1/chat/completions": parse_completion,
    "/v1/responses": parse_response_line,
    "/v1/messages": parse_message,
}
"""Parsers of lines by endpoint: everything that can be asked as a single request."""
OUTPUT, ERRORS = "output", "errors"
"""Result files of a batch, which are written while they are read; their ids are `{batch id}_{which}`."""
LIFE_S_MIN, LIFE_S_MAX = 3_600, 2_592_000


class FileLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a file: one request, which cannot be streamed."""

    custom_id: str
    """Your own id of the line, 1 to 256 characters, unique in the file."""
    method: Literal["POST"]
    """Always `POST`."""
    url: str
    """The endpoint that the line is for, the same in all lines of a file."""
    body: msgspec.Raw
    """The body of the request, in the form of that endpoint, without `stream`."""


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was sent, or one of a batch's result files."""

    id: str
    """The file's id, for `input_file_id` of a batch."""
    object: Literal["file"] = "file"
    bytes: int
    """The bytes of the file; 0 for a result file, which is made while it is downloaded."""
    created_at: int
    """The time at which the file was sent, or at which its batch ended, in Unix seconds."""
    expires_at: int | None
    """The time at which the file is deleted, in Unix seconds."""
    filename: str
    """The file name that was sent; `{id}.jsonl` for a result file."""
    purpose: Literal["batch", "batch_output"]
    """`batch` for a file that was sent, `batch_output` for a result file."""
    status: Literal["processed"] = "processed"
    status_details: str | None = None
    """A sentence that says how many lines were not understood; null if all were."""


class FileList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the account's files."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    """The files of this page."""
    first_id: str | None
    """The id of the first file on the page; null on an empty page."""
    last_id: str | None
    """The id of the last file on the page, for `after`; null on an empty page."""
    has_more: bool
    """True if there are more files behind this page."""


class FileDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """The confirmation that a file was deleted."""

    id: str
    """The id of the deleted file."""
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
    """Always true."""


class FileFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form's fields beside the file."""

    purpose: Literal["batch"]
    """Only `batch`: files have no other purpose here."""
    anchor: Literal["created_at"] | None = msgspec.field(default=None, name="expires_after[anchor]")
    """Only `created_at`; it must be given together with `expires_after[seconds]`."""
    seconds: Annotated[int, msgspec.Meta(ge=LIFE_S_MIN, le=LIFE_S_MAX)] | None = msgspec.field(
        default=None, name="expires_after[seconds]"
    )
    """Seconds from the upload until the file is deleted, 3,600 to 2,592,000; the service's own limit is never exceeded."""


_decoder = msgspec.json.Decoder(FileLine)


class LineParser:
    """Parses the lines of one file. All lines are for the endpoint of the first line that is understood."""

    def __init__(self) -> None:
        self.endpoint: str | None = None

    def __call__(self, line: bytes) -> ParsedLine:
        """Parse one line. Raises `InvalidRequest`, which names the field."""
        one = parse(line, _decoder, "A line takes custom_id, method, url and body")
        parse_body = PARSERS.get(one.url)
        if parse_body is None:
            raise InvalidRequest(f"`url` is {one.url[:100]!r}: it can be {' or '.join(PARSERS)}.")
        if self.endpoint not in {None, one.url}:
            raise InvalidRequest(f"`url` is {one.url}, but earlier lines are for {self.endpoint}: send two files.")
        asked = parse_body(bytes(one.body))
        if asked.stream:
            raise InvalidRequest("`body.stream` is not possible in a batch: leave it out.")
        self.endpoint = one.url
        return ParsedLine(one.custom_id, asked)


def completed(file: File, fields: dict[str, str], endpoint: str | None) -> File:
    """The file with what its form and its lines say. Raises `InvalidRequest`, which names the field."""
    wanted = _fields(fields)
    if wanted.seconds is None:
        return msgspec.structs.replace(file, endpoint=endpoint)
    expires = min(file.expires_at, file.created_at + timedelta(seconds=wanted.seconds))
    return msgspec.structs.replace(file, endpoint=endpoint, expires_at=expires)


def _fields(fields: dict[str, str]) -> FileFields:
    if fields.get("purpose") != "batch":
        raise InvalidRequest("`purpose` can only be `batch` here.", param="purpose")
    try:
        wanted = msgspec.convert(fields, FileFields, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The form is not as it should be: {in_words(str(error))}.") from None
    if (wanted.anchor is None) != (wanted.seconds is None):
        raise InvalidRequest("`expires_after` has both `anchor` and `seconds`.", param="expires_after")
    return wanted


def file_object(file: File) -> FileObject:
    """A file that was sent, as it is shown."""
    bad = f"{file.bad_lines} of {file.lines} lines were not understood." if file.bad_lines else None
    return FileObject(
        id=file.id,
        bytes=file.bytes,
        created_at=seconds_of(file.created_at),
        expires_at=seconds_of(file.expires_at),
        filename=file.filename,
        purpose="batch",
        status_details=bad,
    )


def output_object(batch: Batch, which: str, days_kept: int) -> FileObject:
    """A result file, as it is shown."""
    ended = batch.ended_at or batch.created_at
    return FileObject(
        id=f"{batch.id}_{which}",
        bytes=0,
        created_at=seconds_of(ended),
        expires_at=seconds_of(results_kept_until(batch, days_kept)),
        filename=f"{batch.id}_{which}.jsonl",
        purpose="batch_output",
    )


def split_output(file_id: str) -> tuple[str, str] | None:
    """The batch's id and which of its files it is; None for the id of a file that was sent."""
    batch_id, _, which = file_id.rpartition("_")
    return (batch_id, which) if which in {OUTPUT, ERRORS} else None


def output_id(batch: Batch, which: str) -> str | None:
    """The id of the batch's file; None if it has no such file: it has not ended, or no line ended that way."""
    lines = batch.completed if which == OUTPUT else batch.failed + batch.cancelled + batch.expired
    return f"{batch.id}_{which}" if batch.ended_at and lines else None


def require_output(batch: Batch, which: str, days_kept: int) -> None:
    """Raise `NotFound` if the batch has no such file, and `Gone` if it has expired."""
    file_id = output_id(batch, which)
    if file_id is None or file_id in batch.deleted_files:
        raise NotFound("There is no such file: a batch that has ended names those that it has.")
    require_results(batch, days_kept)


def seconds_of(moment: datetime) -> int:
    """Unix seconds."""
    return int(moment.timestamp())
