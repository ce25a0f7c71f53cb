"""Tasks that every worker repeats at intervals, beside the jobs of its queues."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog
from arq.connections import ArqRedis

from shared.errors import Unavailable
from shared.lanes import FEEDS, Feed, fed_queue, provider_of
from shared.operators.refs import forget_salts
from shared.stores import postgres, redis_client
from workers.batches.feed import BatchFeeder
from workers.batches.finish import BatchFinisher
from workers.request.resuming import RecordedCalls
from workers.request.stranded import Stranded
from workers.sweeps import files, holds_and_records, partitions, retention
from workers.sweeps.ended_keys import EndedKeys
from workers.sweeps.settled_records import sweep_kept_records

if TYPE_CHECKING:
    from shared.catalogue.models import Catalogue
    from shared.ledger.settler import Settler
    from shared.queue.queue import Queue
    from shared.settings import Settings
    from shared.stores.opening import Stores
    from workers.loop.leased_worker import LeasedWorker
    from workers.upstreams.paces import Paces
    from workers.upstreams.routes import Routes

log = structlog.get_logger(__name__)
PARTITIONS_EVERY_S = 3_600.0
Task = Coroutine[Any, Any, None]


async def every(seconds: float, do: Callable[[], Awaitable[object]]) -> None:
    """Call `do` every `seconds`, for ever; errors of the stores do not end it."""
    while True:
        try:
            await do()
        except (Unavailable, *redis_client.UNREACHABLE, *postgres.UNREACHABLE, asyncpg.PostgresError) as error:
            log.warning("postponed", what=_name_of(do), reason=type(error).__name__)
        await asyncio.sleep(seconds)


def _name_of(do: Callable[[], Awaitable[object]]) -> str:
    """The name of the function, also of one in a `partial`."""
    return str(getattr(getattr(do, "func", do), "__name__", "task"))


def sweeps(stores: Stores[ArqRedis], queue: Queue, settler: Settler, routes: Routes, settings: Settings) -> list[Task]:
    """The tasks that clean up after dead processes and delete what has expired. Any worker may do them."""
    pool, redis = stores.pool, stores.redis
    earlier = RecordedCalls(redis, routes.cost_factor)
    return [
        every(PARTITIONS_EVERY_S, partial(partitions.sweep_months, pool, settings)),
        every(PARTITIONS_EVERY_S, partial(partitions.sweep_days, pool, settings)),
        every(settings.sweep_every_s, partial(holds_and_records.sweep_settle_records, pool, redis, settler)),
        every(
            settings.sweep_every_s, partial(holds_and_records.sweep_expired_holds, pool, redis, queue, settler, earlier)
        ),
        every(settings.sweep_every_s, partial(sweep_kept_records, pool, redis, settler, settings.settled_kept_s)),
        every(
            settings.sweep_every_s,
            Stranded(pool, redis, queue, settler, routes, after_s=settings.upstream_wait_s).sweep,
        ),
        every(settings.key_ends_every_s, EndedKeys(pool, queue, settings).sweep),
        every(settings.retention_every_s, partial(retention.sweep_expired, pool, settings.retention_rows_max)),
        every(settings.retention_every_s, partial(files.sweep_files, pool, settings)),
        every(settings.retention_every_s, partial(forget_salts, pool)),
    ]


def batch_tasks(
    stores: Stores[ArqRedis],
    queue: Queue,
    settler: Settler,
    routes: Routes,
    paces: Paces,
    catalogue: Catalogue,
    worker: LeasedWorker,
    environment: Mapping[str, str],
    settings: Settings,
) -> list[Task]:
    """The tasks that feed the queues whose batches this worker runs, and that bring batches to their end."""
    feeder = BatchFeeder(
        pool=stores.pool,
        client=stores.redis,
        queue=queue,
        paces=paces,
        catalogue=catalogue,
        settings=settings,
        is_paused=lambda provider: provider in worker.paused,
    )
    finisher = BatchFinisher(
        pool=stores.pool,
        client=stores.redis,
        queue=queue,
        settler=settler,
        catalogue=catalogue,
        settings=settings,
        earlier_calls=RecordedCalls(stores.redis, routes.cost_factor),
    )
    feeds: dict[str, list[Feed]] = {}
    for feed in FEEDS:
        if fed_queue(feed) in worker.queues:
            feeds.setdefault(provider_of(fed_queue(feed)), []).append(feed)
    looking = [every(settings.batch_look_every_s, finisher.look)]
    if settings.batch_export_s3:
        from workers.batches.export import BatchExporter  # noqa: PLC0415 - other workers need not load Amazon's SDK

        exporter = BatchExporter(stores.pool, settings.batch_export_s3, environment, settings)
        looking += [every(settings.batch_look_every_s, exporter.look) for _ in range(settings.batch_exports_at_once)]
    return [*looking, *map(feeder.run, feeds.values())]
