"""`/api/requests`: the history, one request with its receipt, its stream again, and cancelling it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from api.callers import earlier_events, follower_of
from api.formats.native.answers import result_json
from api.formats.native.streams import RawText, ServerSentEvents
from api.formats.parsing import parse_query
from api.http.reading import EVENT_STREAM, accepts, whole_number
from api.http.state import REQUEST_ID
from api.http.writing import answer, room_for
from api.requests.log import LoggedRequest, find_request, list_requests
from api.requests.streaming import send_stream
from api.requests.view import RequestSummary, bytes_kept, summaries_of, view_of
from api.services import SERVICES, Services
from shared.errors import InvalidRequest
from shared.job import Done, Failed
from shared.ledger.api_keys import ApiKey
from shared.queue.known import end_of_journal

if TYPE_CHECKING:
    import redis.asyncio

LIMIT_DEFAULT, LIMIT_MAX = 20, 100
SEQUENCE_MAX = 2**31 - 1
AFTER = "The number of the last event that you have; left out for the whole stream."


class HistoryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The page of the history that is asked for."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX, description="The most requests on a page.")] = LIMIT_DEFAULT
    cursor: (
        Annotated[str, msgspec.Meta(description="The `next_cursor` of the page before; left out for the first page.")]
        | UnsetType
    ) = UNSET


class StreamQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The event after which a stream begins."""

    after: Annotated[int, msgspec.Meta(ge=0, le=SEQUENCE_MAX, description=AFTER)] | UnsetType = UNSET


class History(msgspec.Struct, frozen=True):
    """A page of the account's requests, newest first."""

    requests: list[RequestSummary]
    """The requests of this page."""
    next_cursor: str | None
    """The `cursor` of the next page; null on the last one."""


async def get_requests(request: web.Request) -> web.StreamResponse:
    """The requests of the caller's account, whichever key made them, newest first."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    query = parse_query(request.query, HistoryQuery)
    limit = query.limit
    page = await list_requests(services.pool, key.account_id, after=query.cursor or None, limit=limit + 1)
    lines = await summaries_of(services.redis, page[:limit])
    cursor = lines[-1].id if len(page) > limit else None
    return await answer(request, result_json(History(lines, cursor)), key.account_id)


async def get_request(request: web.Request) -> web.StreamResponse:
    """One request: its state, its receipt, and its answer as long as that is kept."""
    services = request.app[SERVICES]
    return await _view(request, services, await _own(request, services, "read"))


async def delete_request(request: web.Request) -> web.StreamResponse:
    """Cancel a request and answer with it as it is now. A request that has ended stays as it is."""
    services = request.app[SERVICES]
    logged = await _own(request, services, "inference")
    await cancel(services, logged)
    return await _view(request, services, logged)


async def cancel(services: Services, logged: LoggedRequest) -> None:
    """Cancel a request; one that has ended stays as it is. Raises `Unavailable`."""
    if logged.state == "pending":
        await services.queue.cancel(logged.id)


async def get_stream(request: web.Request) -> web.StreamResponse:
    """The request's events from the beginning, or after `Last-Event-ID` or `?after=N`. While the request runs, the stream
    follows it.
    """
    return await stream_again(request, await request.app[SERVICES].authenticator.authenticate(request.headers, "read"))


async def stream_again(request: web.Request, key: ApiKey) -> web.StreamResponse:
    """Like `get_stream`, for a key that was authenticated already."""
    services = request.app[SERVICES]
    logged = await find_request(services.pool, key.account_id, request.match_info["id"])
    request[REQUEST_ID] = logged.id
    first = _first(request)
    form = _form(request, logged)
    headers = {"Cache-Control": "no-store", "x-output-limit": str(logged.output_limit)}
    if first and await _has_ended_before(services.redis, logged, first):
        return web.Response(headers=headers, content_type=form.content_type)
    with follower_of(services, key, logged.id, first) as follower:
        if not logged.outlives_reader:
            follower.when_left = partial(services.abandoned.add, logged.id)
        events = await earlier_events(services, logged, follower)
        return await send_stream(request, events, form, headers, services.settings, logged.account_id, first=first)


async def _own(request: web.Request, services: Services, scope: str) -> LoggedRequest:
    key = await services.authenticator.authenticate(request.headers, scope)
    return await find_request(services.pool, key.account_id, request.match_info["id"])


async def _view(request: web.Request, services: Services, logged: LoggedRequest) -> web.StreamResponse:
    """Show the request. Memory for it is reserved before it is read, because its messages and its answer may be many
    MB.
    """
    with await room_for(request, await bytes_kept(services.pool, services.redis, logged), logged.account_id) as held:
        view = await view_of(services.pool, services.redis, logged)
        return await answer(request, result_json(view), logged.account_id, held=held)


def _first(request: web.Request) -> int:
    """The number of the first wanted event. The header comes before the query, because a browser that reconnects sends
    it.
    """
    after = parse_query(request.query, StreamQuery).after
    if "Last-Event-ID" in request.headers:
        return whole_number(request.headers, "Last-Event-ID", -1, 0, SEQUENCE_MAX) + 1
    return 0 if after is UNSET else after + 1


def _form(request: web.Request, logged: LoggedRequest) -> RawText | ServerSentEvents:
    told = logged.model if logged.chain else None
    if accepts(request.headers.get("Accept", ""), EVENT_STREAM):
        return ServerSentEvents(logged.id, told)
    return RawText(logged.id, with_stats=False)


async def _has_ended_before(client: redis.asyncio.Redis, logged: LoggedRequest, first: int) -> bool:
    """True if all events come before `first`, so that nothing is left to send. Raises `InvalidRequest` if `first` is
    far beyond the last event. If Redis may have lost events, this is not an error: the request's end is sent.
    """
    length, last = await end_of_journal(client, logged.id)
    if length and first > length and (isinstance(last, Done) or logged.state == "pending"):
        raise InvalidRequest(f"There is no event {first - 1}: the stream has {length}.")
    return isinstance(last, Done | Failed) and first == length
