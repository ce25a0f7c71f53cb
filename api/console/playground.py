"""`/console/playground`: up to three models beside each other, asked by the key that signed in."""

from __future__ import annotations

from aiohttp import web

from api.console.frame import render
from api.console.session import (
    CSRF_HEADER,
    Session,
    SignedOut,
    require_own_site,
    require_scope,
    require_token,
    session_of,
)
from api.endpoints.models import listed_models
from api.formats.native import chat as native
from api.http.caller import base_url_of
from api.services import SERVICES
from api.serving import serve_for
from shared.errors import InvalidApiKey

COLUMNS = 3


async def get_playground(request: web.Request, _: Session) -> web.Response:
    """The form; asking needs its script. `?model=` is chosen at first."""
    available = [model for model in listed_models(request.app[SERVICES]) if model.available]
    return render(
        request,
        "playground.html",
        models=available,
        chosen=request.query.get("model", ""),
        columns=range(COLUMNS),
        base_url=base_url_of(request),
    )


async def post_chat(request: web.Request) -> web.StreamResponse:
    """A chat request as `POST /api/endpoint` takes it, for the session's key. Its errors are as the API's."""
    try:
        session = await session_of(request)
    except SignedOut:
        raise InvalidApiKey("Your session has ended: sign in to the console again.") from None
    require_own_site(request)
    require_token(session, request.headers.get(CSRF_HEADER, ""))
    require_scope(session, "inference")
    return await serve_for(request, session.key, native.parse_chat_request)
