"""`GET /healthz`: the event loop of this process turns. `GET /readyz`: it may take requests."""

from __future__ import annotations

from typing import Literal

import msgspec
from aiohttp import web

from api.services import SERVICES, Services


class Alive(msgspec.Struct, frozen=True):
    """The process answers; there is nothing else to say."""

    status: Literal["ok"]
    """Always `ok`."""


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Which parts are there now. Not ready is a process that stops, or one whose Postgres or Redis has been away for
    `READY_GRACE_S`; a missing worker is told and changes nothing, because requests wait for one in the queue.
    """

    status: Literal["ready", "not ready"]
    """`ready`, or `not ready` with the HTTP status 503."""
    postgres: bool
    """Whether Postgres answered the last time."""
    redis: bool
    """Whether Redis answered the last time."""
    worker: bool
    """Whether a worker that is not draining is there; it changes nothing of `status`."""
    draining: bool
    """Whether this process stops."""


async def get_healthz(_: web.Request) -> web.Response:
    """Always 200."""
    return web.Response(body=msgspec.json.encode(Alive("ok")), content_type="application/json")


async def get_readyz(request: web.Request) -> web.Response:
    """200, or 503; both say which parts are there."""
    return await readiness(request.app[SERVICES])


async def readiness(services: Services) -> web.Response:
    """Of this process, whoever asks on whichever port."""
    reached = await services.reach.look()
    draining = services.draining.is_set()
    ready = services.reach.lately and not draining
    body = Readiness(
        status="ready" if ready else "not ready",
        postgres=reached.postgres,
        redis=reached.redis,
        worker=any(not worker.draining for worker in services.directory.workers),
        draining=draining,
    )
    return web.Response(body=msgspec.json.encode(body), status=200 if ready else 503, content_type="application/json")
