"""Ends a call whose key or region has a fault, before its vendor looks at the request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from deploy.simulator import player

if TYPE_CHECKING:
    from deploy.simulator.calls import Call
    from deploy.simulator.exchange import Dialect, Refusal
    from deploy.simulator.upstreams import Met


def dead(request: web.Request, call: Call) -> web.Response:
    """Reset the connection; the returned answer is not sent."""
    call.ending = "dead"
    player.reset(request)
    return web.Response(status=502)


async def befallen(dialect: Dialect, met: Met, call: Call) -> web.Response:
    """Never answer if the fault is silence; otherwise refuse in the vendor's words."""
    if met.silent:
        await asyncio.Event().wait()
    refusal = _refusal(dialect, met)
    call.status, call.ending = refusal.status, met.refused
    response = dialect.refuse(refusal)
    response.headers.update(met.headers)
    return response


def _refusal(dialect: Dialect, met: Met) -> Refusal:
    if met.refused == "throttled":
        return dialect.refusals[429].to_wait(met.told_wait_s)
    return dialect.wrong_key if met.refused == "wrong_key" else dialect.no_credit
