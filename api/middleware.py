"""Middleware of every handler: request ids, and errors in the form of the caller's API."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from api.absent import nothing_here, wrong_method
from api.formats.surfaces import surface_of
from api.http.caller import address_of
from api.http.half_closed import HalfClosedHandler
from api.http.reading import pass_over_rest
from api.http.refusal_pace import is_paced
from api.http.state import ASKED_BY, CLOSES, RATE_HEADERS, REFUSAL_PACE, REQUEST_ID
from api.http.writing import break_off
from api.services import SERVICES
from shared.errors import ErrorBody, InvalidRequest, MethodNotAllowed, NotFound, RebootError
from shared.ids import new_id
from shared.runtime import traces
from shared.runtime.metrics import HTTP_REQUESTS, REFUSALS

log = structlog.get_logger(__name__)
REQUEST_ID_HEADERS = ("x-request-id", "request-id")
"""Our header, which OpenAI's clients read too, and the one that Anthropic's clients read."""
OUR_FAULT = (
    "Something went wrong on our side. Whether the request runs, and what it costs, is in GET /api/requests/{id}; when there"
    " is no such request, nothing is charged."
)
PROBES = ("/healthz", "/readyz")
"""Paths that machines call again and again; they have no spans."""
SERVER_ERRORS = 500
_SURROGATE = re.compile("[\ud800-\udfff]")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def rest_of_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the rest of a body after its answer. A caller that is answered early is still sending the body and reads the
    answer only afterwards. The rest of large bodies is read in turns; aiohttp would read each in every turn of the event
    loop.
    """
    response = await handler(request)
    if not request.content.is_eof():
        await response.prepare(request)
        await response.write_eof()
        await pass_over_rest(request)
    return response


@web.middleware
async def request_ids(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every answer an `x-request-id`; a chat request has the same id everywhere."""
    request[REQUEST_ID] = new_id("req")
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(process="web", request_id=request[REQUEST_ID])
    if not traces.is_on() or request.path in PROBES:
        return await handler(request)
    return await _traced(request, handler)


async def _traced(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Handle the request in a span, which is a child of the caller's span."""
    route, parent = _route(request), request.headers.get("traceparent", "")
    told = {
        "http.request.method": request.method,
        "http.route": route.partition(" ")[2],
        "rebootml.request_id": request[REQUEST_ID],
    }
    with traces.span(route, "server", parent, told) as span:
        structlog.contextvars.bind_contextvars(trace_id=span.trace_id)
        response = await handler(request)
        # a repeat has the id of the request that came first
        span.note({"http.response.status_code": response.status, "rebootml.request_id": request[REQUEST_ID]})
        if response.status >= SERVER_ERRORS:
            span.fail(str(response.status))
        return response


async def finish_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler for every answer, streams included: add the id, and close connections while the process stops."""
    caller = request.protocol
    is_last = isinstance(caller, HalfClosedHandler) and caller.says_no_more and caller.has_nothing_waiting
    if request.app[SERVICES].draining.is_set() or request.get(CLOSES) or is_last:
        response.force_close()
    if REQUEST_ID in request:
        response.headers.update(dict.fromkeys(REQUEST_ID_HEADERS, request[REQUEST_ID]))
        response.headers.update(request.get(RATE_HEADERS, {}))
    HTTP_REQUESTS.labels(_route(request), response.status).inc()


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn exceptions into answers; this is the only place that does."""
    try:
        _require_text(request)
        return await handler(request)
    except RebootError as error:
        response = _answer(request, error)
        has_pace = is_paced(error)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(_methods_of(request) or error.allowed_methods))
        response = _answer(request, MethodNotAllowed(wrong_method(request.method, request.path, allowed)))
        response.headers["Allow"] = allowed
        return response
    except web.HTTPNotFound:
        routed = (resource.canonical for resource in request.app.router.resources())
        return _answer(request, NotFound(nothing_here(request.method, request.path, routed)))
    except (web.HTTPException, ConnectionError):
        raise  # a ConnectionError means that the caller is gone, which is not an error
    except Exception:
        log.exception("unexpected error", route=_route(request))
        return _answer(request, RebootError(OUR_FAULT))
    if ASKED_BY in request and has_pace:
        # wait only here, where the error is gone: its traceback may hold a large body
        await request.app[REFUSAL_PACE].keep(request[ASKED_BY])
    return response


def _methods_of(request: web.Request) -> set[str]:
    """The methods of a path that the map has literally: aiohttp would also match it as a path with a parameter."""
    routes = request.app.router.routes()
    return {route.method for route in routes if route.resource and route.resource.canonical == request.path}


def _require_text(request: web.Request) -> None:
    """Raise `NotFound` for a path, and `InvalidRequest` for a query, that no store takes as text: with NUL, or with invalid
    UTF-8, which aiohttp decodes as lone surrogates.
    """
    if not _is_text(request.path):
        raise NotFound("There is nothing at this path: it has a NUL, or something that is not UTF-8.")
    if not _is_text(request.query_string):
        raise InvalidRequest("The query has a NUL, or something that is not UTF-8: leave it out.")


def _is_text(text: str) -> bool:
    return "\0" not in text and (text.isascii() or _SURROGATE.search(text) is None)


def _answer(request: web.Request, error: RebootError) -> web.Response:
    """The error as an answer. Raises `ConnectionError` if another answer has begun: that one is broken off, and the error
    cannot be part of it.
    """
    body = error.body()
    if request.writer.output_size > 0:
        log.info("answer broken off", route=_route(request), code=body.code)
        break_off(request)
        raise ConnectionError(body.code)
    note_refusal(request, body)
    surface = surface_of(request.path)
    headers = surface.error_headers(body)
    if body.status == 401:  # noqa: PLR2004 - RFC 9110 asks for the header
        headers["WWW-Authenticate"] = "Bearer"
    content = surface.error_json(body, request[REQUEST_ID])
    return web.Response(body=content, status=body.status, content_type="application/json", headers=headers)


def note_refusal(request: web.Request, body: ErrorBody) -> None:
    """Count and log an error that is answered."""
    REFUSALS.labels(body.code).inc()
    log.info("request refused", route=_route(request), status=body.status, code=body.code, caller=address_of(request))


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource else '*'}"
