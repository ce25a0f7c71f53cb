"""Waits until every living worker has confirmed an operator's change, which takes effect only then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from shared.errors import Unavailable
from shared.lanes import provider_of
from shared.operators.switches import SwitchedOff, switched_off
from shared.queue.heartbeat import Heartbeat, living_workers
from shared.stores import postgres, redis_client

if TYPE_CHECKING:
    import asyncpg
    import redis.asyncio

    from shared.settings import Settings

LOOK_S = 0.1
NAMED_MAX = 5


class Change(NamedTuple):
    """A change by an operator. `stands` says whether it is still in force, `heard` whether a worker has confirmed it."""

    stands: Callable[[SwitchedOff], bool]
    heard: Callable[[Heartbeat], bool]


def provider_paused(provider: str, *, paused: bool) -> Change:
    """The change after which workers take no jobs of the provider or, unless `paused`, take them again."""

    def heard(worker: Heartbeat) -> bool:
        return (provider in worker.paused) == paused or all(provider_of(queue) != provider for queue in worker.claims)

    return Change(lambda off: (provider in off.paused) == paused, heard)


def worker_drained(worker_id: str) -> Change:
    """The change after which this worker takes no jobs; the others need not confirm it."""
    return Change(lambda off: worker_id in off.draining, lambda worker: worker.id != worker_id or worker.draining)


def upstream_drained(name: str, *, drained: bool) -> Change:
    """The change after which workers do not call the upstream or, unless `drained`, call it again."""
    return Change(
        lambda off: (name in off.drained) == drained,
        lambda worker: name not in worker.upstreams or (name in worker.drained) == drained,
    )


async def until_heard(pool: asyncpg.Pool, client: redis.asyncio.Redis, change: Change, settings: Settings) -> None:
    """Wait until every living worker has confirmed the change, or until it has been undone: then no worker will confirm
    it.

    Raises `Unavailable` with the ids of the workers that have not confirmed it within twice `WORKER_SEEN_S`. A worker
    that has died is forgotten by then, so these are alive and cannot reach Postgres. Raises `Unavailable`, too, if
    Redis or Postgres does not answer.
    """
    within_s = 2 * settings.worker_seen_s
    ends = time.monotonic() + within_s
    try:
        while behind := [worker.id for worker in await living_workers(client) if not change.heard(worker)]:
            if not change.stands(await switched_off(pool)):
                return
            if time.monotonic() >= ends:
                more = f" and {len(behind) - NAMED_MAX} more" if len(behind) > NAMED_MAX else ""
                raise Unavailable(
                    f"The change is stored, but within {within_s:g} s these workers have not said that they heard of it: "
                    f"{', '.join(behind[:NAMED_MAX])}{more}. Do it again to wait on; look whether they reach Postgres."
                )
            await asyncio.sleep(LOOK_S)
    except redis_client.UNREACHABLE as error:
        raise Unavailable(
            "The change is stored, but Redis does not say whether workers have heard of it: do it again to wait for them."
        ) from error
    except postgres.UNREACHABLE as error:
        raise Unavailable(
            "The change is stored, but Postgres does not say whether it stands still: do it again to wait for workers."
        ) from error
