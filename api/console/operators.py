"""`/console/ops`: reserved for the operators' pages; until they exist it names the other tools that operators have."""

from __future__ import annotations

from aiohttp import web

from api.console.frame import render
from api.console.session import know_session
from api.services import SERVICES


async def get_operators(request: web.Request) -> web.Response:
    """The page is public: it says nothing about this service that the manual does not."""
    await know_session(request)
    return render(request, "operators.html", with_api=request.app[SERVICES].settings.operator_api)
