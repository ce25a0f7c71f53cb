"""`rebootml queue …` and `rebootml worker …`: shows queues and workers, and takes them out of service."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import asyncpg
import redis.asyncio

from deploy.cli.command import Answer, add_command
from deploy.cli.spans import span
from shared.errors import Unavailable
from shared.lanes import lane_of, short_name
from shared.operators.switches import Kind, off_since
from shared.queue import routing
from shared.queue.demand import QUEUES
from shared.queue.heard import Change, provider_paused, until_heard, worker_drained
from shared.queue.routing import WorkerBrief, WorkerRow
from shared.settings import Settings
from shared.stores import redis_client
from shared.stores.scripts import Scripts

QUEUE_COLUMNS = ("name", "ready", "running", "deferred")
Since = Callable[[Kind, str], str | None]


def add_queue_commands(group: Any) -> None:  # noqa: ANN401 - argparse's own type is private
    """Add the commands `show`, `pause` and `resume`."""
    add_command(group, "show", _show, "what waits and runs in each queue, and the workers")
    for name, run, text in (
        ("pause", _pause, "let no worker take jobs of a provider; what runs goes on, the rest waits"),
        ("resume", _resume, "let workers take jobs of a provider again"),
    ):
        add_command(group, name, run, f"{text}; ends when all workers have heard of it").add_argument("provider")


def add_worker_commands(group: Any) -> None:  # noqa: ANN401
    """Add the commands `list` and `drain`."""
    add_command(group, "list", _workers, "every living worker")
    text = "let a worker take no more jobs for good; stop it when it runs none; ends when the worker has heard of it"
    add_command(group, "drain", _drain, text).add_argument("id")


class _Redis(NamedTuple):
    client: redis.asyncio.Redis
    scripts: Scripts


async def _show(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    settings: Settings = arguments.settings
    async with asking_redis(settings) as (client, scripts):
        found = await routing.show_queues(pool, client, scripts, settings)
    since = await _since(pool)
    queues = [
        {name: getattr(queue, name) for name in QUEUE_COLUMNS}
        | {"oldest": span(queue.oldest_age_s) if queue.ready else None, "paused": since("provider", queue.provider)}
        for queue in found.queues
    ]
    return Answer(found, shown={"QUEUES": queues, "WORKERS": [_shown(worker, since) for worker in found.workers]})


async def _pause(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    return await _switch(arguments, pool, paused=True)


async def _resume(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    return await _switch(arguments, pool, paused=False)


async def _switch(arguments: argparse.Namespace, pool: asyncpg.Pool, *, paused: bool) -> Answer:
    """Pause or resume. Pauses are stored in Postgres, so that this works while Redis is away."""
    row = await routing.pause(pool, arguments.provider, paused=paused)
    await heard_by_all(arguments, pool, provider_paused(arguments.provider, paused=paused))
    return Answer(row)


async def heard_by_all(arguments: argparse.Namespace, pool: asyncpg.Pool, change: Change) -> None:
    """Wait until every worker has heard of a change. Raises as `until_heard` does."""
    settings: Settings = arguments.settings
    client = redis_client.connect(settings, redis.asyncio.Redis)
    try:
        await until_heard(pool, client, change, settings)
    finally:
        await client.aclose()


async def _workers(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    async with asking_redis(arguments.settings) as (client, _):
        rows = await routing.list_workers(pool, client)
    since = await _since(pool)
    return Answer(rows, shown=[_shown(worker, since) for worker in rows])


async def _drain(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    async with asking_redis(arguments.settings) as (client, _):
        row = await routing.drain(pool, client, arguments.id)
    await heard_by_all(arguments, pool, worker_drained(arguments.id))
    return Answer(row, shown=[_shown(row, await _since(pool))])


def _shown(worker: WorkerBrief, since: Since) -> dict[str, object]:
    """A worker's row. A worker drains because an operator has said so, or because a signal stops it."""
    draining = since("worker", worker.id) or ("stops" if worker.draining else None)
    told = {"id": worker.id, "slots": worker.slots, "running": worker.running, "draining": draining}
    machine = {"host": worker.host, "version": worker.version} if isinstance(worker, WorkerRow) else {}
    return told | machine | {"queues": _compact(worker.queues)}


async def _since(pool: asyncpg.Pool) -> Since:
    """The seconds for which each thing has been out of service."""
    off, now = await off_since(pool), datetime.now(UTC)

    def since(kind: Kind, name: str) -> str | None:
        return f"for {span((now - off[kind, name]).total_seconds())}" if (kind, name) in off else None

    return since


def _compact(queues: Sequence[str]) -> list[str]:
    """Queues in the form of `WORKER_QUEUES`: `*:batch` for all queues of a lane."""
    found: dict[str, None] = {}
    for queue in queues:
        lane = queue.partition(":")[2]
        of_lane = {short_name(one) for one in QUEUES if lane_of(one) == lane}
        found[f"*:{lane}" if of_lane <= set(queues) else queue] = None
    return list(found)


@asynccontextmanager
async def asking_redis(settings: Settings) -> AsyncIterator[_Redis]:
    """A connection to Redis. Raises `Unavailable` if Redis cannot be reached within the block."""
    client = redis_client.connect(settings, redis.asyncio.Redis)
    scripts = Scripts(client, settings)
    try:
        await client.ping()
        yield _Redis(client, scripts)
    except (redis.RedisError, Unavailable) as error:
        raise Unavailable(f"Redis cannot be reached ({type(error).__name__}): check REDIS_URL") from error
    finally:
        scripts.close()
        await client.aclose()
