"""What our worker does that arq's does not: leases, takeovers, fences, priorities, fair shares, and a patient drain."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.constants import abort_jobs_ss, job_key_prefix
from arq.jobs import Job, JobStatus
from arq.worker import Retry

from shared.lanes import QueueName
from shared.queue.queue import Queue
from shared.settings import Settings
from shared.stores import keys
from tests.harness.support import eventually, eventually_true
from tests.integration.jobs import GEMINI, OPENAI, OPENAI_BATCH, let_lease_lapse
from tests.integration.working import LONG_S, Gate, a_process, function, put, result_of, working
from workers.loop.lease import own_lease

SHORT_LEASE_S = 1.0


async def _put_many(client: ArqRedis, number: int, name: QueueName = OPENAI) -> list[Job]:
    return [await put(client, "wait", name=name) for _ in range(number)]


async def _is_due(client: ArqRedis, job_id: str) -> bool:
    """In its queue, nobody's, and not deferred."""
    seconds, _ = await client.time()
    score = await client.zscore(OPENAI, job_id)
    return score is not None and score <= (seconds + 1) * 1000


# -- slots and priorities


async def test_every_slot_of_every_worker_runs_a_job(redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(working(settings, gate.function, slots=40))
        jobs = await _put_many(redis_client, 130)  # stock arq's workers would run 100 of them, together
        await gate.has(120)
        gate.open()
        assert [await result_of(job) for job in jobs] == ["done"] * 130
    assert len(gate.started) == 130


async def test_the_end_of_a_job_is_the_next_ones_beginning_where_more_wait(
    redis_client: ArqRedis, settings: Settings
) -> None:
    gate = Gate()
    gate.open()
    jobs = await _put_many(redis_client, 5)
    async with a_process(settings, gate.function, slots=1) as process:
        process.worker._idle_wait_s = LONG_S
        process.start()
        assert [await result_of(job) for job in jobs] == ["done"] * 5
        process.stop()
        await process.ended()


async def test_redis_is_asked_for_jobs_only_when_there_may_be_some(redis_client: ArqRedis, settings: Settings) -> None:
    gate, asked = Gate(), 0
    gate.open()
    async with a_process(settings, gate.function) as process:
        claim = process.queue.claim

        async def counted(*arguments: Any) -> Any:
            nonlocal asked
            asked += 1
            return await claim(*arguments)

        process.queue.claim = counted  # type: ignore[assignment, method-assign]
        process.worker._idle_wait_s = LONG_S
        process.start()
        await eventually_true(lambda: _listens(redis_client), "the worker listens to its bell")
        job = await put(redis_client, "wait")
        await redis_client.lpush(keys.bell(OPENAI), job.job_id)  # type: ignore[misc]
        assert await result_of(job) == "done"
        await eventually(lambda: not process.worker.leases.held, "the job has ended")
        await asyncio.sleep(0.1)
        assert asked == 2, "once at the start and once for the bell"
        process.stop()
        await process.ended()


async def test_a_job_starts_when_the_bell_rings_and_not_at_the_next_poll(
    redis_client: ArqRedis, settings: Settings
) -> None:
    gate = Gate()
    async with a_process(settings, gate.function) as process:
        process.worker._idle_wait_s = LONG_S
        process.start()
        await eventually_true(lambda: _listens(redis_client), "the worker listens to its bell")
        job = await put(redis_client, "wait")
        await redis_client.lpush(keys.bell(OPENAI), job.job_id)  # type: ignore[misc] # as every enqueue of ours does
        await gate.has(1)
        gate.open()
        process.stop()
        await process.ended()


async def _listens(client: ArqRedis) -> bool:
    return any(one["cmd"] == "blpop" for one in await client.client_list())


async def test_interactive_jobs_start_before_batch_jobs_that_wait_longer(
    redis_client: ArqRedis, settings: Settings
) -> None:
    gate = Gate()
    gate.open()
    batch = await _put_many(redis_client, 5, OPENAI_BATCH)
    interactive = await _put_many(redis_client, 2)
    async with working(settings, gate.function, queues=[OPENAI, OPENAI_BATCH], slots=1):
        await eventually(lambda: len(gate.ended) == 7, "all have run")
    assert set(gate.ended[:2]) == {job.job_id for job in interactive}
    assert set(gate.ended[2:]) == {job.job_id for job in batch}


async def test_one_provider_leaves_the_others_their_share(redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()
    silent = {job.job_id for job in await _put_many(redis_client, 20)}
    async with working(settings, gate.function, queues=[OPENAI, GEMINI], slots=10, share_percent=60):
        await gate.has(6)
        await _put_many(redis_client, 10, GEMINI)
        await gate.has(10)
        assert len(gate.running & silent) == 6


async def test_a_providers_share_counts_both_its_lanes_in_one_claim(redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()
    await _put_many(redis_client, 20)
    await _put_many(redis_client, 20, OPENAI_BATCH)
    async with working(settings, gate.function, queues=[OPENAI, OPENAI_BATCH, GEMINI], slots=10, share_percent=60):
        await gate.has(6)
        await _put_many(redis_client, 10, GEMINI)
        await gate.has(10)


async def test_batch_leaves_the_reserved_slots_to_interactive(redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()
    batch = {job.job_id for job in await _put_many(redis_client, 20, OPENAI_BATCH)}
    async with working(settings, gate.function, queues=[OPENAI, OPENAI_BATCH], slots=10, reserved=4):
        await gate.has(6)
        await _put_many(redis_client, 10)
        await gate.has(10)
        assert len(gate.running & batch) == 6


# -- leases


async def test_a_killed_workers_job_is_taken_over_and_finished_once(redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()
    async with working(settings, gate.function) as killed:
        job = await put(redis_client, "wait")
        await gate.has(1)
        killed.kill()
        async with working(settings, gate.function) as other:
            await let_lease_lapse(redis_client, job.job_id)
            await eventually(lambda: len(gate.started) == 2, "the other worker has it")
            assert other.worker.leases[job.job_id].claim.epoch == 2
            gate.open()
            assert await result_of(job) == "done"
            info = await job.result_info()
            assert info is not None
            assert info.job_try == 2


async def test_a_paused_workers_finish_is_fenced(redis_client: ArqRedis, settings: Settings) -> None:
    mine, theirs = Gate(), Gate()
    async with working(settings, mine.function) as paused, working(settings, theirs.function) as other:
        other.worker.allow_pick_jobs = False
        job = await put(redis_client, "wait")
        await mine.has(1)
        paused.worker.allow_pick_jobs = False
        other.worker.allow_pick_jobs = True
        await let_lease_lapse(redis_client, job.job_id)
        await theirs.has(1)
        mine.open()
        await eventually(lambda: not paused.worker.tasks, "the paused worker is through")
        assert await job.status() is JobStatus.in_progress
        owner = other.worker.leases[job.job_id].claim.owner
        assert await redis_client.get(f"arq:in-progress:{job.job_id}") == f"{owner}:2".encode()
        theirs.open()
        assert await result_of(job) == "done"


async def test_a_worker_that_lost_its_lease_cancels_the_job_and_leaves_it_alone(
    redis_client: ArqRedis, settings: Settings
) -> None:
    gate = Gate()
    async with working(settings, gate.function, lease_s=SHORT_LEASE_S) as loser:
        job = await put(redis_client, "wait")
        await gate.has(1)
        loser.stop()
        await redis_client.hincrby(keys.run(job.job_id), "epoch", 1)  # type: ignore[misc] # as another's claim does
        await loser.ended()
        assert gate.cancelled == [job.job_id]
    assert await redis_client.exists(job_key_prefix + job.job_id)
    assert await redis_client.zscore(OPENAI, job.job_id) is not None
    assert await job.result_info() is None


async def test_leases_are_renewed_as_long_as_a_job_runs(redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()
    async with working(settings, gate.function, lease_s=SHORT_LEASE_S):
        job = await put(redis_client, "wait")
        await gate.has(1)
        first = await redis_client.zscore(OPENAI, job.job_id)

        async def renewed() -> bool:
            now = await redis_client.zscore(OPENAI, job.job_id)
            return bool(now and first and now > first + SHORT_LEASE_S * 1000)

        await eventually_true(renewed, "the lease outlived its first life")
        gate.open()
        assert await result_of(job) == "done"
    assert gate.started == [job.job_id]


async def test_redis_hears_of_a_vendors_call_long_before_the_next_renewal(
    redis_client: ArqRedis, settings: Settings
) -> None:
    gate = Gate()

    async def calls(ctx: dict[str, Any]) -> str:
        own_lease().vendor_call = "1 openai-a"
        return await gate.wait(ctx)

    async with working(settings, function(calls, name="wait"), lease_s=LONG_S, calls_told_every_s=0.01) as process:
        job = await put(redis_client, "wait")

        async def is_told() -> bool:
            return bool(await redis_client.hget(keys.run(job.job_id), "call:1") == b"1 openai-a")  # type: ignore[misc]

        await eventually_true(is_told, "the call is told")
        (lease,) = process.worker.leases.held
        await eventually(lambda: not lease.has_new_call, "and is told once")
        gate.open()
        assert await result_of(job) == "done"


async def test_a_renewal_does_not_undo_a_deferral(redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()

    async def later(_: dict[str, Any]) -> None:
        raise Retry(defer=LONG_S)

    async def after_job_end(ctx: dict[str, Any]) -> None:
        """Keeps the job's task alive until leases have been renewed."""
        if ctx["job_id"] == "deferred":
            before = await redis_client.zscore(OPENAI, "other")

            async def renewed() -> bool:
                return bool(await redis_client.zscore(OPENAI, "other") != before)

            await eventually_true(renewed, "the other job's lease is renewed")

    functions = (gate.function, function(later, name="later"))
    async with working(settings, *functions, lease_s=SHORT_LEASE_S, after_job_end=after_job_end) as process:
        await put(redis_client, "wait", _job_id="other")
        await gate.has(1)
        job = await put(redis_client, "later", _job_id="deferred")
        await eventually(lambda: process.worker.jobs_retried, "the job was deferred")
        await eventually(lambda: "deferred" not in process.worker.tasks, "its task has ended")
        assert await job.status() is JobStatus.deferred
        seconds, _ = await redis_client.time()
        assert (await redis_client.zscore(OPENAI, "deferred") or 0) > (seconds + LONG_S / 2) * 1000


async def test_a_job_given_back_at_once_runs_again_here_although_its_last_run_is_not_quite_over(
    redis_client: ArqRedis, settings: Settings
) -> None:
    gate = Gate()
    gate.open()

    async def twice(ctx: dict[str, Any]) -> str:
        if ctx["job_try"] == 1:
            raise Retry
        return await gate.wait(ctx)

    async def after_job_end(ctx: dict[str, Any]) -> None:
        if ctx["job_try"] == 1:
            await eventually(lambda: process.worker.leases[ctx["job_id"]] is not own_lease(), "it is claimed again")

    async with working(settings, function(twice, name="twice"), after_job_end=after_job_end) as process:
        assert await result_of(await put(redis_client, "twice")) == "done"


# -- stores that come and go


async def test_a_worker_survives_the_loss_of_all_its_connections(redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()
    async with working(settings, gate.function) as process:
        before = await put(redis_client, "wait")
        await gate.has(1)
        for _ in range(5):
            await redis_client.client_kill_filter(_type="normal", skipme=True)
            after = await put(redis_client, "wait")
            await eventually(lambda after=after: after.job_id in gate.started, "the worker works again")  # type: ignore[misc]
        gate.open()
        assert await result_of(before) == "done"
        assert process.main is not None
        assert not process.main.done()


# -- aborts


async def test_a_request_that_is_cancelled_stops_at_once_and_leaves_the_queue(
    queue: Queue, redis_client: ArqRedis, settings: Settings
) -> None:
    gate, reasons = Gate(), list[str | None]()

    async def tell(ctx: dict[str, Any]) -> None:
        try:
            await gate.wait(ctx)
        except asyncio.CancelledError:
            reasons.append(own_lease().cancelled_for)
            raise

    async with working(settings, function(tell, name="wait")):
        job = await put(redis_client, "wait")
        await gate.has(1)
        await queue.cancel(job.job_id)
        with pytest.raises(asyncio.CancelledError):
            await result_of(job)
    assert reasons == ["abort"]
    assert await redis_client.zcard(OPENAI) == await redis_client.zcard(abort_jobs_ss) == 0


async def test_what_would_be_paid_for_all_the_same_is_not_cancelled(
    queue: Queue, redis_client: ArqRedis, settings: Settings
) -> None:
    gate, other = Gate(), Gate()
    async with working(settings, gate.function, function(other.wait, name="other")) as process:
        job = await put(redis_client, "wait")
        await gate.has(1)
        process.worker.leases[job.job_id].is_unstoppable = True
        await queue.cancel(job.job_id)
        witness = await put(redis_client, "other")
        await other.has(1)
        await queue.cancel(witness.job_id)
        await eventually(lambda: other.cancelled == [witness.job_id], "aborts have been looked at")
        gate.open()
        assert await result_of(job) == "done"
        await eventually(lambda: not process.worker.leases, "nothing of it is left")


async def test_an_ask_to_abort_reaches_whoever_takes_the_job_over(
    queue: Queue, redis_client: ArqRedis, settings: Settings
) -> None:
    gate = Gate()
    async with working(settings, gate.function) as killed:
        job = await put(redis_client, "wait")
        await gate.has(1)
        killed.kill()
        await queue.cancel(job.job_id)
        await let_lease_lapse(redis_client, job.job_id)
        async with working(settings, gate.function):
            with pytest.raises(asyncio.CancelledError):
                await result_of(job)
    assert len(gate.started) == 1


# -- drain


async def test_a_draining_worker_finishes_its_jobs_and_takes_no_more(
    redis_client: ArqRedis, settings: Settings
) -> None:
    gate = Gate()
    async with working(settings, gate.function) as process:
        running = await put(redis_client, "wait")
        await gate.has(1)
        process.stop()
        assert process.worker.draining
        waiting = await put(redis_client, "wait")
        gate.open()
        await process.ended()
        assert await result_of(running) == "done"
        assert await waiting.status() is JobStatus.queued
    assert gate.started == [running.job_id]


async def test_a_second_signal_cancels_and_the_job_is_back_in_the_queue_at_once(
    redis_client: ArqRedis, settings: Settings
) -> None:
    gate = Gate()
    async with working(settings, gate.function) as process:
        job = await put(redis_client, "wait")
        await gate.has(1)
        process.stop()
        process.stop()
        await process.ended()
        assert gate.cancelled == [job.job_id]
        assert await _is_due(redis_client, job.job_id)
    async with working(settings, gate.function):
        gate.open()
        assert await result_of(job) == "done"


async def test_a_drain_that_takes_too_long_cancels(redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()
    async with working(settings, gate.function, drain_s=0.05) as process:
        job = await put(redis_client, "wait")
        await gate.has(1)
        process.stop()
        await process.ended()
        assert await _is_due(redis_client, job.job_id)


async def test_a_drain_ends_in_its_time_also_when_nothing_happens_meanwhile(
    redis_client: ArqRedis, settings: Settings
) -> None:
    gate = Gate()
    async with working(settings, gate.function, drain_s=0.05, idle_wait_s=LONG_S) as process:
        await eventually_true(lambda: _listens(redis_client), "the worker listens to its bell")
        job = await put(redis_client, "wait")
        await redis_client.lpush(keys.bell(OPENAI), job.job_id)  # type: ignore[misc]
        await gate.has(1)
        process.stop()
        await process.ended()
        assert await _is_due(redis_client, job.job_id)


async def test_a_cancelled_job_may_end_itself_in_a_drain(redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()

    async def tidy(ctx: dict[str, Any]) -> str:
        try:
            return await gate.wait(ctx)
        except asyncio.CancelledError:
            await ctx["redis"].ping()
            return "broken off"

    async with working(settings, function(tidy, name="wait"), drain_s=0.05) as process:
        job = await put(redis_client, "wait")
        await gate.has(1)
        process.stop()
        await process.ended()
        assert await result_of(job) == "broken off"


async def test_a_draining_worker_still_hears_aborts(queue: Queue, redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()
    async with working(settings, gate.function) as process:
        job = await put(redis_client, "wait")
        await gate.has(1)
        process.stop()
        await queue.cancel(job.job_id)
        await process.ended()
        with pytest.raises(asyncio.CancelledError):
            await result_of(job)


async def test_a_draining_worker_keeps_its_leases(redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()
    async with working(settings, gate.function, lease_s=SHORT_LEASE_S) as process:
        job = await put(redis_client, "wait")
        await gate.has(1)
        process.stop()
        first = await redis_client.zscore(OPENAI, job.job_id) or 0

        async def renewed() -> bool:
            return float(await redis_client.zscore(OPENAI, job.job_id) or 0) > first

        await eventually_true(renewed, "the lease is renewed")
        gate.open()
        await process.ended()
        assert await result_of(job) == "done"


async def test_an_idle_worker_stops_at_once(settings: Settings) -> None:
    async with a_process(settings, Gate().function) as process:
        process.start()
        await eventually(lambda: process.worker.main_task, "the worker runs")
        process.stop()
        await process.ended()


async def test_a_run_that_gave_its_job_away_does_not_end_the_next_run_of_the_same_worker(
    redis_client: ArqRedis, settings: Settings
) -> None:
    """As a request that moves to another model's queue, which may be claimed again before its first run has ended."""
    runs = list[bool]()

    async def wait(ctx: dict[str, Any], *_: object) -> str:
        worker, lease = process.worker, own_lease()
        runs.append(lease.is_writing_end)
        if len(runs) == 1:
            lease.is_writing_end = True
            await process.queue.give_back(lease.claim)
            lease.end()
            await eventually(lambda: worker.leases[ctx["job_id"]] is not lease, "it is claimed again")
            return "first"
        await asyncio.sleep(0)
        assert worker.leases.held == [lease]
        return "second"

    async with working(settings, function(wait, name="wait")) as process:
        job = await put(redis_client, "wait")
        assert await result_of(job) == "second"
        assert runs == [False, False]
        assert await redis_client.zcard(OPENAI) == 0
