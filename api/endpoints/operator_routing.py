"""`/operator/queues`, `workers` and `upstreams`: shows queues, workers and upstreams, and takes them out of service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from api.operators import REF_HINT, Asker, answered, asker, body_of, changed_once, kept, ref_decoder, result
from shared.errors import Unavailable
from shared.operators.refs import Kept, Once
from shared.queue import routing, upstream_rows
from shared.queue.heard import Change, provider_paused, until_heard, upstream_drained, worker_drained
from shared.queue.upstreams import UpstreamStates
from shared.stores.postgres import Connection, reached
from shared.stores.redis_client import UNREACHABLE

QUEUES, WORKERS, UPSTREAMS = "The queues", "The workers", "The upstreams"


async def get_queues(request: web.Request) -> web.Response:
    """The waiting and running jobs of each queue, and the living workers."""
    who = await asker(request, "read")
    services = who.services
    async with _all_reached(QUEUES):
        found = await routing.show_queues(services.pool, services.redis, services.scripts, services.settings)
    return result(found)


async def post_pause(request: web.Request) -> web.Response:
    """Pause a provider. When this is answered, no worker takes its jobs any more. Running jobs go on and waiting jobs
    wait; new requests get a 503 with `Retry-After` after `WORKER_MISSING_S`. A 503 here names the workers that have not
    confirmed the pause: send it again.
    """
    return await _switch(request, paused=True)


async def post_resume(request: web.Request) -> web.Response:
    """Resume a provider. When this is answered, workers take its jobs again."""
    return await _switch(request, paused=False)


async def get_workers(request: web.Request) -> web.Response:
    """Every living worker."""
    who = await asker(request, "read")
    async with _all_reached(WORKERS):
        found = await routing.list_workers(who.services.pool, who.services.redis)
    return result(found)


async def post_drain(request: web.Request) -> web.Response:
    """Drain a worker. When this is answered, the worker takes no more jobs for good. Its running jobs go on to their
    end; then it can be stopped.
    """
    who = await asker(request, "routing")
    body = await body_of(request, who, ref_decoder, REF_HINT)

    async def drain(connection: Connection) -> Kept:
        worker_id = request.match_info["id"]
        return kept(await routing.drain(connection, who.services.redis, worker_id, author=who.author))

    async with _all_reached(WORKERS):
        found = await changed_once(request, who, body, drain, WORKERS)
    return await _answered_when_heard(who, found, worker_drained(request.match_info["id"]))


async def get_upstreams(request: web.Request) -> web.Response:
    """Every upstream that a living worker holds: keys, addresses and regions of vendors."""
    who = await asker(request, "read")
    async with _all_reached(UPSTREAMS):
        found = await upstream_rows.list_upstreams(who.services.pool, who.services.redis, _states(who))
    return result([one.row() for one in found])


async def post_drain_upstream(request: web.Request) -> web.Response:
    """Take an upstream out of service. When this is answered, no new call goes there; running calls go on to their
    end.
    """
    return await _switch_upstream(request, upstream_rows.drain, drained=True)


async def post_enable_upstream(request: web.Request) -> web.Response:
    """Take an upstream into service again. When this is answered, calls go there again. If its breaker is open, the
    next call tries it.
    """
    return await _switch_upstream(request, upstream_rows.enable, drained=False)


async def _switch_upstream(
    request: web.Request, switch: Callable[..., Awaitable[list[upstream_rows.UpstreamDetails]]], *, drained: bool
) -> web.Response:
    who = await asker(request, "routing")
    body = await body_of(request, who, ref_decoder, REF_HINT)
    name = request.match_info["name"]

    async def change(connection: Connection) -> Kept:
        rows = await switch(connection, who.services.redis, _states(who), name, author=who.author)
        return kept([one.row() for one in rows])

    async with _all_reached(UPSTREAMS):
        found = await changed_once(request, who, body, change, UPSTREAMS)
    return await _answered_when_heard(who, found, upstream_drained(name, drained=drained))


def _states(who: Asker) -> UpstreamStates:
    return UpstreamStates(who.services.scripts, who.services.settings)


async def _switch(request: web.Request, *, paused: bool) -> web.Response:
    who = await asker(request, "routing")
    body = await body_of(request, who, ref_decoder, REF_HINT)
    provider = request.match_info["provider"]

    async def switch(connection: Connection) -> Kept:
        return kept(await routing.pause(connection, provider, paused=paused, author=who.author))

    found = await changed_once(request, who, body, switch, QUEUES)
    return await _answered_when_heard(who, found, provider_paused(provider, paused=paused))


async def _answered_when_heard(who: Asker, found: Once, change: Change) -> web.Response:
    """Answer once all workers have confirmed the change. The change itself is committed before."""
    await until_heard(who.services.pool, who.services.redis, change, who.services.settings)
    return answered(found)


@asynccontextmanager
async def _all_reached(what: str) -> AsyncIterator[None]:
    """Raises `Unavailable` if Postgres or Redis cannot be asked within the block."""
    async with reached(what):
        try:
            yield
        except UNREACHABLE as error:
            raise Unavailable(f"{what} cannot be reached now: try again shortly.") from error
