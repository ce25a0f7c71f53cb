"""`GET /healthz`: this process is alive. `GET /readyz`: it can serve, because Postgres, Redis and a worker are there."""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec
from aiohttp import web

from api.services import SERVICES, Services
from shared.stores.postgres import UNREACHABLE as DATABASE_UNREACHABLE
from shared.stores.redis_client import UNREACHABLE as REDIS_UNREACHABLE

READY_WITHIN_S = 3.0


class Alive(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["ok"]


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Which parts are there."""

    status: Literal["ready", "not ready"]
    postgres: bool
    redis: bool
    worker: bool


async def get_healthz(_: web.Request) -> web.Response:
    """Always 200."""
    return web.Response(body=msgspec.json.encode(Alive("ok")), content_type="application/json")


async def get_readyz(request: web.Request) -> web.Response:
    """200, or 503 that says which part is missing."""
    services = request.app[SERVICES]
    postgres, redis = await asyncio.gather(_postgres(services), _redis(services))
    worker = bool(services.directory.workers)
    ready = postgres and redis and worker
    body = Readiness(status="ready" if ready else "not ready", postgres=postgres, redis=redis, worker=worker)
    return web.Response(body=msgspec.json.encode(body), status=200 if ready else 503, content_type="application/json")


async def _postgres(services: Services) -> bool:
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            return bool(await services.pool.fetchval("SELECT 1"))
    except DATABASE_UNREACHABLE:
        return False


async def _redis(services: Services) -> bool:
    try:
        async with asyncio.timeout(READY_WITHIN_S):
            return bool(await services.redis.ping())
    except REDIS_UNREACHABLE:
        return False
