"""`/v1/files`: the files in which OpenAI's clients send batches and fetch results."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import msgspec
from aiohttp import web

from api.batches.beginning import require_may_upload
from api.batches.creation import RepeatableBy, first_with_key
from api.batches.download import send_results
from api.batches.lines import Lines
from api.batches.reading import LineReader
from api.formats.native.answers import json_bytes
from api.formats.openai.batches import is_output, output_line
from api.formats.openai.files import (
    OUTPUT,
    FileDeleted,
    FileList,
    FileObject,
    LineParser,
    completed,
    file_object,
    output_object,
    require_output,
    split_output,
)
from api.formats.parsing import parse_query
from api.http.lists import ROWS_AT_ONCE, SHORT_ROWS
from api.http.multipart import file_form
from api.http.reading import refuse_too_large
from api.http.state import ASKED_BY
from api.http.writing import answer
from api.services import SERVICES, Services
from shared.batches.batches import Batch, find_batch, hide_output
from shared.batches.files import File, delete_file, delete_unused_file, find_file, list_files
from shared.batches.results import Result
from shared.errors import IdempotencyMismatch, InvalidRequest, NotFound

FORM_BYTES = 65_536
"""Bytes that a form may have beside its file."""
LIMIT_MAX = 10_000
"""Like OpenAI's: "Limit can range between 1 and 10,000, and the default is 10,000" (API reference, files, read
2026-11).
"""
ORDER = "`desc` (the default) lists the newest file first, `asc` the oldest."


class FilesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page of the list that is asked for."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX, description="The most files on a page.")] = LIMIT_MAX
    after: (
        Annotated[str, msgspec.Meta(description="The last id of the page before; left out for the first page.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    order: Annotated[Literal["asc", "desc"], msgspec.Meta(description=ORDER)] = "desc"
    purpose: (
        Annotated[str, msgspec.Meta(description="The purpose of the files that are listed; left out for all.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET


async def post_file(request: web.Request) -> web.Response:
    """Send the lines of a batch. They are read and checked as they arrive; the lines that are understood can be run even if
    others are not.
    """
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    request[ASKED_BY] = key.account_id
    form = await file_form(request)
    refuse_too_large(request, services.settings.batch_bytes_max + FORM_BYTES)
    wanted = await require_may_upload(request, key)
    parser = LineParser()
    async with wanted.place() as place:
        name = await form.to_file()
        lines = Lines(services.settings.batch_line_bytes_max, blank_max=services.settings.batch_lines_max)
        upload = await place.begin("openai", name, LineReader(services, "openai", key, parser), lines)
        file = await upload.receive(form.chunks(), lambda file: completed(file, form.fields, parser.endpoint))
    if wanted.repeated_by is None:
        return _answer(file_object(file))
    content = json_bytes(["file", file.filename, sorted(form.fields.items()), upload.fingerprint])
    return await _first(services, file, RepeatableBy(wanted.repeated_by, hashlib.sha256(content).digest()))


async def _first(services: Services, file: File, repeatable_by: RepeatableBy) -> web.Response:
    """The file that came first with the Idempotency-Key; a later one is deleted."""
    try:
        first = await first_with_key(services.pool, repeatable_by, file, services.settings)
    except IdempotencyMismatch:
        await delete_unused_file(services.pool, file, services.settings)
        raise
    if first == file.id:
        return _answer(file_object(file))
    await delete_unused_file(services.pool, file, services.settings)
    return _answer(file_object(await find_file(services.pool, file.account_id, first)), {"Idempotent-Replayed": "true"})


async def get_files(request: web.Request) -> web.StreamResponse:
    """The files that were sent, newest first. Batches name the files of their results."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    query = parse_query(request.query, FilesQuery)
    found: list[FileObject] = []
    async with services.lists.one(key.account_id) as listing:
        if query.purpose in {msgspec.UNSET, "batch"}:
            async for files in _files(services, key.account_id, query):
                found += map(file_object, files)
                await listing.after(files)
        page = found[: query.limit]
        first, last = (page[0].id, page[-1].id) if page else (None, None)
        body = json_bytes(FileList(data=page, first_id=first, last_id=last, has_more=len(found) > query.limit))
    return await answer(request, body, key.account_id)


def _files(services: Services, account_id: str, query: FilesQuery) -> AsyncIterator[list[File]]:
    """The files of a page, and one more if there are further files."""
    return list_files(
        services.pool,
        account_id,
        after=query.after or None,
        limit=query.limit + 1,
        first=SHORT_ROWS,
        at_once=ROWS_AT_ONCE,
        oldest_first=query.order == "asc",
    )


async def get_file(request: web.Request) -> web.Response:
    """A file that was sent, or a result file of a batch."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    file_id = request.match_info["id"]
    output = await _output(services, key.account_id, file_id)
    if output:
        return _answer(output_object(*output, services.settings.batch_days_kept))
    return _answer(file_object(await find_file(services.pool, key.account_id, file_id)))


async def get_content(request: web.Request) -> web.StreamResponse:
    """The results of a batch that has ended, in the order of its input: the successful lines, or the others. Files that
    were sent are stored in parsed form and cannot be downloaded.
    """
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    file_id = request.match_info["id"]
    output = await _output(services, key.account_id, file_id)
    if output is None:
        await find_file(services.pool, key.account_id, file_id)
        raise InvalidRequest("Only the output and error files of a batch can be downloaded: this one was sent by you.")
    batch, which = output

    def line(result: Result) -> bytes:
        return output_line(batch, result) if is_output(result) == (which == OUTPUT) else b""

    async with services.key_watch.stopping(key.id):
        return await send_results(request, batch, line)


async def delete_one(request: web.Request) -> web.Response:
    """Delete a file, which makes room for others; results stay as they are. A file that a batch still
    needs is kept: 409.
    """
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    file_id = request.match_info["id"]
    output = await _output(services, key.account_id, file_id)
    if output is None:
        await delete_file(services.pool, key.account_id, file_id, services.settings)
    elif not await hide_output(services.pool, output[0], file_id):
        raise NotFound("There is no such file: it has just been deleted.")
    return _answer(FileDeleted(id=file_id))


async def _output(services: Services, account_id: str, file_id: str) -> tuple[Batch, str] | None:
    """The batch of a result file, and which of its files it is (`output` or `errors`); None for a file that was sent.
    Raises `NotFound`.
    """
    split = split_output(file_id)
    if split is None:
        return None
    batch = await find_batch(services.pool, account_id, split[0], "/v1/batches")
    require_output(batch, split[1], services.settings.batch_days_kept)
    return batch, split[1]


def _answer(content: FileObject | FileDeleted, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=json_bytes(content), content_type="application/json", headers=headers)
