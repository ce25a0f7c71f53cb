"""A worker process: wires the parts together and runs until a signal drains it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

import asyncpg
import structlog
from arq.connections import ArqRedis
from arq.worker import func

from shared import json_bounds
from shared.catalogue.apis import by_each_api
from shared.catalogue.models import Catalogue, Model, load_catalogue
from shared.catalogue.upstreams import Upstream, Upstreams
from shared.errors import Unavailable
from shared.ids import new_id
from shared.job import RUN_REQUEST, arq_deserializer, arq_serializer
from shared.json_bounds import Bounds
from shared.lanes import FEEDS, Feed, QueueName, fed_queue, provider_of
from shared.ledger.endings import Endings
from shared.ledger.ledger import Ledger
from shared.ledger.settler import Settler
from shared.operators.refs import forget_salts
from shared.operators.switches import switched_off
from shared.queue.byte_limits import ByteLimits
from shared.queue.heartbeat import Heartbeat, announce, say_goodbye
from shared.queue.queue import Queue
from shared.queue.settled_records import SettledRecords
from shared.queue.upstreams import PublishedRow, UpstreamStates, publish_rows, try_now
from shared.runtime.growing_room import GrowingRoom
from shared.runtime.last_minute import LAST_MINUTE
from shared.runtime.metrics import served
from shared.runtime.open_files import watch_open_files
from shared.runtime.process import heed_hangups, settle_memory
from shared.runtime.tasks import background_tasks
from shared.secret_files import SecretEnvironment
from shared.settings import Settings, SettingsError
from shared.stores import migrations, postgres, redis_client
from shared.stores.clocks import Clocks
from shared.stores.connection_budget import process_name, tell_budget
from shared.stores.reach import Reach
from shared.stores.scripts import Scripts
from workers.batches.export import BatchExporter
from workers.batches.feed import BatchFeeder
from workers.batches.finish import BatchFinisher
from workers.health import Health
from workers.loop.large_jobs import COPIES
from workers.loop.leased_worker import LeasedWorker
from workers.loop.slots import Slots
from workers.providers.credentials import SECRETS
from workers.providers.loading import Held, load_upstreams
from workers.providers.protocol import Limits
from workers.request.journal_writer import JournalFlusher
from workers.request.run_job import RUNNER, Runner, end_discarded, run_request
from workers.request.stranded import Stranded
from workers.sweeps import files, holds_and_records, partitions, retention
from workers.sweeps.ended_keys import EndedKeys
from workers.sweeps.settled_records import sweep_kept_records
from workers.upstreams.checks import Checks
from workers.upstreams.paces import Paces
from workers.upstreams.routes import Routes
from workers.upstreams.states import States
from workers.vendor_keys import VendorKeys, tell_of_missing

log = structlog.get_logger(__name__)
UNTIL_SETTLED_S = 10.0
ROWS_EVERY_S = 10.0
VERSION = version("rebootml")
PARTITIONS_EVERY_S = 3_600.0


class _Stores(NamedTuple):
    pool: asyncpg.Pool
    redis: ArqRedis
    scripts: Scripts
    clocks: Clocks


class _Offer(NamedTuple):
    """The parts of a heartbeat that say what the worker can call."""

    services: tuple[str, ...]
    upstreams: dict[str, str]
    unserved: tuple[str, ...]


async def run(settings: Settings) -> None:
    """Serve until drained. Raises `SettingsError`, `MigrationError` or `Unavailable` when it cannot start."""
    json_bounds.put_in_force(Bounds(settings.json_nodes_max, settings.json_depth_max))
    async with AsyncExitStack() as stack, background_tasks() as group:
        stores = await _stores(settings, stack)
        catalogue = load_catalogue(
            settings.catalogue_overlay, settings.price_factor, use_successors=settings.use_successors
        )
        models = list(by_each_api(catalogue))
        upstreams = catalogue.upstreams.of_all(models)
        environment = _environment(upstreams)
        held = _held(settings, upstreams, environment)
        tell_of_missing(upstreams, catalogue.upstreams, _providers(settings), held)
        vendor_keys = VendorKeys(
            held,
            environment,
            upstreams,
            lambda told: _held(settings, upstreams, told),
            look_every_s=settings.secrets_look_every_s,
            calls_end_after_s=settings.deadline_max_s,
            on_changed=lambda name: _try_now(stores.redis, name),
        )
        stack.push_async_callback(vendor_keys.close)
        offer = _offer(held, catalogue.upstreams, models)
        ledger = Ledger(stores.pool, settings)
        records = SettledRecords(stores.scripts, settings)
        settler = Settler(ledger, group, retry_s=settings.settle_retry_s, on_committed=records.forget)
        queue = Queue(
            stores.scripts,
            lease_s=settings.lease_s,
            keep_run_s=settings.journal_ttl_s,
            depth_max=settings.queue_depth_max,
            byte_limits=ByteLimits.of(settings),
            enqueue_within_s=settings.redis_timeout_s,
            doubted_after_s=settings.doubted_after_s,
        )
        states = States([one.name for one in upstreams], UpstreamStates(stores.scripts, settings))
        paces = Paces(stores.scripts, settings, states.closed_for)
        flusher = JournalFlusher(stores.scripts, window_s=settings.journal_window_s, retry_s=settings.idle_wait_s)
        endings = Endings(stores.pool, settings, ledger.distrust_connections)
        routes = Routes(held, catalogue.upstreams, paces, states)
        runner = Runner(
            routes=routes,
            redis=stores.redis,
            flusher=flusher,
            settler=settler,
            endings=endings,
            answers=GrowingRoom(
                "vendor answers", total=settings.answers_running_bytes_max, free=settings.short_answer_bytes_max
            ),
            settings=settings,
        )
        worker = _leased_worker(settings, stores.redis, queue, runner, _claimed(settings, catalogue, offer.services))
        announce_now = partial(_announce, worker, offer, states, settings)
        reach = Reach(stores.pool, stores.redis, settings)
        pages = Health(worker, reach, settings.lease_s).pages
        await stack.enter_async_context(served(settings.metrics_host, settings.metrics_port, pages=pages))
        for part in (
            flusher.run(),
            paces.run(),
            states.run(),
            ledger.run_settle(),
            endings.run(),
            stores.clocks.watch(),
            reach.run(),
            vendor_keys.run(),
            _every(settings.heartbeat_s, Checks(stores.redis, routes, models).look),
            _every(ROWS_EVERY_S, lambda: publish_rows(stores.redis, _rows(held, catalogue.upstreams, models))),
            watch_open_files(settings.open_files_alert_percent),
            _every(settings.heartbeat_s, announce_now),
            *_sweeps(stores, queue, settler, routes, settings),
            *_batch_tasks(stores, queue, settler, paces, catalogue, worker, environment, settings),
        ):
            group.create_task(part)
        await _heed(worker, states, stores.pool)
        group.create_task(
            _every(settings.heartbeat_s, lambda: _heed_and_say_so(worker, states, stores.pool, announce_now))
        )
        heed_hangups(ledger.renew_connections, vendor_keys.look_now)
        settle_memory()
        log.info("worker started", worker=worker.worker_id, slots=settings.worker_slots, services=offer.services)
        await worker.async_run()
        await _goodbye(stores.redis, worker.worker_id)
        if not await settler.drained(UNTIL_SETTLED_S):
            log.warning("settlements left to the sweep of another worker", settlements=len(settler))
    log.info("worker stopped")


async def _stores(settings: Settings, stack: AsyncExitStack) -> _Stores:
    """Connect the stores and check that they fit this release; they are closed with the stack."""
    pool = await postgres.connect(settings, application=process_name("worker"))
    stack.push_async_callback(pool.close)
    await migrations.require_migrated(pool)
    await tell_budget(pool, settings)
    redis: ArqRedis = redis_client.connect(settings, kind=ArqRedis)
    stack.push_async_callback(redis.aclose)
    await redis_client.require_no_eviction(redis)
    clocks = Clocks(pool, redis, settings)
    await clocks.require()
    lua = Scripts(redis, settings)
    stack.callback(lua.close)
    return _Stores(pool, redis, lua, clocks)


async def _try_now(redis: ArqRedis, upstream: str) -> None:
    """Let the next call try the upstream, because its key has changed. Without Redis it is tried at the planned time."""
    with contextlib.suppress(*redis_client.UNREACHABLE):
        await try_now(redis, upstream)


def _environment(upstreams: Iterable[Upstream]) -> SecretEnvironment:
    """The environment with the secrets of vendors and upstreams that are in files."""
    named = (upstream.key_variable for upstream in upstreams if upstream.key_variable)
    try:
        return SecretEnvironment(os.environ, dict.fromkeys((*SECRETS, *named)))
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _held(settings: Settings, upstreams: Iterable[Upstream], environment: Mapping[str, str]) -> Held:
    limits = Limits(
        connections=settings.worker_slots,
        connect_s=settings.connect_timeout_s,
        read_s=settings.deadline_max_s,
        coalesce_s=settings.coalesce_s,
    )
    return load_upstreams(upstreams, _providers(settings), environment, limits)


def _providers(settings: Settings) -> set[str]:
    return {provider_of(queue) for queue in settings.worker_queues}


def _claimed(settings: Settings, catalogue: Catalogue, services: tuple[str, ...]) -> tuple[QueueName, ...]:
    """The queues of vendors that this process can call; other vendors' queues are left to other workers."""
    callable_here = {model.provider for model in catalogue if model.service in services}
    return tuple(queue for queue in settings.worker_queues if provider_of(queue) in callable_here)


def _leased_worker(
    settings: Settings, redis: ArqRedis, queue: Queue, runner: Runner, claimed: tuple[QueueName, ...]
) -> LeasedWorker:
    slots = Slots(
        queues=claimed,
        total=settings.worker_slots,
        reserved=min(settings.batch_slots_reserved, settings.worker_slots - 1),
        share_percent=settings.provider_share_percent,
        flex_percent=settings.flex_slots_percent,
        copies=COPIES,
    )
    worker = LeasedWorker(
        [func(run_request, name=RUN_REQUEST, keep_result=0, timeout=settings.deadline_max_s * 2)],
        worker_id=new_id("wrk"),
        queue=queue,
        slots=slots,
        memory_max=settings.worker_bytes_max,
        may_claim=lambda: runner.settler.answer_bytes < settings.unsettled_bytes_max,
        lease_s=settings.lease_s,
        drain_s=settings.drain_s,
        idle_wait_s=settings.idle_wait_s,
        redis_pool=redis,
        allow_abort_jobs=True,
        keep_result=0,  # results are in the journal; arq's result would contain the prompt
        max_tries=1_000_000,  # run_job decides how often a request is tried, and ends its hold
        job_serializer=arq_serializer,
        job_deserializer=arq_deserializer,
    )
    worker.on_discarded = lambda lease: end_discarded(runner, worker, lease)
    worker.ctx.update({RUNNER: runner, "worker": worker})
    return worker


def _sweeps(
    stores: _Stores, queue: Queue, settler: Settler, routes: Routes, settings: Settings
) -> list[Coroutine[Any, Any, None]]:
    """The periodic clean-up that every worker does."""
    pool, redis = stores.pool, stores.redis
    return [
        _every(PARTITIONS_EVERY_S, lambda: partitions.sweep_months(pool, settings)),
        _every(PARTITIONS_EVERY_S, lambda: partitions.sweep_days(pool, settings)),
        _every(settings.sweep_every_s, lambda: holds_and_records.sweep_settle_records(pool, redis, settler)),
        _every(settings.sweep_every_s, lambda: holds_and_records.sweep_expired_holds(pool, redis, queue, settler)),
        _every(settings.sweep_every_s, lambda: sweep_kept_records(pool, redis, settler, settings.settled_kept_s)),
        _every(settings.sweep_every_s, Stranded(pool, redis, queue, routes, after_s=settings.upstream_wait_s).sweep),
        _every(settings.key_ends_every_s, EndedKeys(pool, queue, settings).sweep),
        _every(settings.retention_every_s, lambda: retention.sweep_expired(pool, settings.retention_rows_max)),
        _every(settings.retention_every_s, lambda: files.sweep_files(pool, settings)),
        _every(settings.retention_every_s, lambda: forget_salts(pool)),
    ]


def _batch_tasks(
    stores: _Stores,
    queue: Queue,
    settler: Settler,
    paces: Paces,
    catalogue: Catalogue,
    worker: LeasedWorker,
    environment: Mapping[str, str],
    settings: Settings,
) -> list[Coroutine[Any, Any, None]]:
    """The tasks that feed the batches of the queues that this worker runs, and that finish batches."""
    pool, redis, lua = stores.pool, stores.redis, stores.scripts
    feeder = BatchFeeder(
        pool=pool,
        client=redis,
        queue=queue,
        paces=paces,
        catalogue=catalogue,
        settings=settings,
        may_feed=lambda provider: provider not in worker.paused,
    )
    finisher = BatchFinisher(
        pool=pool,
        client=redis,
        scripts=lua,
        queue=queue,
        settler=settler,
        feeder=feeder,
        catalogue=catalogue,
        settings=settings,
    )
    feeds: dict[str, list[Feed]] = {}
    for feed in FEEDS:
        if fed_queue(feed) in worker.queues:
            feeds.setdefault(provider_of(fed_queue(feed)), []).append(feed)
    looking = [_every(settings.batch_look_every_s, finisher.look)]
    if settings.batch_export_s3:
        exporter = BatchExporter(pool, settings.batch_export_s3, environment, settings)
        looking += [_every(settings.batch_look_every_s, exporter.look) for _ in range(settings.batch_exports_at_once)]
    return [*looking, *map(feeder.run, feeds.values())]


def _offer(held: Held, upstreams: Upstreams, models: Sequence[Model]) -> _Offer:
    """What the worker announces that it can call; upstreams that it can call for no model are left out."""
    served = {model.place: model.service for model in models if held.can_call(model, upstreams.of(model))}
    services = tuple(sorted(set(served.values())))
    unserved = tuple(one.place for one in models if one.service in services and one.place not in served)
    rows = {one.name: one.fingerprint for one in upstreams.of_all(models) if one.name in held}
    return _Offer(services, rows, unserved)


def _rows(held: Held, upstreams: Upstreams, models: Sequence[Model]) -> list[PublishedRow]:
    """The upstreams as operators see them."""
    served: dict[str, list[str]] = {}
    for model in models:
        for one in upstreams.of(model):
            if model.api in held.get(one.name, ()):
                served.setdefault(one.name, []).append(model.name)
    providers = {one.name: one.provider for one in upstreams.of_all(models)}
    return [PublishedRow(name, providers[name], tuple(dict.fromkeys(names))) for name, names in served.items()]


async def _announce(worker: LeasedWorker, offer: _Offer, states: States, settings: Settings) -> None:
    heartbeat = Heartbeat(
        id=worker.worker_id,
        queues=settings.worker_queues,
        claims=worker.queues,
        services=offer.services,
        upstreams=offer.upstreams,
        unserved=offer.unserved,
        drained=tuple(sorted(states.drained)),
        slots=settings.worker_slots,
        running=len(worker.held),
        draining=worker.draining,
        paused=tuple(sorted(worker.paused)),
        lately=LAST_MINUTE.told(),
        host=socket.gethostname(),
        version=VERSION,
    )
    await announce(worker.pool, heartbeat, settings.worker_seen_s)


async def _heed_and_say_so(
    worker: LeasedWorker, states: States, pool: asyncpg.Pool, announce_now: Callable[[], Awaitable[None]]
) -> None:
    """Whoever has switched something waits until every worker says that it has heard of it."""
    if await _heed(worker, states, pool):
        await announce_now()


async def _heed(worker: LeasedWorker, states: States, pool: asyncpg.Pool) -> bool:
    """Do what operators have switched; whether that is news. Raises asyncpg's errors: then everything stays as it was."""
    before = worker.paused, states.drained, worker.draining
    off = await switched_off(pool)
    worker.pause(off.paused)
    states.drained = off.drained
    if worker.worker_id in off.draining:
        worker.drain()
    return (worker.paused, states.drained, worker.draining) != before


async def _goodbye(redis: ArqRedis, worker_id: str) -> None:
    try:
        await say_goodbye(redis, worker_id)
    except redis_client.UNREACHABLE:
        log.info("no goodbye: the queue is unreachable")


async def _every(seconds: float, do: Callable[[], Awaitable[object]]) -> None:
    """Call `do` at intervals, whatever errors a store raises."""
    while True:
        try:
            await do()
        except (Unavailable, *redis_client.UNREACHABLE, *postgres.UNREACHABLE, asyncpg.PostgresError) as error:
            log.warning("postponed", what=getattr(do, "__name__", "task"), reason=type(error).__name__)
        await asyncio.sleep(seconds)
