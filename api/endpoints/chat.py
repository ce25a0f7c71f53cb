"""`POST /api/endpoint`: one chat request, answered as JSON, as raw text, or as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from api.following import events_of
from api.formats import native
from api.services import RATE_HEADERS, REQUEST_ID, SERVICES, Services
from api.streaming import RawText, ServerSentEvents, send_stream
from shared.credentials import ApiKey
from shared.errors import InvalidRequest, RateLimited, RequestTooLarge, UnsupportedMediaType, from_body
from shared.job import Done, Event, Failed
from shared.metrics import STREAMS
from shared.submit import Admitted, NewRequest

JSON_TYPES = ("application/json", "application/octet-stream")  # the second is aiohttp's name for "not said"
EVENT_STREAM = "text/event-stream"


async def post_endpoint(request: web.Request) -> web.StreamResponse:
    """Authenticate, read, check, hold, enqueue, relay."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "inference")
    if key.rpm:
        request[RATE_HEADERS] = {"x-ratelimit-limit-requests": str(key.rpm)}
    _refuse_unsupported(request)
    chat = native.parse_chat_request(await _body(request))
    new = _new_request(request[REQUEST_ID], key, chat, services)
    follower = services.relay.follow(new.id)
    STREAMS.inc()
    try:
        admitted = await _submit_for(request, services, new)
        headers = _headers(admitted, chat.model)
        try:
            events = events_of(admitted, follower, services)
            if chat.options.stream:
                return await _stream(request, chat, events, headers)
            return await _answer(chat, events, headers)
        except (asyncio.CancelledError, ConnectionError):
            services.abandoned.add(new.id)  # the caller is gone
            raise
    finally:
        STREAMS.dec()
        services.relay.forget(new.id)


async def _body(request: web.Request) -> bytes:
    if (request.content_length or 0) > request.client_max_size:
        raise RequestTooLarge(f"The body is larger than {request.client_max_size} bytes: shorten it.")
    return await request.read()


def _refuse_unsupported(request: web.Request) -> None:
    if request.content_type not in JSON_TYPES:
        raise UnsupportedMediaType(f"The body is {request.content_type[:100]}: send application/json.")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body is compressed: send it as it is, without Content-Encoding.")
    if "respond-async" in request.headers.get("Prefer", "").lower():
        raise InvalidRequest("`Prefer: respond-async` is not supported yet: leave it out and wait for the answer.")
    if "Idempotency-Key" in request.headers:
        raise InvalidRequest(
            "The header `Idempotency-Key` is not supported yet, and to ignore it could charge twice: leave it out."
        )


def _new_request(request_id: str, key: ApiKey, chat: native.ChatRequest, services: Services) -> NewRequest:
    settings = services.settings
    model = services.catalogue.serving(chat.model)
    limits = {"messages_max": settings.messages_max, "stops_max": settings.stop_sequences_max}
    native.check_against_model(chat, model, **limits)
    services.directory.require(model)
    return NewRequest(
        id=request_id,
        key=key,
        model=model,
        messages=chat.messages,
        sampling=chat.options.sampling,
        stream=chat.options.stream,
        max_tokens=chat.options.max_tokens,
    )


async def _submit_for(request: web.Request, services: Services, new: NewRequest) -> Admitted:
    """Submit, and say on every answer what is left of the key's rate."""
    try:
        admitted = await _submit(services, new)
    except RateLimited as error:
        if new.key.rpm:
            request[RATE_HEADERS] |= _rate(0, error.retry_after_s or 0)
        raise
    if new.key.rpm:
        request[RATE_HEADERS] |= _rate(*admitted.rate)
    return admitted


def _rate(remaining: int, reset_s: float) -> dict[str, str]:
    return {"x-ratelimit-remaining-requests": str(remaining), "x-ratelimit-reset-requests": f"{reset_s:.3f}s"}


async def _submit(services: Services, new: NewRequest) -> Admitted:
    """Never left half-way: a caller who goes away meanwhile leaves a request that is abandoned, not one that is lost."""
    submission = asyncio.ensure_future(services.submitter.submit(new, services.relay.channel))
    try:
        return await asyncio.shield(submission)
    except asyncio.CancelledError:
        submission.add_done_callback(lambda done: _abandon_if_admitted(services, done, new.id))
        raise


def _abandon_if_admitted(services: Services, submission: asyncio.Future[Admitted], request_id: str) -> None:
    if not submission.cancelled() and submission.exception() is None:
        services.abandoned.add(request_id)


def _headers(admitted: Admitted, asked_for: str) -> dict[str, str]:
    headers = {"x-output-limit": str(admitted.job.output_limit), "Cache-Control": "no-store"}
    if admitted.job.model.name != asked_for:
        headers["x-model-successor"] = admitted.job.model.name
    return headers


async def _answer(chat: native.ChatRequest, events: AsyncIterator[Event], headers: dict[str, str]) -> web.Response:
    async for event in events:
        match event:
            case Done():
                body = native.answer_json(event, chat, chat.model)
                return web.Response(body=body, content_type="application/json", headers=headers)
            case Failed():
                raise from_body(event.error)
    raise AssertionError("a follower ends with Done or Failed")


async def _stream(
    request: web.Request, chat: native.ChatRequest, events: AsyncIterator[Event], headers: dict[str, str]
) -> web.StreamResponse:
    settings = request.app[SERVICES].settings
    if _wants_events(request.headers.get("Accept", "")):
        return await send_stream(request, events, ServerSentEvents(request[REQUEST_ID]), headers, settings)
    form = RawText(request[REQUEST_ID], with_stats=chat.options.with_stats)
    return await send_stream(request, events, form, headers, settings)


def _wants_events(accept: str) -> bool:
    kinds = [kind.replace(" ", "").lower().split(";") for kind in accept.split(",")]
    return any(name == EVENT_STREAM and not {"q=0", "q=0.0", "q=0.00", "q=0.000"} & set(rest) for name, *rest in kinds)
