"""Prometheus metrics of every stage, served on a port of their own (`METRICS_PORT`), never on the public one. Labels are
models, APIs, queues and outcomes, never an account, a key or a text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from shared.settings import SettingsError

Page = Callable[[web.Request], Awaitable[web.Response]]
log = structlog.get_logger(__name__)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

HTTP_REQUESTS = Counter("rebootml_http_requests_total", "Answers by route and status", ["route", "status"])
STAGE_SECONDS = Histogram(
    "rebootml_stage_seconds",
    "Front door: authenticate, reserve, enqueue, first_event, whole; worker: queued, first_token, vendor",
    ["stage"],
    buckets=SECONDS,
)
STREAMS = Gauge("rebootml_streams", "Requests that this front door is relaying")
REFUSALS = Counter("rebootml_refusals_total", "Requests refused before they ran", ["code"])
BATCH_ROWS = Histogram("rebootml_batch_rows", "Rows per micro-batch", ["batch"], buckets=ROWS)
JOURNAL_READS = Counter("rebootml_journal_reads_total", "Reads of a journal because of a gap, silence or a slow reader")
JOBS_RUNNING = Gauge("rebootml_jobs_running", "Jobs that this worker runs", ["queue"])
JOBS_ENDED = Counter(
    "rebootml_jobs_ended_total", "Requests that ended, by model and outcome code", ["model", "outcome"]
)
VENDOR_CALLS = Counter("rebootml_vendor_calls_total", "Calls to vendors by API and outcome code", ["api", "outcome"])
UPSTREAMS_DIFFERING = Gauge(
    "rebootml_upstreams_differing", "Upstreams that some workers of a queue lack, or hold with another row"
)
QUEUE_JOBS = Gauge(
    "rebootml_queue_jobs",
    "Jobs in a queue: due, leased, deferred; every front door says the same of this and of the next four",
    ["queue", "state"],
)
QUEUE_OLDEST_SECONDS = Gauge("rebootml_queue_oldest_seconds", "How long the oldest job has been due", ["queue"])
SLOTS_WANTED = Gauge(
    "rebootml_slots_wanted",
    "Slots for which there is work now, by provider, by queue and in all (*)",
    ["deployment"],
)
SLOTS = Gauge("rebootml_slots", "Slots of the workers that serve a queue: all, free", ["queue", "state"])
WORKERS = Gauge("rebootml_workers", "Living workers that take jobs from a queue", ["queue"])
LAST_CLAIM_TIMESTAMP = Gauge("rebootml_last_claim_timestamp_seconds", "When this worker last asked the queues for jobs")
LAST_RENEWAL_TIMESTAMP = Gauge("rebootml_last_renewal_timestamp_seconds", "When this worker last renewed its leases")
UPSTREAM_STATE = Gauge(
    "rebootml_upstream_state", "Of an upstream: 0 closed, 1 rising, 2 half open, 3 open, 4 drained", ["upstream"]
)
UPSTREAM_CALLS = Counter("rebootml_upstream_calls_total", "Calls by upstream and outcome code", ["upstream", "outcome"])
FALLBACKS = Counter(
    "rebootml_fallbacks_total", "Requests that went on with the next model of their chain", ["model", "outcome"]
)
LEASES_LOST = Counter("rebootml_leases_lost_total", "Jobs that another worker took over from this one")
UNSETTLED = Gauge("rebootml_settlements_unsettled", "Settlements that this process keeps until Postgres commits them")
BYTES_HELD = Gauge("rebootml_bytes_held", "Bytes of a budget that this process holds now", ["budget"])
CLOCK_AHEAD = Gauge("rebootml_clock_ahead_seconds", "How far this machine's clock is ahead of a store's", ["store"])
TOKENS = Counter("rebootml_tokens_total", "Billed tokens", ["model", "direction"])
CHARGED_NANO_USD = Counter("rebootml_charged_nano_usd_total", "Charged, in nano-USD", ["model"])
TIER_LOSS_NANO_USD = Counter(
    "rebootml_tier_loss_nano_usd_total",
    "What vendors took more than at the tier that was sold, in nano-USD",
    ["model", "served_tier"],
)
UPSTREAM_NANO_USD = Counter(
    "rebootml_upstream_nano_usd_total",
    "Of requests that an upstream ended: charged to callers, its cost, and the cost of lost calls, in nano-USD",
    ["upstream", "kind"],
)
ALERTS = Counter("rebootml_alerts_total", "Facts that an operator must look at", ["alert"])


@asynccontextmanager
async def served(
    host: str, port: int | None, *, pages: Mapping[str, Page] = {}, refresh: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[None]:
    """Serve `/metrics` and `pages` (by path) on `port` while the block runs; without a port nothing is served. `refresh` is
    awaited before each answer. Raises `SettingsError` if the port is taken.
    """
    if port is None:
        yield
        return
    app = web.Application()
    for path, page in {"/metrics": _metrics_after(refresh), **pages}.items():
        app.router.add_get(path, page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise SettingsError(
                f"METRICS_PORT={port}: cannot listen on METRICS_HOST ({host}): {error.strerror}"
            ) from None
        log.info("metrics served", host=host, port=port)
        yield
    finally:
        await runner.cleanup()


def _metrics_after(refresh: Callable[[], Awaitable[None]] | None) -> Page:
    async def metrics(_: web.Request) -> web.Response:
        if refresh:
            await refresh()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return metrics
