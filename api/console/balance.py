"""`/console/balance`: the available and held credit, and the history of the ledger."""

from __future__ import annotations

from aiohttp import web

from api.console.frame import render
from api.console.session import Session
from api.services import SERVICES
from shared.ledger.accounts import find_account
from shared.ledger.history import list_transfers
from shared.money import nano_to_usd
from shared.stores.postgres import reached

ROWS = 50
KINDS = {"capture": "Request", "credit": "Credit added", "take_back": "Credit taken back"}


async def get_balance(request: web.Request, session: Session) -> web.Response:
    """Show the balance; `?cursor=` selects an older page of the history."""
    pool = request.app[SERVICES].pool
    account_id = session.key.account_id
    async with reached("The account"):
        wallet = (await find_account(pool, account_id)).public()
    cursor = request.query.get("cursor")
    page = await list_transfers(pool, account_id, cursor=cursor, limit=ROWS)
    return render(request, "balance.html", wallet=wallet, page=page, cursor=cursor, kinds=KINDS, usd=nano_to_usd)
