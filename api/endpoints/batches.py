"""`/api/batches`: creates batches from lines of JSON, shows them, and sends their results."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from api.batches.at_once import BodyForm, batch_of
from api.batches.download import send_results
from api.batches.lines import Lines
from api.batches.reading import LineReader
from api.formats.native.answers import result_json
from api.formats.native.batches import BatchView, parse_line, view_of
from api.formats.parsing import parse_query
from api.http.reading import refuse_compressed, refuse_too_large
from api.http.writing import answer
from api.services import SERVICES, Services
from shared.batches.batches import cancel_batch, find_batch, list_batches
from shared.batches.result_lines import result_line
from shared.batches.results import line_number, require_results
from shared.errors import UnsupportedMediaType
from shared.lanes import ServiceTier
from shared.ledger.api_keys import ApiKey

TYPES = (
    "application/x-ndjson",
    "application/jsonl",
    "application/ndjson",
    "application/json",
    "text/plain",
    "application/octet-stream",
)
LIMIT_DEFAULT, LIMIT_MAX = 20, 100
ENDPOINT = "/api/endpoint"
FILENAME = "batch.ndjson"
AFTER = "The `custom_id` of the last line that you have; left out for all lines."


class NewBatchQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options for all lines that do not give their own."""

    service_tier: Annotated[
        ServiceTier, msgspec.Meta(description="The service tier of lines that name none in their `options`.")
    ] = "default"


class BatchesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page of the list that is asked for."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX, description="The most batches on a page.")] = LIMIT_DEFAULT
    cursor: (
        Annotated[str, msgspec.Meta(description="The `next_cursor` of the page before; left out for the first page.")]
        | UnsetType
    ) = UNSET


class ResultsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The line after which the results begin."""

    after: Annotated[str, msgspec.Meta(description=AFTER)] | UnsetType = UNSET


class Batches(msgspec.Struct, frozen=True):
    """A page of the account's batches, newest first."""

    batches: list[BatchView]
    """The batches of this page."""
    next_cursor: str | None
    """The `cursor` of the next page; null on the last one."""


async def post_batch(request: web.Request) -> web.Response:
    """Create a batch. The lines are read as they arrive, and the good ones are run once all are here."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    tier = parse_query(request.query, NewBatchQuery).service_tier
    if request.content_type not in TYPES:
        raise UnsupportedMediaType("The body is lines of JSON: send application/x-ndjson.")
    refuse_compressed(request)
    refuse_too_large(request, services.settings.batch_bytes_max)
    batch, again, errors = await batch_of(request, key, native_body(services, key, tier))
    body = result_json(view_of(batch, errors))
    headers = {"Location": f"/api/batches/{batch.id}"} | ({"Idempotent-Replayed": "true"} if again else {})
    return web.Response(body=body, status=201, content_type="application/json", headers=headers)


def native_body(services: Services, key: ApiKey, tier: ServiceTier, filename: str = FILENAME) -> BodyForm:
    """Says how lines in the native form are read."""
    settings = services.settings
    lines = Lines(settings.batch_line_bytes_max, blank_max=settings.batch_lines_max)
    return BodyForm("native", ENDPOINT, filename, lines, LineReader(services, "native", key, parse_line, tier))


async def get_batches(request: web.Request) -> web.StreamResponse:
    """The account's batches, newest first."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    query = parse_query(request.query, BatchesQuery)
    page = await list_batches(services.pool, key.account_id, after=query.cursor or None, limit=query.limit + 1)
    cursor = page[query.limit - 1].id if len(page) > query.limit else None
    body = result_json(Batches([view_of(batch) for batch in page[: query.limit]], cursor))
    return await answer(request, body, key.account_id)


async def get_batch(request: web.Request) -> web.Response:
    """A batch with its state and counts."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    return _json(view_of(await find_batch(services.pool, key.account_id, request.match_info["id"])))


async def cancel(request: web.Request) -> web.Response:
    """Cancel the lines that have not started; a batch that has ended stays as it is."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    within_s = services.settings.turn_timeout_s
    batch = await cancel_batch(services.pool, key.account_id, request.match_info["id"], within_s=within_s)
    return _json(view_of(batch))


async def get_results(request: web.Request) -> web.StreamResponse:
    """Every line that has ended, in the order of the input; `?after=CUSTOM_ID` continues after that line. Results are kept
    for `BATCH_DAYS_KEPT` (30) days from the creation of the batch; after that: 410.
    """
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    batch = await find_batch(services.pool, key.account_id, request.match_info["id"])
    require_results(batch, services.settings.batch_days_kept)
    custom_id = parse_query(request.query, ResultsQuery).after
    after = 0 if custom_id is UNSET else await line_number(services.pool, batch, custom_id)
    async with services.key_watch.stopping(key.id):
        return await send_results(request, batch, result_line, after)


def _json(result: msgspec.Struct) -> web.Response:
    return web.Response(body=result_json(result), content_type="application/json")
