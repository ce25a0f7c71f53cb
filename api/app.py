"""The front door's composition root, which wires its parts. The URL map is `routes.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import redis.asyncio
from aiohttp import web

from api import cors, middleware
from api.auth import Authenticator
from api.console.routes import add_console
from api.endpoints.docs import OPENAPI
from api.endpoints.health import get_healthz, readiness
from api.endpoints.operator_docs import OPERATOR_OPENAPI
from api.http.bodies import Bodies
from api.http.caller import finish_location
from api.http.lists import Lists
from api.http.read_turns import ReadTurns
from api.http.refusal_pace import RefusalPace
from api.http.state import ANSWERS, HELD_STREAMS, READS, REFUSAL_PACE, RESULTS, SETTINGS
from api.http.uploads import Uploads
from api.http.writing import PART_BYTES
from api.key_watch import KeyWatch
from api.manual import openapi
from api.manual.route import register
from api.metrics_port import QueuesPage
from api.operator_auth import OperatorAuth
from api.operator_routes import OPERATOR_ROUTES
from api.requests.abandoned import Abandoned
from api.requests.custody import Custody
from api.requests.directory import Directory
from api.requests.relay import Relay
from api.requests.request_events import RequestEvents
from api.requests.stored import Conversations
from api.requests.submit import Submitter
from api.requests.upstream_watch import UpstreamWatch
from api.routes import ROUTES
from api.services import SERVICES, Services
from shared import json_bounds
from shared.catalogue.models import Catalogue, load_catalogue
from shared.ids import new_id
from shared.json_bounds import Bounds
from shared.ledger.ledger import Ledger
from shared.ledger.settler import Settler
from shared.queue.demand import Demand
from shared.queue.queue import Queue
from shared.queue.settled_records import SettledRecords
from shared.queue.upstreams import UpstreamStates
from shared.runtime.byte_budget import ByteBudget
from shared.runtime.fair_turns import FairTurns
from shared.runtime.growing_room import GrowingRoom
from shared.runtime.metrics import Page, served
from shared.runtime.open_files import watch_open_files
from shared.runtime.tasks import background_tasks
from shared.settings import Settings
from shared.stores.opening import Stores, open_stores
from shared.stores.reach import Reach
from shared.stores.scripts import Scripts

UNTIL_RELEASED_S = 5.0


def create_app(settings: Settings) -> web.Application:
    """Create the application; the stores are connected when it starts. Starting raises `SettingsError`, `MigrationError` or
    `Unavailable` if it cannot serve.
    """
    json_bounds.put_in_force(Bounds(settings.json_nodes_max, settings.json_depth_max))
    app = web.Application(
        middlewares=[middleware.rest_of_body, middleware.request_ids, cors.answer_preflight, middleware.errors]
    )
    app.on_response_prepare.extend((middleware.finish_headers, finish_location, cors.let_read))
    app[SETTINGS] = settings
    app[READS] = ReadTurns()
    app[ANSWERS] = ByteBudget("answers", total=settings.answer_bytes_max, share=settings.answer_bytes_max // 2)
    app[RESULTS] = ByteBudget("results", total=settings.results_bytes_max, share=settings.results_bytes_max // 2)
    app[REFUSAL_PACE] = RefusalPace(settings)
    app[HELD_STREAMS] = GrowingRoom("held streams", total=settings.held_streams_bytes_max, free=PART_BYTES)
    app.cleanup_ctx.append(lambda app: _services(app, settings))
    address = settings.public_url or "/"
    app[OPENAPI] = openapi.document(ROUTES, address)
    register(app, ROUTES)
    if settings.operator_api:
        app[OPERATOR_OPENAPI] = openapi.document(OPERATOR_ROUTES, address, openapi.OPERATORS)
        register(app, OPERATOR_ROUTES)
    add_console(app)
    return app


class _Ground(NamedTuple):
    """The stores, connections and data that the services use."""

    stores: Stores[redis.asyncio.Redis]
    lua: Scripts
    queue: Queue
    catalogue: Catalogue
    directory: Directory


async def _services(app: web.Application, settings: Settings) -> AsyncIterator[None]:
    """Open the stores and make the services for as long as the application runs."""
    async with _ground(app, settings) as ground, background_tasks() as group:
        ledger = Ledger(ground.stores.pool, settings)
        records = SettledRecords(ground.lua, settings)
        settler = Settler(ledger, group, retry_s=settings.settle_retry_s, on_committed=records.keep_void)
        services = app[SERVICES] = _wired(ground, ledger, settler, group, settings)
        for part in (
            ledger.run_reserve(),
            ledger.run_settle(),
            services.directory.run(),
            services.relay.run(),
            services.custody.run(),
            services.key_watch.run(),
            services.reach.run(),
            ground.stores.clocks.watch(),
            watch_open_files(settings.open_files_alert_percent),
        ):
            group.create_task(part)
        yield
        await settler.drained(UNTIL_RELEASED_S)


@asynccontextmanager
async def _ground(app: web.Application, settings: Settings) -> AsyncIterator[_Ground]:
    """Open the stores and the metrics port, which answers before there are services and until all tasks have ended."""
    async with AsyncExitStack() as stack:
        stores = await open_stores(settings, stack, "web", redis.asyncio.Redis)
        lua, enqueuing, enqueuing_large = (Scripts(stores.redis, settings) for _ in range(3))  # a connection each
        for scripts in (lua, enqueuing, enqueuing_large):
            stack.callback(scripts.close)
        catalogue = load_catalogue(
            settings.catalogue_overlay, settings.price_factor, use_successors=settings.use_successors
        )
        upstreams = UpstreamWatch(UpstreamStates(lua, settings), catalogue.upstreams)
        directory = Directory(stores.redis, upstreams, settings)
        queues = QueuesPage(Demand(stores.pool, lua, catalogue, settings), directory)
        pages: dict[str, Page] = {
            "/scale": queues.get_scale,
            "/healthz": get_healthz,
            "/readyz": lambda _: readiness(app[SERVICES]),
        }
        await stack.enter_async_context(
            served(settings.metrics_host, settings.metrics_port, pages=pages, refresh=queues.refresh)
        )
        yield _Ground(stores, lua, Queue.of(settings, enqueuing, large=enqueuing_large), catalogue, directory)


def _wired(ground: _Ground, ledger: Ledger, settler: Settler, group: asyncio.TaskGroup, settings: Settings) -> Services:
    pool, client = ground.stores.pool, ground.stores.redis
    relay = Relay(client, ground.lua, settings, new_id("web"))
    bodies = Bodies(settings)
    submitter = Submitter(ledger, ground.queue, settler, group, bodies, settings)
    return Services(
        settings=settings,
        pool=pool,
        redis=client,
        catalogue=ground.catalogue,
        bodies=bodies,
        admissions=FairTurns(settings.admissions_at_once),
        authenticator=Authenticator(pool, settings, ledger.distrust_connections),
        operator_auth=OperatorAuth(pool, settings),
        key_watch=KeyWatch(pool, settings),
        directory=ground.directory,
        reach=Reach(pool, client, settings),
        queue=ground.queue,
        submitter=submitter,
        ledger=ledger,
        conversations=Conversations(pool, client, bodies, settings),
        relay=relay,
        request_events=RequestEvents(pool, submitter, relay.channel, settings),
        abandoned=Abandoned(ground.queue, relay, group, settings),
        custody=Custody(pool, ground.lua, submitter, settings, relay.channel),
        uploads=Uploads(settings),
        lists=Lists(settings.lists_within_s),
        scripts=ground.lua,
        checking=asyncio.Lock(),
        draining=asyncio.Event(),
    )
