"""Calls from web pages (CORS, fetch.spec.whatwg.org), for the origins that `CORS_ORIGINS` names; none by default.

Before a call, a browser sends a preflight without a key and asks what a page of another origin may send. It gives the
page an answer only if a header allows it. Cookies are never accepted, so credentials in the sense of CORS are not
allowed.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import get_args

from aiohttp import web

from api.http.state import SETTINGS
from api.manual.route import Method
from shared.setting_values import EVERY_ORIGIN

PATHS = ("/api/", "/v1/")
METHODS = ", ".join(get_args(Method))
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
"""The pattern of a header's name."""
NAMES_MAX = 64
MAX_AGE_S = 7_200
"""The time for which a browser may remember a preflight, in seconds; Chrome allows no more."""


@web.middleware
async def answer_preflight(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Grant a preflight of a named origin, whatever is at the path: if nothing is there, the page should be able to
    read the error.
    """
    asked_for = request.headers.get("Access-Control-Request-Method")
    if request.method != "OPTIONS" or asked_for is None or _allowed(request) is None:
        return await handler(request)
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": _headers_of(request),
            "Access-Control-Max-Age": str(MAX_AGE_S),
        },
    )


async def let_read(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler for every answer, streams and errors included: let a page of a named origin read the answer with all
    headers.
    """
    origins = request.app[SETTINGS].cors_origins
    if not origins or not request.path.startswith(PATHS):
        return
    if origins != (EVERY_ORIGIN,):
        # always sent, because the answer depends on the origin and caches must know that
        response.headers.add("Vary", "Origin")
    allowed = _allowed(request)
    if allowed:
        response.headers["Access-Control-Allow-Origin"] = allowed
        response.headers["Access-Control-Expose-Headers"] = "*"


def _allowed(request: web.Request) -> str | None:
    """The value of `Access-Control-Allow-Origin`; None if the page may not read the answer."""
    origin, origins = request.headers.get("Origin"), request.app[SETTINGS].cors_origins
    if origin is None or not request.path.startswith(PATHS):
        return None
    if origins == (EVERY_ORIGIN,):
        return EVERY_ORIGIN
    return origin if origin in origins else None


def _headers_of(request: web.Request) -> str:
    """The headers that the page wants to send: clients have many of their own, and unknown ones are ignored."""
    wanted = ",".join(request.headers.getall("Access-Control-Request-Headers", [])).split(",")
    names = [name for name in map(str.strip, wanted) if NAME.fullmatch(name)]
    return ", ".join(names[:NAMES_MAX])
