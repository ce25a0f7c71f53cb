"""`GET /healthz` says whether the event loop of this process turns, `GET /readyz` whether the process may take
requests.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from aiohttp import web

from api.services import SERVICES, Services


class Alive(msgspec.Struct, frozen=True):
    """The answer of a living process; it has nothing else to say."""

    status: Literal["ok"]
    """Always `ok`."""


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """The readiness of this process, and the parts that it depends on. The process is not ready while it stops, or once
    Postgres or Redis has been away for `READY_GRACE_S`. A missing worker does not count, because requests wait for one
    in the queue.
    """

    status: Literal["ready", "not ready"]
    """`ready`, or `not ready` with the HTTP status 503."""
    postgres: bool
    """True if Postgres answered the last time it was asked."""
    redis: bool
    """True if Redis answered the last time it was asked."""
    worker: bool
    """True if a living worker takes jobs; a worker that drains does not count. `status` does not depend on it."""
    draining: bool
    """True once this process has been told to stop: it finishes its requests and takes no more."""


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
