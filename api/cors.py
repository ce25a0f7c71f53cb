"""Calls from web pages (CORS, fetch.spec.whatwg.org): of the origins that `CORS_ORIGINS` names, none by default.

A browser asks first (a preflight, without a key) what a page of another origin may send, and hands an answer to the page
only where a header says so. No cookie is ever taken, so credentials in the sense of CORS are not allowed.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import get_args

from aiohttp import web

from api.http.state import SETTINGS
from api.manual.route import Method
from shared.settings import EVERY_ORIGIN

PATHS = ("/api/", "/v1/")
METHODS = ", ".join(get_args(Method))
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
"""The name of a header."""
NAMES_MAX = 64
MAX_AGE_S = 7_200
"""So long a browser remembers a preflight. Chrome takes no more."""


@web.middleware
async def answer_preflight(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """A preflight of a named origin is granted, whatever is at the path: the page is to read the error where nothing is."""
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
    """Signal handler, streams and errors included: a page of a named origin may read the answer with all its headers."""
    origins = request.app[SETTINGS].cors_origins
    if not origins or not request.path.startswith(PATHS):
        return
    if origins != (EVERY_ORIGIN,):
        response.headers.add("Vary", "Origin")  # also where there is none: caches are told what the answer depends on
    allowed = _allowed(request)
    if allowed:
        response.headers["Access-Control-Allow-Origin"] = allowed
        response.headers["Access-Control-Expose-Headers"] = "*"


def _allowed(request: web.Request) -> str | None:
    """The value of `Access-Control-Allow-Origin` in the answer to this request; None where the page may not read it."""
    origin, origins = request.headers.get("Origin"), request.app[SETTINGS].cors_origins
    if origin is None or not request.path.startswith(PATHS):
        return None
    if origins == (EVERY_ORIGIN,):
        return EVERY_ORIGIN
    return origin if origin in origins else None


def _headers_of(request: web.Request) -> str:
    """Those that the page wants to send: clients have many of their own, and every one that is not known here is ignored."""
    wanted = ",".join(request.headers.getall("Access-Control-Request-Headers", [])).split(",")
    names = [name for name in map(str.strip, wanted) if NAME.fullmatch(name)]
    return ", ".join(names[:NAMES_MAX])
