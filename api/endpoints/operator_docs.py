"""`/operator/openapi.json`: the operators' API for machines."""

from __future__ import annotations

from aiohttp import web

from api.http.writing import send_whole

OPERATOR_OPENAPI = web.AppKey("operator_openapi", bytes)
"""The document, created once in `app.py`."""


async def get_openapi(request: web.Request) -> web.StreamResponse:
    """Every route of the operators' API, with parameters, answers and errors."""
    return await send_whole(request, request.app[OPERATOR_OPENAPI], headers={"Content-Type": "application/json"})
