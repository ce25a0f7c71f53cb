"""A slot that is free and a job that is due find each other at once: here every timer of the workers is set to an hour."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.worker import Function

from shared.job import RUN_REQUEST
from shared.lanes import QueueName
from shared.queue.queue import Queue
from shared.settings import Settings
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job
from tests.harness.support import eventually, eventually_true
from tests.integration.counting import CountedClaims
from tests.integration.jobs import GEMINI, GEMINI_BATCH, OPENAI, OPENAI_BATCH, enqueue
from tests.integration.working import LONG_S, Gate, Process, a_process, function, put, working

ALL = [OPENAI, GEMINI, OPENAI_BATCH, GEMINI_BATCH]
SHARED: dict[str, Any] = {"queues": ALL, "slots": 10, "share_percent": 60, "reserved": 3}
"""A worker's six slots for one vendor, of which batch may take four."""
LANES = {OPENAI: 6, OPENAI_BATCH: 4}


def _a_worker(
    settings: Settings, gate: Gate, *functions: Function, **options: Any
) -> contextlib.AbstractAsyncContextManager[Process]:
    requests = function(gate.wait, name=RUN_REQUEST)
    return working(settings, requests, *functions, idle_wait_s=LONG_S, **{"slots": 1, **options})


async def _listeners(client: ArqRedis) -> int:
    return sum(one["cmd"] == "blpop" and "b" in one["flags"] for one in await client.client_list())


async def _listens(client: ArqRedis, workers: int = 1) -> None:
    async def they_do() -> bool:
        return await _listeners(client) == workers

    await eventually_true(they_do, f"{workers} wait for bells")


# -- one worker


@pytest.mark.parametrize("name", LANES)
async def test_a_freed_slot_of_a_full_share_takes_the_next_job_that_comes(
    name: QueueName, redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    gate, full = Gate(), LANES[name]
    async with _a_worker(settings, gate, **SHARED):
        for _ in range(full):
            await enqueue(queue, a_job(), name)
        await gate.has(full)
        for number in range(10):
            await _listens(redis_client)  # for the other vendor
            gate.let_go(gate.started[number])
            await gate.has(full - 1)
            await enqueue(queue, a_job(), name)
            await gate.has(full)


async def test_a_freed_slot_of_a_full_share_takes_the_job_that_waits(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    gate = Gate()
    async with _a_worker(settings, gate, **SHARED):
        for _ in range(26):
            await enqueue(queue, a_job())
        for number in range(20):
            await eventually(lambda: len(gate.started) == 6 + number, "the next one runs")  # noqa: B023
            gate.let_go(gate.started[number])
        await eventually(lambda: len(gate.started) == 26, "all have begun")


async def test_a_freed_slot_of_a_full_worker_takes_the_next_job_that_comes(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    gate = Gate()
    async with _a_worker(settings, gate):
        for number in range(10):
            await enqueue(queue, a_job())
            await gate.has(1)
            gate.let_go(gate.started[number])
            await gate.has(0)


async def test_a_full_share_of_one_vendor_delays_no_other(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    gate = Gate()
    async with _a_worker(settings, gate, **SHARED):
        for _ in range(8):
            await enqueue(queue, a_job())
        await gate.has(6)
        for number in range(4):
            await enqueue(queue, a_job(), GEMINI)
            await gate.has(7 + number)


async def test_a_batch_job_that_ends_frees_a_slot_for_an_interactive_one(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    gate = Gate()
    async with _a_worker(settings, gate, **SHARED):
        for number, name in enumerate([*[OPENAI_BATCH] * 4, OPENAI, OPENAI]):
            await enqueue(queue, a_job(), name)
            await gate.has(number + 1)
        await _listens(redis_client)
        gate.let_go(gate.started[0])
        await gate.has(5)
        await enqueue(queue, a_job())
        await gate.has(6)


async def test_a_light_load_costs_one_question_per_job(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    gate = Gate()
    gate.open()
    async with a_process(settings, function(gate.wait, name=RUN_REQUEST), idle_wait_s=LONG_S, **SHARED) as process:
        counted = process.worker._intake._queue = CountedClaims(process.queue)
        process.start()
        await _listens(redis_client)
        for number in range(20):
            await enqueue(queue, a_job())
            await eventually_true(lambda: _ended(gate, process, number + 1), "it has ended")  # noqa: B023
            await _listens(redis_client)
        assert counted.asked == 1 + 20
        process.stop()
        await process.ended()


async def _ended(gate: Gate, process: Process, number: int) -> bool:
    return len(gate.ended) == number and not process.worker.tasks


# -- several workers


async def test_a_full_worker_takes_no_ring_from_one_that_has_slots(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    gate = Gate()
    async with _a_worker(settings, gate, slots=5), _a_worker(settings, gate):
        await _listens(redis_client, 2)
        for number in range(6):
            await enqueue(queue, a_job())
            await gate.has(number + 1)
        for number in range(20):
            gate.let_go(gate.started[number])
            await gate.has(5)
            await enqueue(queue, a_job())
            await gate.has(6)


async def test_a_worker_that_filled_up_while_it_listened_hands_the_ring_on(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    gate = Gate()
    async with _a_worker(settings, gate, gate.function) as full:
        await _listens(redis_client)
        await put(redis_client, "wait")  # which rings no bell, as when a lease lapses or a deferred job's time comes
        full.worker._something_to_do.set()
        await gate.has(1)
        async with _a_worker(settings, gate, slots=5):
            await _listens(redis_client, 2)
            for number in range(5):
                await enqueue(queue, a_job())
                await gate.has(2 + number)


async def test_a_draining_worker_takes_no_ring_from_one_that_goes_on(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    old, new = Gate(), Gate()
    async with _a_worker(settings, old, slots=5) as stopping:
        await enqueue(queue, a_job())
        await old.has(1)
        await _listens(redis_client)
        async with _a_worker(settings, new, slots=5):
            await _listens(redis_client, 2)
            stopping.stop()
            await _listens(redis_client, 1)  # the other one
            for number in range(5):
                await enqueue(queue, a_job())
                await new.has(number + 1)
            old.open()
            await stopping.ended()


async def test_a_ring_that_was_lost_with_its_connection_is_made_good(
    redis_client: ArqRedis, settings: Settings
) -> None:
    gate = Gate()
    async with _a_worker(settings, gate, gate.function):
        for number in range(5):
            await _listens(redis_client)
            await put(redis_client, "wait")  # whose ring is lost
            await redis_client.client_kill_filter(_type="normal", skipme=True)
            await gate.has(1)
            gate.let_go(gate.started[number])
            await gate.has(0)


async def test_a_claim_that_redis_refused_as_late_is_made_again(
    redis_client: ArqRedis, queue: Queue, settings: Settings
) -> None:
    gate = Gate()
    async with _a_worker(settings, gate) as process:
        await _listens(redis_client)
        assert process.queue._clock.ahead_ms is not None
        process.queue._clock.ahead_ms -= 60_000  # as if the claim had been under way for a minute
        await enqueue(queue, a_job())
        await gate.has(1)


@pytest.mark.parametrize("workers", [1, 2, 4])
async def test_no_caller_waits_for_a_timer_however_many_there_are(
    workers: int, redis_client: ArqRedis, lua: Scripts, settings: Settings
) -> None:
    """Callers of one vendor, more than its slots, who ask again as soon as they are answered."""
    deep = Queue(lua, lease_s=10, keep_run_s=60, depth_max=1_000)
    answered = dict.fromkeys((OPENAI, GEMINI, OPENAI_BATCH), 0)
    done: dict[str, asyncio.Future[None]] = {}

    async def answer(ctx: dict[str, Any], *_: object) -> None:
        done.pop(ctx["job_id"]).set_result(None)

    async def caller(name: QueueName) -> None:
        for _ in range(50):
            job = a_job()
            answer_came = done[job.id] = asyncio.get_running_loop().create_future()
            await enqueue(deep, job, name)
            await answer_came
            answered[name] += 1

    async with contextlib.AsyncExitStack() as stack:
        for _ in range(workers):
            requests = function(answer, name=RUN_REQUEST)
            await stack.enter_async_context(working(settings, requests, idle_wait_s=LONG_S, **SHARED))
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for name in (*[OPENAI] * 30, *[GEMINI] * 3, *[OPENAI_BATCH] * 5):
                group.create_task(caller(name))
    assert answered == {OPENAI: 1_500, GEMINI: 150, OPENAI_BATCH: 250}
