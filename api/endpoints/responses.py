"""`/v1/responses`: chat requests in the form of OpenAI's Responses API, and stored responses."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from api.callers import earlier_events, follower_of
from api.formats.native.answers import json_bytes
from api.formats.responses.chat import parse_response
from api.formats.responses.history import input_items
from api.formats.responses.listing import page_of
from api.formats.responses.objects import InputTokens, ResponseDeleted
from api.formats.responses.shown import response_json, stream_again
from api.formats.wishes import ignored_header, known_query, without_query
from api.http.state import REQUEST_ID
from api.http.writing import answer, room_for
from api.requests.log import find_request
from api.requests.model_check import fit_to_model
from api.requests.model_names import V1_LISTED_AT, asked_in
from api.requests.stored import Stored, bytes_stored, find_input, find_stored, input_bytes, own_id, standing_of, unknown
from api.requests.streaming import send_stream
from api.services import SERVICES, Services
from api.serving import serve
from shared.errors import Unavailable
from shared.input_tokens import estimated_input
from shared.queue.known import forget_answer, has_journal

if TYPE_CHECKING:
    from shared.ledger.api_keys import ApiKey

SEQUENCE_MAX = 2**31 - 1
LIMIT_DEFAULT, LIMIT_MAX = 20, 100
ORDER = "`desc` (the default) lists the newest item first, `asc` the oldest."
CANCELLED_WITHIN_S = 2.0
"""Seconds for which a cancel waits for the request to end. It ends at once, unless its vendor bills to the end."""
COPIES = 2
"""Copies of a large body that are held at the same time: the request to the vendor, and what is stored."""
AFTER = "Only with `stream`: the number of the last event that you have; left out for all events."


class ResponseQuery(msgspec.Struct, frozen=True):
    """The form in which a response is shown. Other query parameters are left out and named in `x-ignored`."""

    stream: Annotated[
        bool,
        msgspec.Meta(
            description="True sends the response's events, from the beginning or after `starting_after`. False by default."
        ),
    ] = False
    starting_after: Annotated[int, msgspec.Meta(ge=0, le=SEQUENCE_MAX, description=AFTER)] | UnsetType = UNSET


class InputItemsQuery(msgspec.Struct, frozen=True):
    """The page of the items that is asked for. Other query parameters are left out and named in `x-ignored`."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX, description="The most items on a page.")] = LIMIT_DEFAULT
    order: Annotated[Literal["asc", "desc"], msgspec.Meta(description=ORDER)] = "desc"
    after: (
        Annotated[str, msgspec.Meta(description="The last id of the page before; left out for the first page.")]
        | UnsetType
    ) = UNSET


async def post_response(request: web.Request) -> web.StreamResponse:
    """Answer with a response, or with its events. It is kept for 24 hours unless `store` is false. With `background` the
    answer comes at once, and the request runs on even if the caller leaves.
    """
    return await serve(request, parse_response, copies=COPIES)


async def get_response(request: web.Request) -> web.StreamResponse:
    """A stored response: its status, and its output once it has ended; with `stream`, its events again."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    query, ignored = known_query(request.query, ResponseQuery)
    stored = await find_stored(services.pool, key.account_id, request.match_info["id"])
    if query.stream:
        after = -1 if query.starting_after is UNSET else query.starting_after
        return await _stream(request, services, key, stored, after, ignored)
    return await _show(request, services, stored, ignored)


async def delete_response(request: web.Request) -> web.Response:
    """Delete a response with its input and its answer. A running request goes on, but its answer is not kept."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    response = request.match_info["id"]
    request_id = own_id(response)
    if not await services.ledger.forget(key.account_id, request_id):
        raise unknown(response)
    logged = await find_request(services.pool, key.account_id, request_id)
    if logged.state != "pending":  # a running request still needs its data in Redis, which expires soon after its end
        with suppress(Unavailable):
            await forget_answer(services.redis, request_id)
    return web.Response(body=json_bytes(ResponseDeleted(id=response)), content_type="application/json")


async def cancel_response(request: web.Request) -> web.StreamResponse:
    """Cancel a response and answer with it as it is now. A response that has ended stays as it is."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    response = request.match_info["id"]
    stored = await find_stored(services.pool, key.account_id, response)
    if stored.logged.state == "pending":
        await services.queue.cancel(stored.logged.id)
        await _until_ended(services, key, stored)
        stored = await find_stored(services.pool, key.account_id, response)
    return await _show(request, services, stored)


async def get_input_items(request: web.Request) -> web.StreamResponse:
    """The items of the response's own input, as they were sent, without those of the responses that it continues."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    query, ignored = known_query(request.query, InputItemsQuery)
    response = request.match_info["id"]
    size = await input_bytes(services.pool, key.account_id, response)
    with await room_for(request, size, key.account_id) as held:
        kept = await find_input(services.pool, key.account_id, response)
        async with services.bodies.turn(size) as pace:
            items = input_items(kept)
            await pace.pause()
            page = page_of(
                items, own_id(response), query.limit, query.after or None, newest_first=query.order == "desc"
            )
            await pace.pause()
            body = json_bytes(page)
        return await answer(request, body, key.account_id, headers=ignored_header(ignored), held=held)


async def post_input_tokens(request: web.Request) -> web.Response:
    """Estimate the tokens of the input from its bytes without asking a vendor; it costs nothing. `x-token-count` says
    `estimate`.
    """
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    with await services.bodies.read_json(request, key.account_id) as body:
        async with services.bodies.turn(body.size):
            asked = asked_in(body.take(), parse_response, services.catalogue, V1_LISTED_AT)
            asked = await services.conversations.whole(without_query(asked, request.query), key.account_id, body)
            model = services.catalogue.serving(asked.model, V1_LISTED_AT)
            asked, model = fit_to_model(asked, model, services.settings, strict=key.strict)
            tokens = estimated_input(asked.chat, model.image_tokens)
    return web.Response(
        body=json_bytes(InputTokens(input_tokens=tokens)),
        content_type="application/json",
        headers={"x-token-count": "estimate", **ignored_header(asked.ignored)},
    )


async def _show(
    request: web.Request, services: Services, stored: Stored, ignored: list[str] | None = None
) -> web.StreamResponse:
    logged = stored.logged
    with await room_for(request, await bytes_stored(services.pool, stored), logged.account_id) as held:
        standing = await standing_of(services.pool, services.redis, logged)
        body = response_json(stored.repeated, logged.id, standing.model, standing.state, standing.done, standing.error)
        headers = {"Cache-Control": "no-store", **ignored_header(ignored or [])}
        return await answer(request, body, logged.account_id, headers=headers, held=held)


async def _stream(
    request: web.Request, services: Services, key: ApiKey, stored: Stored, after: int, ignored: list[str]
) -> web.StreamResponse:
    logged = stored.logged
    request[REQUEST_ID] = logged.id
    anew = after >= 0 and logged.stream and logged.state != "pending" and not await _has_journal(services, logged.id)
    form = stream_again(stored.repeated, logged.id, logged.model, after, anew=anew)
    headers = {"Cache-Control": "no-store", "x-output-limit": str(logged.output_limit), **ignored_header(ignored)}
    with follower_of(services, key, logged.id) as follower:
        if not logged.outlives_reader:
            follower.when_left = partial(services.abandoned.add, logged.id)
        events = await earlier_events(services, logged, follower)
        return await send_stream(request, events, form, headers, services.settings, logged.account_id)


async def _has_journal(services: Services, request_id: str) -> bool:
    """True if the request's journal is still there. If Redis is away, reading the journal reports that."""
    with suppress(Unavailable):
        return await has_journal(services.redis, request_id)
    return True


async def _until_ended(services: Services, key: ApiKey, stored: Stored) -> None:
    logged = stored.logged
    with follower_of(services, key, logged.id) as follower, suppress(TimeoutError):
        events = await earlier_events(services, logged, follower)
        async with asyncio.timeout(CANCELLED_WITHIN_S):
            async for _ in events:
                pass
