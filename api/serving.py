"""Serves a chat request of any API: authenticate, read, check, hold, enqueue, relay."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from api.callers import earlier_events, follower_of, leave, submit_for
from api.http.rates import tell_limit
from api.http.reading import prefers_async
from api.http.state import REQUEST_ID
from api.reply import Reply
from api.requests.answer_headers import AnswerHeaders, limits_of
from api.requests.log import find_request
from api.services import SERVICES, Services
from api.wanted import Wanted, admitted_before, new_request, read_body, understand
from shared.ledger.rows import Repeat

if TYPE_CHECKING:
    from api.formats.asked import Asked
    from api.http.bodies import Body
    from api.requests.log import LoggedRequest
    from shared.ledger.api_keys import ApiKey


PLACE_BYTES = 16_384
"""Bytes of a body per place in the admission turns, because the cost of an admission grows with its bytes."""


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
        with follower_of(services, key, request[REQUEST_ID]) as follower:
            async with _turn(services, key, body.size):
                admitted = await submit_for(
                    request, services, new_request(request, key, wanted, outlives_reader=respond_async)
                )
            if isinstance(admitted, Repeat):
                return await _serve_repeat(request, wanted, key, body, admitted.request_id, respond_async=respond_async)
            _forget(wanted, body)
            headers = _headers(wanted, limits_of(admitted.job), has_chain=admitted.job.has_chain)
            reply = Reply(request, key, wanted, admitted.job.model.name, headers)
            if respond_async or wanted.at_once:
                services.custody.watch(admitted)
                return await reply.at_once("queued", respond_async=respond_async)
            follower.when_left = partial(leave, services, admitted, follower)
            return await reply.answer_with(services.request_events.of(admitted, follower))


def _turn(services: Services, key: ApiKey, size: int) -> AbstractAsyncContextManager[None]:
    """Surround work on a request before it is enqueued. Accounts take turns, and large bodies have turns of their
    own.
    """
    if services.bodies.is_large(size):
        return nullcontext()
    places = 1 + size // PLACE_BYTES
    return services.admissions.turn(key.account_id, places, within_s=services.settings.admission_within_s)


async def _serve_repeat(
    request: web.Request, wanted: Wanted, key: ApiKey, body: Body, request_id: str, *, respond_async: bool
) -> web.StreamResponse:
    """The answer of the first request with this Idempotency-Key, replayed and followed."""
    services = request.app[SERVICES]
    request[REQUEST_ID] = request_id
    logged = await find_request(services.pool, key.account_id, request_id)
    limits = {one.model: one.output_limit for one in logged.chain or ()} | {logged.model: logged.output_limit}
    headers = _headers(wanted, limits, has_chain=logged.chain is not None, more={"Idempotent-Replayed": "true"})
    reply = Reply(request, key, wanted, logged.model, headers)
    state = "queued" if logged.state == "pending" else logged.state
    if respond_async or (wanted.at_once and state == "queued"):
        if state == "queued":
            _watch_over(services, logged, wanted)
        return await reply.at_once(state, respond_async=respond_async)
    again = admitted_before(logged, wanted, services)
    _forget(wanted, body)
    with follower_of(services, key, logged.id) as follower:
        if again:
            follower.when_left = partial(leave, services, again, follower)
        return await reply.answer_with(await earlier_events(services, logged, follower, again))


def _watch_over(services: Services, logged: LoggedRequest, wanted: Wanted) -> None:
    """Enqueue a repeated request if the front door that admitted it died before it enqueued the job."""
    if again := admitted_before(logged, wanted, services):
        services.custody.watch(again)


def _forget(wanted: Wanted, body: Body) -> None:
    """Free the memory of the question and of the input to be stored: the job and the ledger have them now."""
    wanted.question = wanted.stored_input = None
    body.shrink(wanted.form.held_bytes)


def _headers(
    wanted: Wanted, limits: dict[str, int], *, has_chain: bool, more: dict[str, str] | None = None
) -> AnswerHeaders:
    return AnswerHeaders(wanted.model, wanted.ignored, wanted.chain, limits, has_chain, more or {})
