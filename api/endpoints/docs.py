"""`GET /openapi.json`: the API as a machine reads it."""

from __future__ import annotations

from aiohttp import web

OPENAPI = web.AppKey("openapi", bytes)
"""The document, made once in `app.py`."""


async def get_openapi(request: web.Request) -> web.Response:
    """Every route, parameter, answer and error."""
    return web.Response(body=request.app[OPENAPI], content_type="application/json")
