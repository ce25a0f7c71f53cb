"""A worker runs the large jobs that it has memory for, and small ones meanwhile. Every timer of a worker is an hour."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
from arq.connections import ArqRedis

from shared.chat import Message
from shared.job import RUN_REQUEST, Sealed, unpack_job
from shared.lanes import QueueName
from shared.queue.queue import PAYLOAD_BYTES_MAX, Queue
from shared.settings import Settings
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job
from tests.harness.support import eventually, eventually_true
from tests.integration.counting import CountedClaims
from tests.integration.jobs import GEMINI, GEMINI_BATCH, OPENAI, OPENAI_BATCH, enqueue
from tests.integration.working import LONG_S, Gate, Process, a_process, function, working

ALL = [OPENAI, GEMINI, OPENAI_BATCH, GEMINI_BATCH]
KB = 1_000
MEMORY_KB = 1_000


class Large:
    """Jobs of so many kilobytes, of accounts of their own unless one is named."""

    def __init__(self, queue: Queue, gate: Gate) -> None:
        self._queue = queue
        self._gate = gate
        self._accounts = 0

    async def wait(self, kilobytes: int, name: QueueName = OPENAI, account: str | None = None) -> str:
        self._accounts += 1
        text = "x" * (kilobytes * KB - 2_000)
        job = a_job(account_id=account or f"acc_{self._accounts}", messages=[Message("user", text)])
        await enqueue(self._queue, job, name)
        return job.id

    async def runs(self, *job_ids: str) -> None:
        """Exactly these run."""
        await eventually(lambda: self._gate.running == set(job_ids), "they run, and no others")

    async def end(self, *job_ids: str) -> None:
        for job_id in job_ids:
            self._gate.let_go(job_id)
        await eventually(lambda: set(job_ids) <= set(self._gate.ended), "they have ended")


def _worker(
    settings: Settings, gate: Gate, memory_kb: int = MEMORY_KB, queues: Sequence[QueueName] = (OPENAI,), **options: Any
) -> contextlib.AbstractAsyncContextManager[Process]:
    requests = function(gate.wait, name=RUN_REQUEST)
    return working(
        settings, requests, queues=queues, memory_max=memory_kb * KB, idle_wait_s=LONG_S, **{"slots": 10, **options}
    )


async def _is_held_up(client: ArqRedis, name: QueueName) -> None:
    async def it_is() -> bool:
        return bool(await client.exists(keys.held_up(name)))

    await eventually_true(it_is, "a worker has no memory for a job")


async def test_a_worker_runs_as_many_as_it_has_memory_for(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    gate = Gate()
    large = Large(queue, gate)
    async with _worker(settings, gate):
        waiting = [await large.wait(400) for _ in range(6)]
        for number in range(4):
            await large.runs(*waiting[number : number + 2])
            await large.end(waiting[number])
        gate.open()
        await eventually(lambda: len(gate.ended) == 6, "all have ended")


async def test_small_jobs_never_wait_for_memory(redis_client: ArqRedis, queue: Queue, settings: Settings) -> None:
    gate = Gate()
    large = Large(queue, gate)
    async with _worker(settings, gate):
        first, _ = await large.wait(900), await large.wait(900)
        await large.runs(first)
        for number in range(5):
            await enqueue(queue, small := a_job())
            await large.runs(first, small.id)
            await large.end(small.id)
            assert len(gate.started) == number + 2


async def test_one_that_is_larger_than_all_memory_runs_when_no_other_large_one_does(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    gate = Gate()
    large = Large(queue, gate)
    async with _worker(settings, gate):
        before = [await large.wait(400) for _ in range(2)]
        await large.runs(*before)
        huge = await large.wait(5_000)
        after = await large.wait(100)
        await large.end(before[0])
        await large.runs(before[1])
        await large.end(before[1])
        await large.runs(huge)
        await large.end(huge)
        await large.runs(after)
        gate.open()


async def test_large_jobs_that_would_fit_do_not_keep_a_larger_one_waiting(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    """Of its vendor or of another; not even when its queue comes last."""
    gate = Gate()
    large = Large(queue, gate)
    async with _worker(settings, gate, queues=ALL):
        running = [await large.wait(300) for _ in range(3)]
        await large.runs(*running)
        larger = await large.wait(800, GEMINI)
        await _is_held_up(redis_client, GEMINI)
        others = [await large.wait(100, name) for name in (OPENAI, GEMINI, OPENAI, OPENAI_BATCH)]
        await large.end(running[0], running[1])
        await large.runs(running[2])
        await large.end(running[2])
        await large.runs(larger, *others[:2])
        gate.open()
        await eventually(lambda: len(gate.ended) == 8, "all have ended")


async def test_batch_lines_keep_no_interactive_request_waiting_for_memory(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    gate = Gate()
    large = Large(queue, gate)
    async with _worker(settings, gate, queues=ALL):
        running = await large.wait(600)
        await large.runs(running)
        line = await large.wait(900, OPENAI_BATCH)
        await _is_held_up(redis_client, OPENAI_BATCH)
        interactive = await large.wait(300, GEMINI)
        await large.runs(running, interactive)
        await large.end(running, interactive)
        await large.runs(line)
        gate.open()


async def test_a_worker_that_has_no_memory_leaves_a_large_job_to_one_that_has(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    full, free = Gate(), Gate()
    large = Large(queue, full)
    async with _worker(settings, full):
        await large.runs(*[await large.wait(500) for _ in range(1)])
        async with _worker(settings, free, memory_kb=2_000):
            for number in range(4):
                await large.wait(800)
                await eventually(lambda: len(free.running | full.running) == 2, "it runs")
                assert len(full.running) == 1, number
                await Large(queue, free).end(*free.running)
            free.open()
        full.open()


async def test_a_worker_hears_when_another_has_taken_what_it_had_no_memory_for(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    """What comes behind it may fit."""
    one, other = Gate(), Gate()
    large = Large(queue, one)
    async with _worker(settings, one, memory_kb=500):
        await large.runs(await large.wait(300))
        await large.wait(900)
        fits = await large.wait(100)
        async with _worker(settings, other, memory_kb=1_000, slots=1):
            await eventually(lambda: len(other.running) == 1, "the larger one runs")
            await eventually(lambda: fits in one.running, "the smaller one runs")
            other.open()
        one.open()


@pytest.mark.parametrize("workers", [1, 2])
async def test_workers_without_memory_ask_once_for_each_job_that_comes(
    workers: int, redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    """And do not hand its ring to and fro."""
    gate = Gate()
    large = Large(queue, gate)
    async with contextlib.AsyncExitStack() as stack:
        counted = []
        for number in range(workers):
            process = await stack.enter_async_context(_worker(settings, gate))
            counted.append(CountedClaims(process.queue))
            process.worker._intake._queue = counted[-1]
            await large.wait(900)
            await eventually(lambda: len(gate.running) == number + 1, "it runs")  # noqa: B023
        for _ in range(3):
            await large.wait(900)
            await _is_held_up(redis_client, OPENAI)
            await asyncio.sleep(0.2)
        assert sum(one.asked for one in counted) <= 2 * workers + 3 * workers
        gate.open()
        await eventually(lambda: len(gate.ended) == workers + 3, "all have ended")


async def test_a_worker_hears_when_what_it_had_no_memory_for_is_buried(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    gate = Gate()
    large = Large(queue, gate)
    async with _worker(settings, gate):
        running = await large.wait(300)
        await large.runs(running)
        larger, fits = await large.wait(900), await large.wait(100)
        assert await queue.bury(larger, OPENAI)
        await large.runs(running, fits)
        gate.open()


@pytest.mark.parametrize("workers", [1, 3])
async def test_nobody_waits_for_a_timer_whatever_the_sizes(
    workers: int, redis_client: ArqRedis, lua: Scripts, settings: Settings
) -> None:
    """Callers with requests of all sizes, who ask again as soon as they are answered."""
    deep = Queue(lua, lease_s=60, keep_run_s=60, depth_max=1_000, enqueue_within_s=60)
    sizes_kb = (0, 0, 70, 150, 400, 900, 1_500)
    done: dict[str, asyncio.Future[None]] = {}
    answered = 0

    async def answer(ctx: dict[str, Any], *_: object) -> None:
        await asyncio.sleep(0)
        done.pop(ctx["job_id"]).set_result(None)

    async def caller(number: int) -> None:
        nonlocal answered
        name = ALL[number % len(ALL)]
        for ask in range(12):
            text = "x" * sizes_kb[(number + ask) % len(sizes_kb)] * KB
            job = a_job(account_id=f"acc_{number % 5}", messages=[Message("user", text)])
            answer_came = done[job.id] = asyncio.get_running_loop().create_future()
            await enqueue(deep, job, name)
            await answer_came
            answered += 1

    async with contextlib.AsyncExitStack() as stack:
        for _ in range(workers):
            requests = function(answer, name=RUN_REQUEST)
            options: dict[str, Any] = {"queues": ALL, "slots": 6, "share_percent": 60, "reserved": 2}
            worker = working(settings, requests, memory_max=MEMORY_KB * KB, idle_wait_s=LONG_S, **options)
            await stack.enter_async_context(worker)
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            for number in range(16):
                group.create_task(caller(number))
    assert answered == 16 * 12


async def test_a_payload_is_let_go_once_it_has_been_unpacked(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    """Whether it came with its claim or was asked for; arq would hold on to it until the job has ended."""
    unpacked: list[str] = []

    async def read(ctx: dict[str, Any], payload: Sealed) -> None:
        unpacked.append(unpack_job(payload.data).id)
        payload.data = b""
        frames = [frame.f_locals for frame in _frames_of(worker.tasks[ctx["job_id"]])]
        held.append(max(len(value) for local in frames for value in local.values() if isinstance(value, bytes)))

    held: list[int] = []
    jobs = [a_job(messages=[Message("user", "x" * size)]) for size in (1, 100 * KB, PAYLOAD_BYTES_MAX * 2)]
    async with a_process(settings, function(read, name=RUN_REQUEST), idle_wait_s=LONG_S) as process:
        worker = process.worker
        process.start()
        for job in jobs:
            await enqueue(queue, job)
            await eventually(lambda: job.id in unpacked and not worker.tasks, "it has run")  # noqa: B023
        process.stop()
        await process.ended()
    assert unpacked == [job.id for job in jobs]
    assert max(held) < 100


def _frames_of(task: asyncio.Task[Any]) -> list[Any]:
    """Those of the coroutines that it waits in, one within the other."""
    frames: list[Any] = []
    inner: Any = task.get_coro()
    while inner is not None and getattr(inner, "cr_frame", None):
        frames.append(inner.cr_frame)
        inner = getattr(inner, "cr_await", None)
    return frames


async def test_no_jobs_are_taken_while_the_worker_says_so(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    gate = Gate()
    may = False
    requests = function(gate.wait, name=RUN_REQUEST)
    async with working(settings, requests, may_claim=lambda: may, idle_wait_s=0.05):
        await enqueue(queue, job := a_job())
        await asyncio.sleep(0.3)
        assert not gate.started
        may = True
        await eventually(lambda: gate.started == [job.id], "it is taken")
        gate.open()
