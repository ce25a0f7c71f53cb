"""Workers for tests: each with connections and scripts of its own, as a process has them, and jobs that wait to be told."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from signal import SIGTERM
from typing import Any

from arq.connections import ArqRedis
from arq.jobs import Job
from arq.worker import Function, func

from shared.ids import new_id
from shared.job import arq_deserializer, arq_serializer
from shared.lanes import QueueName
from shared.ledger.endings import Endings
from shared.ledger.settler import Settler
from shared.queue.queue import Queue
from shared.runtime.growing_room import GrowingRoom
from shared.settings import Settings
from shared.stores.redis_client import connect as connect_redis
from shared.stores.scripts import Scripts
from tests.harness.routing import routes_to
from tests.harness.support import eventually
from tests.integration.jobs import OPENAI
from workers.loop.leased_worker import LeasedWorker
from workers.loop.slots import Slots
from workers.providers.protocol import Provider
from workers.request.journal_writer import JournalFlusher
from workers.request.runner import RUNNER, Runner
from workers.upstreams.paces import Paces

A_MOMENT_S = 0.01
LONG_S = 3_600.0
"""A lease, a drain or a deferral that no test waits for."""


def function(coroutine: Any, *, name: str, **options: Any) -> Function:
    """A function as arq registers it."""
    return func(coroutine, name=name, **options)


class Gate:
    """An arq function, `wait`, whose jobs report that they have started and run until they are let go."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []
        self.cancelled: list[str] = []
        self._open = False
        self._doors: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.function = function(self.wait, name="wait")

    async def wait(self, ctx: dict[str, Any], *_: object) -> str:
        self.started.append(ctx["job_id"])
        try:
            if not self._open:
                await self._doors[ctx["job_id"]].wait()
        except asyncio.CancelledError:
            self.cancelled.append(ctx["job_id"])
            raise
        self.ended.append(ctx["job_id"])
        return "done"

    @property
    def running(self) -> set[str]:
        return set(self.started) - set(self.ended) - set(self.cancelled)

    def open(self) -> None:
        """Let every job go, those to come too."""
        self._open = True
        for door in self._doors.values():
            door.set()

    def let_go(self, job_id: str) -> None:
        """Let this job go."""
        self._doors[job_id].set()

    async def has(self, number: int) -> None:
        """Wait until that many jobs run."""
        await eventually(lambda: len(self.running) == number, f"{number} jobs run, not {len(self.running)}")


class Process:
    """A worker with what belongs to its process alone."""

    def __init__(self, worker: LeasedWorker, queue: Queue, lua: Scripts) -> None:
        self.worker = worker
        self.queue = queue
        self.lua = lua
        self.main: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.main = asyncio.ensure_future(self.worker.async_run())

    def stop(self) -> None:
        """Send the signal that asks to drain."""
        self.worker.handle_sig(SIGTERM)

    def kill(self) -> None:
        """As kill -9 would: from here on nothing of it reaches Redis."""
        self.lua.close()
        if self.main and self.worker.main_task:
            self.worker.main_task.cancel()

    async def end(self) -> None:
        """End what it still does. Nothing of it is left for later tests, which share the event loop."""
        self.stop()
        self.stop()
        for task in self.worker.job_tasks.values():
            task.cancel()
        if self.main:
            await asyncio.gather(self.main, return_exceptions=True)

    async def ended(self) -> None:
        """Wait until it has drained."""
        assert self.main is not None
        await asyncio.wait_for(asyncio.shield(self.main), 20)


@contextlib.asynccontextmanager
async def a_process(
    settings: Settings,
    *functions: Function,
    queues: Sequence[QueueName] = (OPENAI,),
    slots: int = 10,
    reserved: int = 0,
    share_percent: int = 100,
    lease_s: float = LONG_S,
    drain_s: float = LONG_S,
    idle_wait_s: float = 0.05,
    **arq: Any,
) -> AsyncIterator[Process]:
    """A worker that has not been started; when the block ends, so does the worker."""
    client: ArqRedis = connect_redis(settings, kind=ArqRedis)
    client.job_serializer, client.job_deserializer = arq_serializer, arq_deserializer
    lua = Scripts(client, settings)
    queue = Queue(lua, lease_s=lease_s, keep_run_s=60, depth_max=1_000)
    ours = {"redis_pool": client, "handle_signals": False, "allow_abort_jobs": True}
    serializers = {"job_serializer": arq_serializer, "job_deserializer": arq_deserializer}
    worker = LeasedWorker(
        functions,
        worker_id=new_id("wrk"),
        queue=queue,
        slots=Slots(queues=queues, total=slots, reserved=reserved, share_percent=share_percent),
        lease_s=lease_s,
        drain_s=drain_s,
        idle_wait_s=idle_wait_s,
        **{**ours, **serializers, **arq},
    )
    process = Process(worker, queue, lua)
    try:
        yield process
    finally:
        await process.end()
        lua.close()
        await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
        await client.aclose()


@contextlib.asynccontextmanager
async def working(settings: Settings, *functions: Function, **options: Any) -> AsyncIterator[Process]:
    """A worker that runs; what it still does when the block ends is cancelled."""
    async with a_process(settings, *functions, **options) as process:
        process.start()
        yield process


def hand_runner(
    process: Process,
    vendor: Provider,
    flusher: JournalFlusher,
    settler: Settler,
    endings: Endings,
    settings: Settings,
) -> None:
    """What a worker's `main` gives it to run requests, with that vendor."""
    runner = Runner(
        routes=routes_to(vendor, "openai-chat", paces=Paces(process.lua, settings)),
        redis=process.worker.pool,
        queue=process.queue,
        flusher=flusher,
        settler=settler,
        endings=endings,
        answers=GrowingRoom(
            "vendor answers", total=settings.answers_running_bytes_max, free=settings.short_answer_bytes_max
        ),
        settings=settings,
    )
    process.worker.ctx[RUNNER] = runner


async def put(client: ArqRedis, function: str, *arguments: object, name: QueueName = OPENAI, **options: Any) -> Job:
    """Enqueue a job as any user of arq does, which rings no bell. Unless it is deferred it is due a moment ago: arq rounds
    its time up, and a worker that claims in the same millisecond would not find it.
    """
    when = options if options.keys() & {"_defer_by", "_defer_until"} else {"_defer_by": -A_MOMENT_S, **options}
    job = await client.enqueue_job(function, *arguments, _queue_name=name, **when)
    assert job is not None
    return job


async def result_of(job: Job) -> Any:
    """The job's result, or its error raised."""
    return await job.result(timeout=20, poll_delay=0.02)
