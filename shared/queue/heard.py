"""Waiting until every living worker has heard of an operator's switch: it takes effect only then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from shared.errors import Unavailable
from shared.lanes import provider_of
from shared.queue.heartbeat import Heartbeat, living_workers
from shared.stores.redis_client import UNREACHABLE

if TYPE_CHECKING:
    import redis.asyncio

    from shared.settings import Settings

LOOK_S = 0.1
NAMED_MAX = 5
Heard = Callable[[Heartbeat], bool]


def pause_heard(provider: str, *, paused: bool) -> Heard:
    """A test of whether a worker has stopped taking jobs of the provider or, unless `paused`, may take them again."""

    def heard(worker: Heartbeat) -> bool:
        return (provider in worker.paused) == paused or all(provider_of(queue) != provider for queue in worker.claims)

    return heard


def worker_drain_heard(worker_id: str) -> Heard:
    """A test of whether this worker has stopped taking jobs; true for other workers."""
    return lambda worker: worker.id != worker_id or worker.draining


def upstream_drain_heard(name: str, *, drained: bool) -> Heard:
    """A test of whether a worker has stopped calling the upstream or, unless `drained`, may call it again."""
    return lambda worker: name not in worker.upstreams or (name in worker.drained) == drained


async def until_heard(client: redis.asyncio.Redis, heard: Heard, settings: Settings) -> None:
    """Wait until `heard` is true of every living worker.

    Raises `Unavailable` with the ids of the workers that have not reported it within twice `WORKER_SEEN_S`. A worker that
    has died is forgotten by then, so these are alive and cannot reach Postgres. Raises `Unavailable`, too, if Redis does
    not answer.
    """
    within_s = 2 * settings.worker_seen_s
    ends = time.monotonic() + within_s
    try:
        while behind := [worker.id for worker in await living_workers(client) if not heard(worker)]:
            if time.monotonic() >= ends:
                more = f" and {len(behind) - NAMED_MAX} more" if len(behind) > NAMED_MAX else ""
                raise Unavailable(
                    f"The change is stored, but within {within_s:g} s these workers have not said that they heard of it: "
                    f"{', '.join(behind[:NAMED_MAX])}{more}. Do it again to wait on; look whether they reach Postgres."
                )
            await asyncio.sleep(LOOK_S)
    except UNREACHABLE as error:
        raise Unavailable(
            "The change is stored, but Redis does not say whether workers have heard of it: do it again to wait for them."
        ) from error
