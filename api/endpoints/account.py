"""`GET /api/account`: the caller's wallet."""

from __future__ import annotations

from aiohttp import web

from api.formats.native.answers import result_json
from api.services import SERVICES
from shared.ledger.accounts import find_account
from shared.stores.postgres import reached


async def get_account(request: web.Request) -> web.Response:
    """The account's balance, held and available credit, as exact decimal strings in USD."""
    services = request.app[SERVICES]
    key = await services.authenticator.authenticate(request.headers, "read")
    async with reached("The account"):
        account = await find_account(services.pool, key.account_id)
    return web.Response(body=result_json(account.public()), content_type="application/json")
