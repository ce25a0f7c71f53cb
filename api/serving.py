"""Serves a chat request of any API: authenticate, read, check, hold, enqueue, relay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from api.formats.native.answers import result_json
from api.formats.wishes import ignored_header, without_query
from api.http.rates import tell_left, tell_limit
from api.http.reading import idempotency_key, prefers_async, read_json
from api.http.state import REQUEST_ID
from api.requests.log import LoggedRequest, State, find_repeated, find_request
from api.requests.model_check import fit_to_model, with_nearest
from api.requests.model_names import listed_at, understood
from api.requests.streaming import send_stream
from api.requests.submit import UNLIMITED, Admitted, NewRequest
from api.services import SERVICES, Services
from shared.errors import ModelNotFound, RateLimited
from shared.job import Done, Event, Failed, Job
from shared.ledger.rows import Repeat
from shared.money import Price
from shared.runtime.metrics import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.formats.asked import Asked
    from api.requests.relay import Follower
    from shared.catalogue.models import Model
    from shared.ledger.api_keys import ApiKey
    from shared.ledger.ended_keys import KeyEnded


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request stands whose answer is to be fetched at `Location`."""

    id: str
    state: State


async def serve(
    request: web.Request, parse: Callable[[bytes], Asked], *, may_respond_async: bool = False
) -> web.StreamResponse:
    """Answer one chat request; `parse` makes its body into what is asked. Raises `RebootError`s."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    if key.rpm:
        tell_limit(request, key.rpm)
    body = await read_json(request)
    await services.authenticator.require_still(key)
    asked = understood(body, parse, services.catalogue, listed_at(request.path))
    asked = without_query(asked, request.query)
    respond_async = may_respond_async and prefers_async(request)
    repeated = await _repeated(request, key, asked, services)
    if repeated:  # first of all: what refuses a new request is nothing to one that was admitted long ago
        return await _serve_repeat(request, asked, key, repeated, respond_async=respond_async)
    asked, model = _fit(request, asked, key, services)
    new = _new_request(request, key, asked, model, keep=respond_async)
    with following(services, key, new.id) as follower:
        admitted = await _submit_for(request, services, new)
        if isinstance(admitted, Repeat):
            return await _serve_repeat(request, asked, key, admitted.request_id, respond_async=respond_async)
        headers = _headers(admitted.job.output_limit, admitted.job.model.name, asked)
        if respond_async:
            services.custody.keep(admitted)
            return _accepted(new.id, "queued", headers)
        follower.when_left = partial(_leave, services, admitted, follower)
        return await _relay(request, asked, services.follow_up.events_of(admitted, follower), headers)


async def _repeated(request: web.Request, key: ApiKey, asked: Asked, services: Services) -> str | None:
    repeatable_by = idempotency_key(request)
    if repeatable_by is None:
        return None
    return await find_repeated(services.pool, key.account_id, repeatable_by, asked.fingerprint())


@contextmanager
def following(services: Services, key: ApiKey, request_id: str, first: int = 0) -> Iterator[Follower]:
    """A follower that is heard of from here on, until the caller's key ends. Who goes away or is sent away then has left."""
    follower = services.relay.follow(request_id, first)
    follower.asked_with = key.id, datetime.now(UTC)
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
    request: web.Request, asked: Asked, key: ApiKey, request_id: str, *, respond_async: bool
) -> web.StreamResponse:
    """The answer of the request that came first with this key, replayed and followed."""
    services = request.app[SERVICES]
    request[REQUEST_ID] = request_id
    logged = await find_request(services.pool, key.account_id, request_id)
    asked = _fit_again(asked, logged, services)
    headers = _headers(logged.output_limit, logged.model, asked) | {"Idempotent-Replayed": "true"}
    if respond_async:
        return _accepted(logged.id, "queued" if logged.state == "pending" else logged.state, headers)
    again = _admitted_before(logged, asked, services)
    with following(services, key, logged.id) as follower:
        if again:
            follower.when_left = partial(_leave, services, again, follower)
        follower.look_up()
        await services.queue.listen(logged.id, services.relay.channel)
        return await _relay(request, asked, services.follow_up.events_again(logged, follower, again), headers)


async def _relay(
    request: web.Request, asked: Asked, events: AsyncIterator[Event], headers: dict[str, str]
) -> web.StreamResponse:
    if asked.stream:
        form = asked.form.stream(request.headers.get("Accept", ""), request[REQUEST_ID], asked.model)
        return await send_stream(request, events, form, headers, request.app[SERVICES].settings)
    return await _answer(request, asked, events, headers)


async def _answer(
    request: web.Request, asked: Asked, events: AsyncIterator[Event], headers: dict[str, str]
) -> web.Response:
    async for event in events:
        match event:
            case Done():
                body = asked.form.answer(event, request[REQUEST_ID], asked.model)
                return web.Response(body=body, content_type="application/json", headers=headers)
            case Failed():
                raise event.as_error()
            case _:
                pass  # parts of an answer that another call has asked for as a stream
    raise AssertionError("a follower ends with Done or Failed")


def _accepted(request_id: str, state: State, headers: dict[str, str]) -> web.Response:
    return web.Response(
        body=result_json(Accepted(id=request_id, state=state)),
        status=202,
        content_type="application/json",
        headers=headers | {"Location": f"/api/requests/{request_id}", "Preference-Applied": "respond-async"},
    )


def _fit(request: web.Request, asked: Asked, key: ApiKey, services: Services) -> tuple[Asked, Model]:
    """What can be done of it, and the model that a worker can do it with."""
    model = services.catalogue.serving(asked.model, listed_at(request.path))
    asked = fit_to_model(asked, model, services.settings, strict=key.strict)
    services.directory.require(model)
    return asked, model


def _fit_again(asked: Asked, logged: LoggedRequest, services: Services) -> Asked:
    """The same for a request that was admitted before; as it came when its model has left the catalogue."""
    try:
        return with_nearest(asked, services.catalogue.find(logged.model))
    except ModelNotFound:
        return asked


def _new_request(request: web.Request, key: ApiKey, asked: Asked, model: Model, *, keep: bool) -> NewRequest:
    repeatable_by = idempotency_key(request)
    return NewRequest(
        id=request[REQUEST_ID],
        key=key,
        model=model,
        messages=asked.messages,
        sampling=asked.sampling,
        tools=asked.tools,
        metadata=asked.metadata,
        stream=asked.stream,
        max_tokens=asked.max_tokens,
        keep=keep or repeatable_by is not None,
        idempotency_key=repeatable_by,
        fingerprint=asked.fingerprint() if repeatable_by else None,
    )


async def _submit_for(request: web.Request, services: Services, new: NewRequest) -> Admitted | Repeat:
    """Submit, and say on every answer what is left of the key's rate."""
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
    """Never left half-way: a caller who goes away meanwhile leaves a request that is abandoned, not one that is lost."""
    submission = asyncio.ensure_future(services.submitter.submit(new, services.relay.channel))
    try:
        return await asyncio.shield(submission)
    except asyncio.CancelledError:
        submission.add_done_callback(lambda done: _leave_if_admitted(services, done))
        raise


def _leave_if_admitted(services: Services, submission: asyncio.Future[Admitted | Repeat]) -> None:
    if submission.cancelled() or submission.exception():
        return
    admitted = submission.result()
    if isinstance(admitted, Admitted):
        _leave(services, admitted)


def _leave(services: Services, admitted: Admitted, follower: Follower | None = None) -> None:
    """Its reader is gone, for now or for good."""
    if admitted.job.keep_until:
        services.custody.keep(admitted, begun=follower is not None and follower.sequence > 0)
    else:
        services.abandoned.add(admitted.job.id)


def _headers(output_limit: int, served_by: str, asked: Asked) -> dict[str, str]:
    headers = {"x-output-limit": str(output_limit), "Cache-Control": "no-store", **ignored_header(asked.ignored)}
    if served_by != asked.model:
        headers["x-model-successor"] = served_by
    return headers


def _admitted_before(logged: LoggedRequest, asked: Asked, services: Services) -> Admitted | None:
    """The earlier request as it was admitted, made from its row and from the equal body that came again; None when its model
    has left the catalogue meanwhile: then it cannot be enqueued again.
    """
    try:
        model = services.catalogue.serving(asked.model)
    except ModelNotFound:
        return None
    job = Job(
        id=logged.id,
        account_id=logged.account_id,
        model=model,
        price=Price(logged.input_price, logged.output_price, logged.cached_price),
        messages=asked.messages,
        sampling=asked.sampling,
        tools=asked.tools,
        stream=logged.stream,
        output_limit=logged.output_limit,
        hold_nano=logged.hold_nano,
        deadline_ms=int(logged.deadline_at.timestamp() * 1000),
        keep_until=logged.deadline_at + timedelta(seconds=services.settings.answers_kept_s),
    )
    return Admitted(job, logged.lane, logged.key_id, UNLIMITED)
