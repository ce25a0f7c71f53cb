"""`/console/requests`: the history with a search, and one request with its receipt."""

from __future__ import annotations

from aiohttp import web

from api.console.frame import render_live
from api.console.session import Session, form_of
from api.endpoints.requests import cancel, stream_again
from api.http.writing import room_for
from api.requests.log import Search, find_request, search_requests
from api.requests.view import bytes_kept, summaries_of, view_of
from api.services import SERVICES
from shared.chat import Message, TextPart
from shared.errors import InvalidRequest

ROWS = 50
TEXT_LENGTH_MAX = 200
STATES = {"pending": "not ended", "succeeded": "succeeded", "failed": "failed", "cancelled": "cancelled"}
SHOWN_LENGTH_MAX = 100_000
"""Most characters of a text that a page shows."""


async def get_requests(request: web.Request, session: Session) -> web.Response:
    """List requests, `?q&state&cursor`; a request's id in `q` leads to that request."""
    services = request.app[SERVICES]
    q = request.query.get("q", "").strip()[:TEXT_LENGTH_MAX]
    state = request.query.get("state", "")
    if state and state not in STATES:
        raise InvalidRequest(f"`state` is one of {', '.join(STATES)}.")
    if q.startswith("req_"):
        raise web.HTTPSeeOther(f"/console/requests/{(await find_request(services.pool, session.key.account_id, q)).id}")
    cursor = request.query.get("cursor") or None
    found = await search_requests(
        services.pool,
        session.key.account_id,
        Search(state or None, q or None),
        after=cursor,
        limit=ROWS,
        rows_max=services.settings.console_search_rows_max,
    )
    return render_live(
        request,
        "requests.html",
        lines=await summaries_of(services.redis, found.requests),
        next_cursor=found.next_cursor,
        cursor=cursor,
        q=q,
        state=state,
        states=STATES,
        looked_through=services.settings.console_search_rows_max,
    )


async def get_request(request: web.Request, session: Session) -> web.Response:
    """Show a request: its state, its receipt, and the messages and the answer as long as they are kept."""
    services = request.app[SERVICES]
    logged = await find_request(services.pool, session.key.account_id, request.match_info["id"])
    size = await bytes_kept(services.pool, services.redis, logged)
    with await room_for(request, size, session.key.account_id):
        view = await view_of(services.pool, services.redis, logged)
        return render_live(request, "request.html", view=view, shown=_shown, text_of=_text_of)


async def get_stream(request: web.Request, session: Session) -> web.StreamResponse:
    """Send the events of a request, as `GET /api/requests/{id}/stream` does."""
    return await stream_again(request, session.key)


async def post_cancel(request: web.Request, session: Session) -> web.Response:
    """Cancel a request and show it."""
    await form_of(request)
    services = request.app[SERVICES]
    logged = await find_request(services.pool, session.key.account_id, request.match_info["id"])
    await cancel(services, logged)
    raise web.HTTPSeeOther(f"/console/requests/{logged.id}")


def _text_of(message: Message) -> str:
    """The text of a message; an image is only mentioned."""
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.text if isinstance(part, TextPart) else "[image]" for part in message.content)


def _shown(text: str) -> str:
    """The text, truncated for the page; the API has all of it."""
    return text if len(text) <= SHOWN_LENGTH_MAX else f"{text[:SHOWN_LENGTH_MAX]}…"
