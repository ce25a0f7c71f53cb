"""Shows operators the queues and workers, and pauses and drains these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from shared.lanes import lane_of, provider_of, short_name
from shared.operators import switches
from shared.operators.audit import Author
from shared.operators.switches import SwitchedOff, switched_off
from shared.queue.demand import QUEUES, depths_of
from shared.queue.heartbeat import Heartbeat, living_workers

if TYPE_CHECKING:
    import asyncpg
    import redis.asyncio

    from shared.settings import Settings
    from shared.stores.postgres import Connection
    from shared.stores.scripts import Scripts


class QueueRow(msgspec.Struct, frozen=True, kw_only=True):
    """One queue: the jobs of one provider and one lane."""

    name: str
    """The name of the queue, `provider:lane`."""
    provider: str
    """The provider that the queue's jobs call."""
    lane: str
    """The lane of the queue: `interactive`, `flex` or `batch`."""
    ready: int
    """The number of jobs that are due and not claimed."""
    running: int
    """The number of jobs that a worker has claimed."""
    deferred: int
    """The number of jobs that are due at a later time."""
    oldest_age_s: float
    """The seconds for which the oldest due job has waited; 0 if no job is due."""
    paused: bool
    """True if an operator has paused the provider: no worker takes its jobs."""


class WorkerBrief(msgspec.Struct, frozen=True, kw_only=True):
    """A living worker and the jobs that it may run."""

    id: str
    """The id of the worker, `wrk_…`."""
    slots: int
    """The most jobs that the worker runs at a time."""
    running: int
    """The number of jobs that the worker runs now."""
    queues: tuple[str, ...]
    """The queues that the worker takes jobs from, by priority."""
    draining: bool
    """True if the worker takes no more jobs."""


class WorkerRow(WorkerBrief, frozen=True, kw_only=True):
    """A living worker with its machine and its release."""

    host: str
    """The name of the machine that the worker runs on."""
    version: str
    """The release that the worker runs."""


class Queues(msgspec.Struct, frozen=True, kw_only=True):
    """All queues, and all living workers."""

    queues: list[QueueRow]
    """All queues, including empty ones."""
    workers: list[WorkerBrief]
    """All living workers."""


class Paused(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a provider after it was paused or resumed."""

    provider: str
    """The name of the provider."""
    paused: bool
    """True if the provider is paused now."""


async def show_queues(
    source: asyncpg.Pool | Connection, client: redis.asyncio.Redis, scripts: Scripts, settings: Settings
) -> Queues:
    """All queues and workers now. Raises asyncpg's and redis-py's errors and `Unavailable`."""
    off = await switched_off(source)
    depths = await depths_of(scripts, settings.lease_s)
    rows = [
        QueueRow(
            name=short_name(queue),
            provider=provider_of(queue),
            lane=lane_of(queue),
            ready=depths[queue].due,
            running=depths[queue].leased,
            deferred=depths[queue].deferred,
            oldest_age_s=depths[queue].oldest_s,
            paused=provider_of(queue) in off.paused,
        )
        for queue in QUEUES
    ]
    return Queues(queues=rows, workers=[_brief(worker, off) for worker in await living_workers(client)])


async def list_workers(source: asyncpg.Pool | Connection, client: redis.asyncio.Redis) -> list[WorkerRow]:
    """All living workers. Raises asyncpg's and redis-py's errors."""
    off = await switched_off(source)
    return [_row(worker, off) for worker in await living_workers(client)]


async def pause(
    source: asyncpg.Pool | Connection, provider: str, *, paused: bool, author: Author | None = None
) -> Paused:
    """Pause a provider or resume it, see `pause_provider`."""
    await switches.pause_provider(source, provider, paused=paused, author=author)
    return Paused(provider=provider, paused=paused)


async def drain(
    source: asyncpg.Pool | Connection, client: redis.asyncio.Redis, worker_id: str, *, author: Author | None = None
) -> WorkerRow:
    """Drain a worker, see `drain_worker`. Also raises redis-py's errors."""
    living = {worker.id: worker for worker in await living_workers(client)}
    await switches.drain_worker(source, worker_id, living=list(living), author=author)
    return _row(living[worker_id], await switched_off(source))


def _row(worker: Heartbeat, off: SwitchedOff) -> WorkerRow:
    return WorkerRow(host=worker.host, version=worker.version, **msgspec.structs.asdict(_brief(worker, off)))


def _brief(worker: Heartbeat, off: SwitchedOff) -> WorkerBrief:
    return WorkerBrief(
        id=worker.id,
        slots=worker.slots,
        running=worker.running,
        queues=tuple(map(short_name, worker.claims)),
        draining=worker.draining or worker.id in off.draining,
    )
