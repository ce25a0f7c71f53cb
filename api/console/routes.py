"""The console's routes: each page, the scope that it needs, and how its errors are shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog
from aiohttp import web

from api.console import balance, batches, frame, keys, models, operators, playground, requests, sign_in, usage
from api.console.session import Session, SignedOut, know_session, require_scope, session_of, sign_in_address
from api.middleware import OUR_FAULT, note_refusal
from shared.errors import NotFound, RebootError

log = structlog.get_logger(__name__)
Open = Callable[[web.Request], Awaitable[web.StreamResponse]]
SignedIn = Callable[[web.Request, Session], Awaitable[web.StreamResponse]]


class Page(NamedTuple):
    """A page, and the scope that the session's key needs for it."""

    method: str
    path: str
    handler: SignedIn
    scope: str | None = "read"


PAGES = (
    Page("POST", "/console/sign-out", sign_in.post_sign_out, None),
    Page("GET", "/console/playground", playground.get_playground, "inference"),
    Page("GET", "/console/models", models.get_models),
    Page("GET", "/console/balance", balance.get_balance),
    Page("GET", "/console/usage", usage.get_usage),
    Page("GET", "/console/api/usage.csv", usage.get_csv),
    Page("GET", "/console/requests", requests.get_requests),
    Page("GET", "/console/requests/{id}", requests.get_request),
    Page("GET", "/console/api/requests/{id}/stream", requests.get_stream),
    Page("POST", "/console/requests/{id}/cancel", requests.post_cancel, "inference"),
    Page("GET", "/console/batches", batches.get_batches),
    Page("POST", "/console/batches", batches.post_batch, "inference"),
    Page("GET", "/console/batches/{id}", batches.get_batch),
    Page("GET", "/console/api/batches/{id}/results", batches.get_results),
    Page("POST", "/console/batches/{id}/cancel", batches.post_cancel, "inference"),
    Page("GET", "/console/keys", keys.get_keys, "manage"),
    Page("POST", "/console/keys", keys.post_key, "manage"),
    Page("POST", "/console/keys/{id}/rotate", keys.post_rotation, "manage"),
    Page("POST", "/console/keys/{id}/revoke", keys.post_revocation, "manage"),
)

OPERATORS = ("/console/ops", "/console/operator")


def add_console(app: web.Application) -> None:
    """Add every page, the sign-in, and the static files."""
    frame.set_up(app)
    router = app.router
    router.add_get("/console", _shown(sign_in.get_sign_in), allow_head=False)
    router.add_post("/console/sign-in", _shown(sign_in.post_sign_in))
    router.add_get("/console/enter/{link}", _shown(sign_in.get_entry), allow_head=False)
    for path in OPERATORS:
        router.add_get(path, _shown(operators.get_operators), allow_head=False)
    router.add_get("/console/static/{name}", _shown(frame.get_file))
    for page in PAGES:
        router.add_route(page.method, page.path, _shown(_signed_in(page)))
    router.add_post("/console/api/chat", playground.post_chat)
    router.add_get("/console/{rest:.*}", _shown(_nothing_here))


def _signed_in(page: Page) -> Open:
    async def handle(request: web.Request) -> web.StreamResponse:
        session = await session_of(request)
        if page.scope:
            require_scope(session, page.scope)
        return await page.handler(request, session)

    return handle


def _shown(handler: Open) -> Open:
    """The handler, with its errors as pages."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except SignedOut:
            return web.Response(status=303, headers={"Location": sign_in_address(request)})
        except RebootError as error:
            return _error_page(request, error)
        except (web.HTTPException, ConnectionError):
            raise
        except Exception:
            log.exception(
                "unexpected error",
                path=request.match_info.route.resource and request.match_info.route.resource.canonical,
            )
            return _error_page(request, RebootError(OUR_FAULT))

    return handle


def _error_page(request: web.Request, error: RebootError) -> web.Response:
    """The error as a page. If the answer has begun already, the error is raised, which breaks the answer off."""
    if request.writer.output_size > 0:
        raise error
    body = error.body()
    note_refusal(request, body)
    retry_after = {} if body.retry_after_s is None else {"Retry-After": str(max(1, round(body.retry_after_s)))}
    return frame.render(request, "error.html", status=body.status, headers=retry_after, error=body)


async def _nothing_here(request: web.Request) -> web.StreamResponse:
    await know_session(request)
    raise NotFound("The console has no such page: its first page leads to all of them.")
