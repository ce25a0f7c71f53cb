"""`/v1/messages/batches`: Anthropic's message batches, over the same core as `/api/batches`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from api.batches.at_once import BodyForm, batch_of
from api.batches.download import send_results
from api.batches.reading import RequestReader
from api.batches.requests import Requests
from api.formats.anthropic.batches import (
    DeletedMessageBatch,
    MessageBatches,
    batch_id_of,
    message_batch,
    parse_params,
    result_line,
)
from api.formats.anthropic.chat import thinks_between_calls
from api.formats.native.answers import json_bytes
from api.formats.wishes import ignored_header, known_query, unknown_parameters
from api.http.caller import base_url_of
from api.http.reading import refuse_too_large, refuse_unsupported
from api.http.writing import answer
from api.services import SERVICES, Services
from shared.batches.batches import Batch, cancel_batch, find_batch, list_batches, list_newer_batches
from shared.batches.erasing import erase_batch
from shared.batches.results import require_results
from shared.errors import Conflict, InvalidRequest

LIMIT_DEFAULT, LIMIT_MAX = 20, 1_000
ENDPOINT = "/v1/messages"
PATH = "/v1/messages/batches"
FILENAME = "requests.json"
AFTER = "The last id of the page before; left out for the first page."
BEFORE = "The first id of the page after; not together with `after_id`."


class MessageBatchesQuery(msgspec.Struct, frozen=True):
    """The page of the list that is asked for. Other query parameters are left out and named in `x-ignored`."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX, description="The most batches on a page.")] = LIMIT_DEFAULT
    after_id: Annotated[str, msgspec.Meta(description=AFTER)] | UnsetType = UNSET
    before_id: Annotated[str, msgspec.Meta(description=BEFORE)] | UnsetType = UNSET


async def post_batch(request: web.Request) -> web.Response:
    """Run up to 100,000 requests. They are read as they arrive, and run once all of them are here. A fault in the `params`
    of one request is reported in its result, and the others run.
    """
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    settings = services.settings
    refuse_unsupported(request)
    refuse_too_large(request, settings.batch_bytes_max)
    left_out = unknown_parameters(request.query)
    if left_out and key.strict:
        raise InvalidRequest(f"`{left_out[0][:100]}` is not known here, and this key is strict: leave it out.")
    requests = Requests(settings.batch_line_bytes_max, strict=key.strict)
    parse = partial(parse_params, interleaved=thinks_between_calls(request.headers))
    reader = RequestReader(services, "anthropic", key, parse)
    made = await batch_of(request, key, BodyForm("anthropic", ENDPOINT, FILENAME, requests, reader))
    headers = ignored_header([*left_out, *requests.others]) | ({"Idempotent-Replayed": "true"} if made.again else {})
    return _shown(request, made.batch, headers)


async def get_batches(request: web.Request) -> web.StreamResponse:
    """The account's batches, newest first, including those of the other APIs."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    query, ignored = known_query(request.query, MessageBatchesQuery)
    after, before = query.after_id or None, query.before_id or None
    if after and before:
        raise InvalidRequest("`after_id` and `before_id` exclude each other: give one of them.")
    if before:
        found = await list_newer_batches(
            services.pool, key.account_id, before=batch_id_of(before), limit=query.limit + 1
        )
        page = found[-query.limit :]
    else:
        begins = batch_id_of(after) if after else None
        found = await list_batches(services.pool, key.account_id, after=begins, limit=query.limit + 1)
        page = found[: query.limit]
    data = [message_batch(batch, base_url_of(request) + PATH, services.settings.batch_days_kept) for batch in page]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    listing = MessageBatches(data=data, has_more=len(found) > len(page), first_id=first, last_id=last)
    return await answer(request, json_bytes(listing), key.account_id, headers=ignored_header(ignored))


async def get_batch(request: web.Request) -> web.Response:
    """A batch with its status and counts, and the address of its results once it has ended."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    return _shown(request, await _own(request, services, key.account_id))


async def cancel(request: web.Request) -> web.Response:
    """Cancel the requests that have not started; a batch that has ended stays as it is."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    within_s = services.settings.turn_timeout_s
    batch_id = batch_id_of(request.match_info["id"])
    return _shown(request, await cancel_batch(services.pool, key.account_id, batch_id, PATH, within_s=within_s))


async def delete_one(request: web.Request) -> web.Response:
    """Delete a batch that has ended, with its requests and results; before its end: 409. Its cost stays in the history."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    batch = await _own(request, services, key.account_id)
    await erase_batch(services.pool, batch, services.settings.batch_days_kept)
    deleted = DeletedMessageBatch(id=request.match_info["id"])
    return web.Response(body=json_bytes(deleted), content_type="application/json")


async def get_results(request: web.Request) -> web.StreamResponse:
    """The results of a batch that has ended, in the order of its requests; before its end: 409. They are kept for
    `BATCH_DAYS_KEPT` (30) days from the creation of the batch; after that: 410.
    """
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    batch = await _own(request, services, key.account_id)
    if batch.ended_at is None:
        raise Conflict("The batch has not ended: ask for its results when its `processing_status` is `ended`.")
    require_results(batch, services.settings.batch_days_kept)
    async with services.key_watch.stopping(key.id):
        return await send_results(request, batch, result_line)


async def _own(request: web.Request, services: Services, account_id: str) -> Batch:
    return await find_batch(services.pool, account_id, batch_id_of(request.match_info["id"]), PATH)


def _shown(request: web.Request, batch: Batch, headers: dict[str, str] | None = None) -> web.Response:
    results_at = base_url_of(request) + PATH  # clients follow `results_url` unchanged
    shown = message_batch(batch, results_at, request.app[SERVICES].settings.batch_days_kept)
    return web.Response(body=json_bytes(shown), content_type="application/json", headers=headers)
