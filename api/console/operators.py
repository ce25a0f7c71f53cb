"""`/console/ops`: the place of the operators' pages, which says what operators have instead until there are pages."""

from __future__ import annotations

from aiohttp import web

from api.console.frame import render
from api.services import SERVICES


async def get_operators(request: web.Request) -> web.Response:
    """The page is open to everybody: it says nothing about this service that the manual does not."""
    return render(request, "operators.html", with_api=request.app[SERVICES].settings.operator_api)
