"""A worker process: wires the parts together and runs until a signal drains it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog
from arq.connections import ArqRedis
from arq.worker import func

from shared import json_bounds
from shared.catalogue.models import load_catalogue
from shared.ids import new_id
from shared.job import RUN_REQUEST, arq_deserializer, arq_serializer
from shared.json_bounds import Bounds
from shared.ledger.endings import Endings
from shared.ledger.ledger import Ledger
from shared.ledger.settler import Settler
from shared.queue.queue import Queue
from shared.queue.settled_records import SettledRecords
from shared.queue.upstreams import UpstreamStates, publish_rows
from shared.runtime.growing_room import GrowingRoom
from shared.runtime.metrics import served
from shared.runtime.open_files import watch_open_files
from shared.runtime.process import heed_hangups, settle_memory
from shared.runtime.tasks import background_tasks
from shared.stores.opening import open_stores
from shared.stores.reach import Reach
from shared.stores.scripts import Scripts
from workers.announcing import Announcer
from workers.health import Health
from workers.loop.large_jobs import COPIES
from workers.loop.leased_worker import LeasedWorker
from workers.loop.slots import Slots
from workers.recurring import batch_tasks, every, sweeps
from workers.request.journal_writer import JournalFlusher
from workers.request.run_job import end_discarded, run_request
from workers.request.runner import RUNNER, Runner
from workers.upstreams.checks import Checks
from workers.upstreams.paces import Paces
from workers.upstreams.routes import Routes
from workers.upstreams.states import States
from workers.vendors import Vendors

if TYPE_CHECKING:
    from shared.lanes import QueueName
    from shared.settings import Settings

log = structlog.get_logger(__name__)
DRAIN_SETTLES_WITHIN_S = 10.0
ROWS_EVERY_S = 10.0


async def run(settings: Settings) -> None:
    """Serve until drained. Raises `SettingsError`, `MigrationError` or `Unavailable` if the worker cannot start."""
    json_bounds.put_in_force(Bounds(settings.json_nodes_max, settings.json_depth_max))
    async with AsyncExitStack() as stack, background_tasks() as group:
        stores = await open_stores(settings, stack, "worker", ArqRedis)
        scripts = Scripts(stores.redis, settings)
        stack.callback(scripts.close)
        catalogue = load_catalogue(
            settings.catalogue_overlay, settings.price_factor, use_successors=settings.use_successors
        )
        vendors = Vendors.load(settings, catalogue, stores.redis)
        stack.push_async_callback(vendors.keys.close)
        offer = vendors.offer()
        ledger = Ledger(stores.pool, settings)
        endings = Endings(stores.pool, settings, ledger.distrust_connections)
        records = SettledRecords(scripts, settings)
        settler = Settler(ledger, group, retry_s=settings.settle_retry_s, on_committed=records.put_aside)
        queue = Queue.of(settings, scripts)
        states = States([one.name for one in vendors.rows], UpstreamStates(scripts, settings))
        paces = Paces(scripts, settings, states.unavailable_for_s)
        routes = Routes(vendors.held, vendors.upstreams, paces, states)
        flusher = JournalFlusher(scripts, window_s=settings.journal_window_s, retry_s=settings.idle_wait_s)
        answers = GrowingRoom(
            "vendor answers", total=settings.answers_running_bytes_max, free=settings.short_answer_bytes_max
        )
        runner = Runner(
            routes=routes,
            redis=stores.redis,
            queue=queue,
            flusher=flusher,
            settler=settler,
            endings=endings,
            answers=answers,
            settings=settings,
        )
        worker = _leased_worker(settings, stores.redis, queue, runner, vendors.queues_of(settings))
        announcer = Announcer(worker, offer, states, stores.pool, settings)
        reach = Reach(stores.pool, stores.redis, settings)
        pages = Health(worker, reach, settings.lease_s).pages
        await stack.enter_async_context(served(settings.metrics_host, settings.metrics_port, pages=pages))
        await announcer.heed()
        for part in (
            flusher.run(),
            paces.run(),
            states.run(),
            ledger.run_settle(),
            endings.run(),
            stores.clocks.watch(),
            reach.run(),
            vendors.keys.run(),
            watch_open_files(settings.open_files_alert_percent),
            every(settings.heartbeat_s, announcer.announce),
            every(settings.heartbeat_s, announcer.heed_and_say_so),
            every(settings.heartbeat_s, Checks(stores.redis, routes, vendors.models).look),
            every(ROWS_EVERY_S, lambda: publish_rows(stores.redis, vendors.published_rows())),
            *sweeps(stores, queue, settler, routes, settings),
            *batch_tasks(stores, queue, settler, routes, paces, catalogue, worker, vendors.environment, settings),
        ):
            group.create_task(part)
        heed_hangups(ledger.renew_connections, vendors.keys.look_now)
        settle_memory()
        log.info("worker started", worker=worker.worker_id, slots=settings.worker_slots, services=offer.services)
        await worker.async_run()
        await announcer.say_goodbye()
        if not await settler.drained(DRAIN_SETTLES_WITHIN_S):
            log.warning("settlements left to the sweep of another worker", settlements=len(settler))
    log.info("worker stopped")


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
        calls_told_every_s=settings.calls_told_every_s,
        drain_s=settings.drain_s,
        idle_wait_s=settings.idle_wait_s,
        redis_pool=redis,
        allow_abort_jobs=True,
        keep_result=0,  # results are in the journal; arq's result would contain the prompt
        max_tries=1_000_000,  # an attempt decides how often a request is tried, and ends its hold
        job_serializer=arq_serializer,
        job_deserializer=arq_deserializer,
    )
    worker.on_discarded = lambda lease: end_discarded(runner, lease)
    worker.ctx[RUNNER] = runner
    return worker
