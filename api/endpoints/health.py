"""`GET /healthz`: whether the event loop of this process turns. `GET /readyz`: whether it may take requests."""

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
    """Whether this process may take requests, and which parts are there. It is not ready while it stops, or once Postgres
    or Redis has been away for `READY_GRACE_S`. A missing worker does not count, because requests wait for one in the queue.
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
    """Always 200 while the event loop turns."""
    return web.Response(body=msgspec.json.encode(Alive("ok")), content_type="application/json")


async def get_readyz(request: web.Request) -> web.Response:
    """200 if the process may take requests, otherwise 503; the body says which parts are there."""
    return await readiness(request.app[SERVICES])


async def readiness(services: Services) -> web.Response:
    """The readiness of this process, for any port."""
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
