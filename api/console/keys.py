"""`/console/keys`: the account's keys."""

from __future__ import annotations

from aiohttp import web

from api.console.frame import render
from api.console.session import Session
from api.endpoints.keys import keys_shown, require_manager
from api.services import SERVICES
from shared import clock


async def get_keys(request: web.Request, session: Session) -> web.Response:
    """Every key that can be used, and the newest of those that have ended; newest first."""
    require_manager(session.key)
    services = request.app[SERVICES]
    async with services.lists.one(session.key.account_id) as listing:
        rows = await keys_shown(services, session.key.account_id, listing)
    return render(request, "keys.html", keys=rows[::-1], now=clock.utc_now())
