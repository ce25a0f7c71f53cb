"""The heartbeats of workers: which workers are alive, and which queues and APIs each serves. Workers write them, front
doors read them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from shared.lanes import QueueName, provider_of
from shared.runtime.last_minute import Lately
from shared.stores import keys

if TYPE_CHECKING:
    import redis.asyncio

    from shared.catalogue.models import Model


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """The heartbeat of one worker. `queues`: the queues that it was told to serve; `claims`: those that it takes jobs
    from, because it has the vendor's credentials. `services`: what it can call, each an API or an API with a key of its
    own (`Model.service`); `unserved`: the models (`Model.place`) of these that none of its upstreams serves.
    `upstreams`: names and fingerprints of its upstreams; `providers`: their providers. `paused` and `drained`: the
    paused providers and the drained upstreams that it knows. `lately`: its figures of the last minute, by vendor.
    """

    id: str
    queues: tuple[QueueName, ...]
    claims: tuple[QueueName, ...]
    services: tuple[str, ...]
    slots: int
    running: int
    draining: bool = False
    upstreams: dict[str, str] = {}
    providers: dict[str, str] = {}
    unserved: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()
    drained: tuple[str, ...] = ()
    lately: dict[str, Lately] = {}
    host: str = ""
    version: str = ""

    def takes(self, queue: QueueName) -> bool:
        """True if the worker takes jobs from the queue now."""
        return queue in self.claims and not self.draining and provider_of(queue) not in self.paused


def serve(workers: Iterable[Heartbeat], model: Model, queue: QueueName) -> bool:
    """True if a request for `model` in that queue would run now: some worker takes jobs from the queue, and all that do can
    call the model.
    """
    takers = takers_of(workers, queue)
    return bool(takers) and all(
        model.service in worker.services and model.place not in worker.unserved for worker in takers
    )


def lack(workers: Sequence[Heartbeat], model: Model, queue: QueueName) -> bool:
    """True if workers take jobs from that queue, but none of them can call the model; then waiting is useless."""
    if serve(workers, model, queue):
        return False
    return bool(takers_of(workers, queue)) or any(
        queue in worker.queues and queue not in worker.claims for worker in workers
    )


def takers_of(workers: Iterable[Heartbeat], queue: QueueName) -> list[Heartbeat]:
    """Workers that take jobs from the queue now."""
    return [worker for worker in workers if worker.takes(queue)]


async def announce(client: redis.asyncio.Redis, heartbeat: Heartbeat, live_s: float) -> None:
    """Publish a heartbeat that lives for `live_s` seconds. Raises redis-py's errors."""
    async with client.pipeline(transaction=False) as pipe:
        pipe.set(keys.worker(heartbeat.id), msgspec.json.encode(heartbeat), px=int(live_s * 1000))
        pipe.sadd(keys.WORKERS, heartbeat.id)
        await pipe.execute()


async def say_goodbye(client: redis.asyncio.Redis, worker_id: str) -> None:
    """Remove a worker's heartbeat at once, without waiting for it to expire. Raises redis-py's errors."""
    await client.delete(keys.worker(worker_id))
    await client.srem(keys.WORKERS, worker_id)  # type: ignore[misc]


def differing(workers: Iterable[Heartbeat]) -> dict[tuple[QueueName, str], list[str]]:
    """By queue and upstream of its provider, the ids of the workers whose row of the upstream differs from that of most
    workers, or is missing. Workers of a release that knows no upstreams are left out.
    """
    workers = list(workers)
    providers = {name: provider for worker in workers for name, provider in worker.providers.items()}
    takers: dict[QueueName, list[Heartbeat]] = {}
    for worker in workers:
        for queue in worker.claims if worker.upstreams and not worker.draining else ():
            takers.setdefault(queue, []).append(worker)
    found: dict[tuple[QueueName, str], list[str]] = {}
    for queue, ours in takers.items():
        of_queue = provider_of(queue)
        for name in sorted({name for worker in ours for name in worker.upstreams}):
            if providers.get(name, of_queue) != of_queue:
                continue
            usual = Counter(worker.upstreams.get(name) for worker in ours).most_common(1)[0][0]
            if others := [worker.id for worker in ours if worker.upstreams.get(name) != usual]:
                found[queue, name] = others
    return found


async def living_workers(client: redis.asyncio.Redis) -> list[Heartbeat]:
    """All workers whose heartbeat has not expired; forgets the others. Raises redis-py's errors."""
    ids = sorted(member.decode() for member in await client.smembers(keys.WORKERS))  # type: ignore[misc]
    if not ids:
        return []
    documents = await client.mget([keys.worker(worker_id) for worker_id in ids])
    silent = [worker_id for worker_id, document in zip(ids, documents, strict=True) if document is None]
    if silent:
        await client.srem(keys.WORKERS, *silent)  # type: ignore[misc]
    return [heartbeat for document in documents if document is not None and (heartbeat := _readable(document))]


def _readable(document: bytes) -> Heartbeat | None:
    """The decoded heartbeat; None if another release has written it in another form."""
    try:
        return msgspec.json.decode(document, type=Heartbeat)
    except msgspec.DecodeError:
        return None
