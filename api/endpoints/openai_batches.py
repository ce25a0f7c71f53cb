"""`/v1/batches`: OpenAI's batches, over the same core as `/api/batches`."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from aiohttp import web

from api.batches.counting import Counting
from api.batches.creation import NewBatch, RepeatableBy, create_batch, made_before
from api.formats.native.answers import json_bytes
from api.formats.openai.batches import BatchBody, BatchList, BatchObject, batch_object
from api.formats.parsing import parse, parse_query
from api.http.reading import idempotency_key
from api.http.writing import answer
from api.services import SERVICES, Services
from shared.batches.batches import Batch, bad_lines_of, cancel_batch, find_batch, list_batches
from shared.batches.files import File, find_file, require_credit
from shared.errors import IdempotencyMismatch, InvalidRequest

LIMIT_DEFAULT, LIMIT_MAX = 20, 100
PATH = "/v1/batches"
ERRORS_SHOWN_MAX = 20
"""Most bad lines that a batch lists."""
_decoder = msgspec.json.Decoder(BatchBody)


class OpenAIBatchesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page of the list that is asked for."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX, description="The most batches on a page.")] = LIMIT_DEFAULT
    after: (
        Annotated[str, msgspec.Meta(description="The last id of the page before; left out for the first page.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET


async def post_batch(request: web.Request) -> web.Response:
    """Run the lines of a file that was sent to `/v1/files`; they are fed to the queue at once."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    said = await services.bodies.read_small_json(request, key.account_id)
    body = parse(said, _decoder, "It takes input_file_id, endpoint, completion_window and metadata")
    counting = Counting(request, services, key)
    repeatable_by = _repeatable_by(request, body)
    try:
        earlier = await made_before(services.pool, key.account_id, repeatable_by)
    except IdempotencyMismatch:
        await counting.once()
        raise
    if earlier:
        return await _answer(services, earlier, {"Idempotent-Replayed": "true"})
    await require_credit(services.pool, key.account_id)
    file = await find_file(services.pool, key.account_id, body.input_file_id)
    _refuse_other_lines(file, body)
    await counting.once()
    new = NewBatch(file, key.id, body.endpoint, body.metadata, repeatable_by)
    batch, again = await create_batch(services.pool, new, services.settings)
    return await _answer(services, batch, {"Idempotent-Replayed": "true"} if again else {})


async def get_batches(request: web.Request) -> web.StreamResponse:
    """The account's batches, newest first, including those of `/api/batches`."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    query = parse_query(request.query, OpenAIBatchesQuery)
    found = await list_batches(services.pool, key.account_id, after=query.after or None, limit=query.limit + 1)
    page = await _objects(services, found[: query.limit])
    first, last = (page[0].id, page[-1].id) if page else (None, None)
    listing = BatchList(data=page, first_id=first, last_id=last, has_more=len(found) > query.limit)
    return await answer(request, json_bytes(listing), key.account_id)


async def get_batch(request: web.Request) -> web.Response:
    """A batch with its status and counts, and its files once it has ended."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    return await _answer(services, await find_batch(services.pool, key.account_id, request.match_info["id"], PATH))


async def cancel(request: web.Request) -> web.Response:
    """Cancel the lines that have not started; a batch that has ended stays as it is."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    within_s = services.settings.turn_timeout_s
    batch = await cancel_batch(services.pool, key.account_id, request.match_info["id"], PATH, within_s=within_s)
    return await _answer(services, batch)


def _repeatable_by(request: web.Request, body: BatchBody) -> RepeatableBy | None:
    key = idempotency_key(request)
    content = b"BatchBody\0" + msgspec.json.encode(body, order="sorted")
    return RepeatableBy(key, hashlib.sha256(content).digest()) if key else None


def _refuse_other_lines(file: File, body: BatchBody) -> None:
    if file.endpoint not in {None, body.endpoint}:
        raise InvalidRequest(f"The file's lines are for {file.endpoint}: create the batch for that.", param="endpoint")


async def _answer(services: Services, batch: Batch, headers: dict[str, str] | None = None) -> web.Response:
    (one,) = await _objects(services, [batch])
    return web.Response(body=json_bytes(one), content_type="application/json", headers=headers)


async def _objects(services: Services, batches: list[Batch]) -> list[BatchObject]:
    bad = await bad_lines_of(services.pool, batches, ERRORS_SHOWN_MAX)
    return [batch_object(batch, bad.get(batch.file_id, [])) for batch in batches]
