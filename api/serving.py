"""Serves a chat request of any API: authenticate, read, check, hold, enqueue, relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from api.formats.native.answers import result_json
from api.http.rates import tell_left, tell_limit
from api.http.reading import prefers_async
from api.http.state import REQUEST_ID
from api.http.writing import answer
from api.requests.log import State, find_request
from api.requests.new_request import Admitted, NewRequest
from api.requests.streaming import send_stream
from api.requests.told import AnswerHeaders, limits_of
from api.services import SERVICES, Services
from api.wanted import Wanted, admitted_before, new_request, read_body, understand
from shared import clock
from shared.errors import EndUnknown, Overloaded, RateLimited
from shared.job import Done, Event, Failed, Served
from shared.ledger.rows import Repeat
from shared.runtime.metrics import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.formats.asked import Asked
    from api.http.bodies import Body
    from api.requests.follower import Follower
    from api.requests.log import LoggedRequest
    from shared.ledger.api_keys import ApiKey
    from shared.ledger.ended_keys import KeyEnded


PLACE_BYTES = 16_384
"""Bytes of a body that count as one place in the admission turns, because the cost of an admission grows with its
bytes.
"""
NO_ROOM = (
    "The answer is there and is charged, but so many are being sent that there is no room for it: it is in"
    " GET /api/requests/{id}."
)


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose answer is to be fetched at `Location`."""

    id: str
    """The request's id, `req_…`."""
    state: State
    """The state of the request: `queued`, or for a repeat the state of the first request."""


async def serve(
    request: web.Request, parse: Callable[[bytes], Asked], *, may_respond_async: bool = False, copies: int = 1
) -> web.StreamResponse:
    """Answer one chat request. `parse` parses its body, of which `copies` copies are held. Raises `RebootError`s."""
    key = await request.app[SERVICES].authenticator.authenticate(request.headers, "inference")
    return await serve_for(request, key, parse, may_respond_async=may_respond_async, copies=copies)


async def serve_for(
    request: web.Request,
    key: ApiKey,
    parse: Callable[[bytes], Asked],
    *,
    may_respond_async: bool = False,
    copies: int = 1,
) -> web.StreamResponse:
    """Like `serve`, for a key that was authenticated already."""
    services = request.app[SERVICES]
    if key.rpm:
        tell_limit(request, key.rpm)
    with await read_body(request, key, copies) as body:
        async with _turn(services, key, body.size):
            wanted = await understand(request, key, body, parse)
        respond_async = may_respond_async and prefers_async(request)
        if wanted.repeats:
            return await _serve_repeat(request, wanted, key, body, wanted.repeats, respond_async=respond_async)
        with following(services, key, request[REQUEST_ID]) as follower:
            async with _turn(services, key, body.size):
                admitted = await _submit_for(request, services, new_request(request, key, wanted, keep=respond_async))
            if isinstance(admitted, Repeat):
                return await _serve_repeat(request, wanted, key, body, admitted.request_id, respond_async=respond_async)
            wanted.question = wanted.kept = None
            body.shrink(wanted.form.held_bytes)
            asked_first = admitted.job.model.name
            told = _told(wanted, limits_of(admitted.job), has_chain=admitted.job.has_chain)
            if respond_async or wanted.at_once:
                services.custody.keep(admitted)
            if respond_async:
                return _accepted(admitted.job.id, "queued", told.of_first(asked_first))
            if wanted.at_once:
                said = wanted.at_once(admitted.job.id, asked_first)
                return await answer(request, said, key.account_id, headers=told.of_first(asked_first))
            follower.when_left = partial(_leave, services, admitted, follower)
            return await _relay(
                request, wanted, asked_first, key, services.follow_up.events_of(admitted, follower), told
            )


def _turn(services: Services, key: ApiKey, size: int) -> AbstractAsyncContextManager[None]:
    """Surround work on a request before it is enqueued. Accounts take turns, and large bodies have turns of their
    own.
    """
    if services.bodies.is_large(size):
        return nullcontext()
    places = 1 + size // PLACE_BYTES
    return services.admissions.turn(key.account_id, places, within_s=services.settings.admission_within_s)


@contextmanager
def following(services: Services, key: ApiKey, request_id: str, first: int = 0) -> Iterator[Follower]:
    """A follower that is registered from now on, until the caller's key ends. A caller that goes away, or is sent away,
    counts as having left.
    """
    follower = services.relay.follow(request_id, first)
    follower.asked_with = key.id, clock.utc_now()
    follower.buffer.owner = key.account_id
    left = False

    def send_away(why: KeyEnded) -> None:
        nonlocal left
        left = True
        follower.close(why)

    STREAMS.inc()
    try:
        with services.key_watch.watching(key.id, send_away):
            yield follower
    except (asyncio.CancelledError, ConnectionError):
        left = True
        raise
    finally:
        STREAMS.dec()
        services.relay.forget(follower)
        if left and follower.when_left:
            follower.when_left()


async def _serve_repeat(
    request: web.Request, wanted: Wanted, key: ApiKey, body: Body, request_id: str, *, respond_async: bool
) -> web.StreamResponse:
    """The answer of the first request with this Idempotency-Key, replayed and followed."""
    services = request.app[SERVICES]
    request[REQUEST_ID] = request_id
    logged = await find_request(services.pool, key.account_id, request_id)
    limits = {one.model: one.output_limit for one in logged.chain or ()} | {logged.model: logged.output_limit}
    told = _told(wanted, limits, has_chain=logged.chain is not None, more={"Idempotent-Replayed": "true"})
    if logged.state == "pending" and (respond_async or wanted.at_once):
        _watch_over(services, logged, wanted)
    if respond_async:
        state = "queued" if logged.state == "pending" else logged.state
        return _accepted(logged.id, state, told.of_first(logged.model))
    if wanted.at_once and logged.state == "pending":
        said = wanted.at_once(logged.id, logged.model)
        return await answer(request, said, key.account_id, headers=told.of_first(logged.model))
    again = admitted_before(logged, wanted, services)
    wanted.question = wanted.kept = None
    body.shrink(wanted.form.held_bytes)
    with following(services, key, logged.id) as follower:
        if again:
            follower.when_left = partial(_leave, services, again, follower)
        follower.look_up()
        await services.queue.listen(logged.id, services.relay.channel)
        events = services.follow_up.events_again(logged, follower, again)
        return await _relay(request, wanted, logged.model, key, events, told)


def _watch_over(services: Services, logged: LoggedRequest, wanted: Wanted) -> None:
    """Enqueue a repeated request if the front door that admitted it died before it enqueued the job."""
    if again := admitted_before(logged, wanted, services):
        services.custody.keep(again)


def _told(
    wanted: Wanted, limits: dict[str, int], *, has_chain: bool, more: dict[str, str] | None = None
) -> AnswerHeaders:
    return AnswerHeaders(wanted.model, wanted.ignored, wanted.chain, limits, has_chain, more or {})


async def _relay(
    request: web.Request,
    wanted: Wanted,
    asked_first: str,
    key: ApiKey,
    events: AsyncIterator[Event],
    told: AnswerHeaders,
) -> web.StreamResponse:
    if wanted.stream:
        form = wanted.form.stream(request.headers.get("Accept", ""), request[REQUEST_ID], asked_first)
        settings, later = request.app[SERVICES].settings, partial(told.of, asked_first) if told.has_chain else None
        return await send_stream(request, events, form, told.first(asked_first), settings, key.account_id, told=later)
    return await _answer(request, wanted, asked_first, key, events, told)


async def _answer(
    request: web.Request,
    wanted: Wanted,
    served: str,
    key: ApiKey,
    events: AsyncIterator[Event],
    told: AnswerHeaders,
) -> web.StreamResponse:
    async for event in events:
        match event:
            case Served(model):
                served = model
            case Done():
                body = wanted.form.answer(event, request[REQUEST_ID], served)
                within_s = request.app[SERVICES].settings.answer_within_s
                try:
                    headers = told.of(served)
                    return await answer(request, body, key.account_id, headers=headers, within_s=within_s)
                except Overloaded:
                    raise EndUnknown(NO_ROOM) from None
            case Failed():
                if wanted.failed is None:
                    raise event.as_error()
                body = wanted.failed(event, request[REQUEST_ID], served)
                return await answer(request, body, key.account_id, headers=told.of(served))
            case _:
                pass  # these are parts of an answer that another call reads as a stream
    raise AssertionError("a follower ends with Done or Failed")


def _accepted(request_id: str, state: State, headers: dict[str, str]) -> web.Response:
    return web.Response(
        body=result_json(Accepted(id=request_id, state=state)),
        status=202,
        content_type="application/json",
        headers=headers | {"Location": f"/api/requests/{request_id}", "Preference-Applied": "respond-async"},
    )


async def _submit_for(request: web.Request, services: Services, new: NewRequest) -> Admitted | Repeat:
    """Submit the request, and put the rest of the key's rate limit on the answer."""
    try:
        admitted = await _submit(services, new)
    except RateLimited as error:
        if new.key.rpm:
            tell_left(request, 0, error.retry_after_s or 0)
        raise
    if new.key.rpm and isinstance(admitted, Admitted):
        tell_left(request, *admitted.rate)
    return admitted


async def _submit(services: Services, new: NewRequest) -> Admitted | Repeat:
    """Submit without ever stopping half-way: if the caller goes away meanwhile, the request is abandoned, but not lost."""
    submission = asyncio.ensure_future(services.submitter.submit(new, services.relay.channel))
    try:
        return await asyncio.shield(submission)
    except asyncio.CancelledError:
        submission.add_done_callback(lambda done: _leave_if_admitted(services, done))
        raise
    finally:
        del submission  # breaks a reference cycle (task, exception, frame) that would keep the request in memory


def _leave_if_admitted(services: Services, submission: asyncio.Future[Admitted | Repeat]) -> None:
    if submission.cancelled() or submission.exception():
        return
    admitted = submission.result()
    if isinstance(admitted, Admitted):
        _leave(services, admitted)


def _leave(services: Services, admitted: Admitted, follower: Follower | None = None) -> None:
    """Note that the request's reader is gone, for now or for good."""
    if admitted.outlives_reader:
        services.custody.keep(admitted, begun=follower is not None and follower.sequence > 0)
    else:
        services.abandoned.add(admitted.job.id)
        admitted.copy.drop()
