"""Signing in and out: an API key, or a link that works once, is exchanged for a session."""

from __future__ import annotations

import structlog
from aiohttp import web

from api.console.frame import render
from api.console.session import (
    Session,
    SignedOut,
    form_of,
    keep_cookie,
    next_page,
    session_of,
    sign_out,
)
from api.http.caller import address_of
from api.services import SERVICES, Services
from shared.errors import InvalidApiKey, RateLimited
from shared.ids import new_id
from shared.ledger.api_keys import split_key
from shared.ledger.sessions import open_session, use_link
from shared.stores.postgres import reached

log = structlog.get_logger(__name__)
FIRST_PAGE = "/console/models"
WRONG = "This is not an API key that can be used now: it is mistyped, revoked, expired or another service's."
USED = "This link has been used, or is too old: sign in with an API key, or start `make run` again for a new link."


async def get_sign_in(request: web.Request) -> web.Response:
    """Show the form; a browser that is signed in is led to the first page."""
    going_to = next_page(request.query.get("next", ""))
    try:
        await session_of(request)
    except SignedOut:
        return _form(request, going_to)
    raise web.HTTPSeeOther(going_to or FIRST_PAGE)


async def post_sign_in(request: web.Request) -> web.Response:
    """Create a session for a usable API key. After too many tries from one address all are refused."""
    form = await form_of(request)
    going_to = next_page(form.get("next", ""))
    services = request.app[SERVICES]
    try:
        await _count(request, services)
        key_id, secret = split_key(form.get("key", "").strip())
        key = await services.authenticator.proved(key_id, secret)
    except (InvalidApiKey, RateLimited) as error:
        log.info("sign-in refused", code=error.code, caller=address_of(request))
        told = error.message if isinstance(error, RateLimited) else WRONG
        return _form(request, going_to, wrong=told, status=error.status)
    async with reached("The sign-in"):
        token = await open_session(services.pool, key.id, services.settings.console_session_s)
    log.info("signed in to the console", account_id=key.account_id, key_id=key.id)
    response = web.Response(status=303, headers={"Location": going_to or FIRST_PAGE})
    keep_cookie(request, response, token, services.settings)
    return response


async def get_entry(request: web.Request) -> web.Response:
    """Sign in with a link that works once. The page then continues by itself, because after a redirect a browser that came
    from elsewhere would not send the cookie yet.
    """
    services = request.app[SERVICES]
    await _count(request, services)
    async with reached("The sign-in"):
        token = await use_link(services.pool, request.match_info["link"], services.settings.console_session_s)
    if token is None:
        return _form(request, None, wrong=USED, status=410)
    response = render(request, "entered.html", first_page=FIRST_PAGE)
    keep_cookie(request, response, token, services.settings)
    return response


async def post_sign_out(request: web.Request, session: Session) -> web.Response:
    """End the session, and lead to the sign-in."""
    await form_of(request)
    response = web.Response(status=303, headers={"Location": "/console"})
    await sign_out(request, response)
    log.info("signed out of the console", account_id=session.key.account_id, key_id=session.key.id)
    return response


async def _count(request: web.Request, services: Services) -> None:
    """Count one try of the caller's address. Raises `RateLimited` after too many, or `Unavailable`."""
    caller = f"sign-in:{address_of(request)}"
    try:
        per_minute = services.settings.console_sign_ins_per_minute
        await services.queue.count(new_id("req"), key_id=caller, rpm=per_minute)
    except RateLimited as error:
        told = "Too many tries to sign in from your address: wait a minute, then try again."
        raise RateLimited(told, retry_after_s=error.retry_after_s) from None


def _form(request: web.Request, going_to: str | None, *, wrong: str = "", status: int = 200) -> web.Response:
    return render(request, "sign_in.html", going_to=going_to or "", wrong=wrong, status=status)
