"""What arq promises to its users holds with our worker: it was the queue to be used, and is still the one that is used."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.constants import abort_jobs_ss, job_key_prefix, result_key_prefix, retry_key_prefix
from arq.cron import cron
from arq.jobs import JobStatus
from arq.worker import FailedJobs, Retry

from shared.settings import Settings
from tests.harness.support import eventually, eventually_true
from tests.integration.jobs import OPENAI, make_due
from tests.integration.working import LONG_S, Gate, a_process, function, put, result_of, working
from workers.loop.lease import CancelReason, Lease


async def _add(_: dict[str, Any], one: int, other: int) -> int:
    return one + other


async def _fail(_: dict[str, Any]) -> None:
    raise ValueError("no")


ADD, FAIL = function(_add, name="add"), function(_fail, name="fail")


async def test_a_job_runs_and_its_result_can_be_read(redis_client: ArqRedis, settings: Settings) -> None:
    async with working(settings, ADD):
        job = await put(redis_client, "add", 1, other=2)
        assert await result_of(job) == 3
        info = await job.result_info()
        assert info is not None
        assert (info.function, info.success, info.job_try, info.queue_name) == ("add", True, 1, OPENAI)
        assert await job.status() is JobStatus.complete
    assert not await redis_client.exists(job_key_prefix + job.job_id, retry_key_prefix + job.job_id)


async def test_a_job_that_raises_ends_with_its_error(redis_client: ArqRedis, settings: Settings) -> None:
    async with working(settings, FAIL, ADD):
        with pytest.raises(RuntimeError, match="ValueError: no"):
            await result_of(await put(redis_client, "fail"))
        assert await result_of(await put(redis_client, "add", 1, 1)) == 2


async def test_a_job_may_not_be_enqueued_twice_under_one_id(redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()
    async with working(settings, gate.function):
        job = await put(redis_client, "wait", _job_id="one")
        await gate.has(1)
        assert await redis_client.enqueue_job("wait", _job_id="one", _queue_name=OPENAI) is None
        assert await job.status() is JobStatus.in_progress
        gate.open()
        assert await result_of(job) == "done"


async def test_a_retry_comes_back_when_it_said_and_knows_how_often(redis_client: ArqRedis, settings: Settings) -> None:
    tries = []

    async def flaky(ctx: dict[str, Any]) -> str:
        tries.append(ctx["job_try"])
        if len(tries) == 1:
            raise Retry(defer=LONG_S)
        return "at last"

    async with working(settings, function(flaky, name="flaky")):
        job = await put(redis_client, "flaky")
        await eventually_true(lambda: _is(job, JobStatus.deferred), "the job is deferred")
        await make_due(redis_client, job.job_id)
        assert await result_of(job) == "at last"
    assert tries == [1, 2]


async def _is(job: Any, status: JobStatus) -> bool:
    return await job.status() is status


async def test_retries_without_a_pause_run_again_at_once(redis_client: ArqRedis, settings: Settings) -> None:
    async def flaky(ctx: dict[str, Any]) -> int:
        if ctx["job_try"] < 3:
            raise Retry
        return int(ctx["job_try"])

    async with working(settings, function(flaky, name="flaky")):  # with leases that no test can wait for
        jobs = [await put(redis_client, "flaky") for _ in range(30)]
        assert [await result_of(job) for job in jobs] == [3] * 30


async def test_a_deferred_job_waits_for_its_time(redis_client: ArqRedis, settings: Settings) -> None:
    async with working(settings, ADD):
        job = await put(redis_client, "add", 1, 2, _defer_by=LONG_S)
        assert await result_of(await put(redis_client, "add", 1, 1)) == 2
        assert await job.status() is JobStatus.deferred
        await make_due(redis_client, job.job_id)
        assert await result_of(job) == 3


async def test_too_many_tries_end_a_job(redis_client: ArqRedis, settings: Settings) -> None:
    async def never(_: dict[str, Any]) -> None:
        raise Retry

    async with working(settings, function(never, name="never", max_tries=2)):
        with pytest.raises(RuntimeError, match="max 2 retries exceeded"):
            await result_of(await put(redis_client, "never"))


async def test_a_job_that_runs_too_long_is_ended(redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()
    async with working(settings, function(gate.wait, name="wait", timeout=0.05)):
        with pytest.raises(RuntimeError, match="TimeoutError"):
            await result_of(await put(redis_client, "wait"))
    assert len(gate.cancelled) == 1


async def test_a_running_job_can_be_aborted(redis_client: ArqRedis, settings: Settings) -> None:
    gate = Gate()
    async with working(settings, gate.function, lease_s=0.5) as process:
        job = await put(redis_client, "wait")
        await gate.has(1)
        assert await job.abort(timeout=20, poll_delay=0.02)
        await eventually(lambda: not process.worker.leases.held, "nothing runs")
    assert gate.ended == []
    assert await redis_client.zcard(OPENAI) == await redis_client.zcard(abort_jobs_ss) == 0


@pytest.mark.parametrize("reasons", [("abort",), ("abort", "drain")], ids=" and ".join)
async def test_whoever_cares_is_told_of_a_job_that_is_aborted_while_it_runs_and_does_not_end_its_request(
    redis_client: ArqRedis, settings: Settings, reasons: tuple[CancelReason, ...]
) -> None:
    """A worker may give up draining in the same moment."""
    gate, discarded = Gate(), list[str]()

    async def on_discarded(lease: Lease) -> None:
        discarded.append(lease.job_id)

    async with working(settings, gate.function) as process:
        process.worker.on_discarded = on_discarded
        job = await put(redis_client, "wait")
        await gate.has(1)
        process.worker.aborting_tasks.add(job.job_id)
        for reason in reasons:
            process.worker.leases.cancel(process.worker.leases[job.job_id], reason)
        await eventually(lambda: not process.worker.tasks, "nothing runs")
    assert discarded == [job.job_id]


async def test_a_job_can_be_aborted_before_it_starts_and_whoever_cares_is_told(
    redis_client: ArqRedis, settings: Settings
) -> None:
    gate, discarded = Gate(), list[Lease]()

    async def on_discarded(lease: Lease) -> None:
        discarded.append(lease)

    async with working(settings, gate.function) as process:
        process.worker.on_discarded = on_discarded
        job = await put(redis_client, "wait", _defer_by=LONG_S)
        assert await job.abort(timeout=20, poll_delay=0.02)
    assert gate.started == []
    assert [lease.job_id for lease in discarded] == [job.job_id]


@pytest.mark.parametrize("broken", ["unknown function", "unreadable payload"])
async def test_a_job_that_cannot_run_is_discarded_and_whoever_cares_is_told(
    redis_client: ArqRedis, settings: Settings, broken: str
) -> None:
    discarded = list[str]()

    async def on_discarded(lease: Lease) -> None:
        discarded.append(lease.job_id)

    async with working(settings, ADD, keep_result=0) as process:
        process.worker.on_discarded = on_discarded
        job = await put(redis_client, "unheard_of", _defer_by=LONG_S)
        if broken == "unreadable payload":
            await redis_client.set(job_key_prefix + job.job_id, "\x00garbage")
        await make_due(redis_client, job.job_id)
        await eventually(lambda: discarded == [job.job_id], "the job is discarded")
        await eventually_true(lambda: _is(job, JobStatus.not_found), "the job is gone")
    assert not await redis_client.exists(result_key_prefix + job.job_id)


async def test_results_are_kept_as_long_as_asked(redis_client: ArqRedis, settings: Settings) -> None:
    kept: dict[str, dict[str, Any]] = {
        "short": {"keep_result": 5},
        "ever": {"keep_result_forever": True},
        "not": {"keep_result": 0},
    }
    functions = [function(_add, name=name, **options) for name, options in kept.items()]
    async with working(settings, *functions):
        jobs = {name: await put(redis_client, name, 1, 1) for name in kept}
        for job in jobs.values():
            await eventually_true(lambda job=job: _has_left(redis_client, job.job_id), "the job has run")  # type: ignore[misc]
    left = {name: await redis_client.pttl(result_key_prefix + job.job_id) for name, job in jobs.items()}
    assert 0 < left["short"] <= 5_000
    assert (left["ever"], left["not"]) == (-1, -2)


async def _has_left(client: ArqRedis, job_id: str) -> bool:
    return await client.zscore(OPENAI, job_id) is None


@pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning")  # arq's own
async def test_hooks_are_called_in_arqs_order_with_the_jobs_context(redis_client: ArqRedis, settings: Settings) -> None:
    calls = list[str]()

    def hook(name: str) -> Any:
        async def note(ctx: dict[str, Any]) -> None:
            calls.append(f"{name} {ctx.get('job_id', '-')}")
            ctx["seen"] = True

        return note

    async def look(ctx: dict[str, Any]) -> list[str]:
        return sorted(ctx)

    names = ("on_startup", "on_job_start", "on_job_end", "after_job_end", "on_shutdown")
    async with working(settings, function(look, name="look"), **{name: hook(name) for name in names}) as process:
        seen = await result_of(await put(redis_client, "look", _job_id="one"))
        await eventually(lambda: not process.worker.tasks, "the job has ended")
        process.stop()
        await process.ended()
        await process.worker.close()
    assert calls == ["on_startup -", "on_job_start one", "on_job_end one", "after_job_end one", "on_shutdown -"]
    assert {"redis", "job_id", "job_try", "enqueue_time", "score", "seen"} <= set(seen)


async def test_a_hook_that_fails_costs_its_job_a_lease_and_the_worker_nothing(
    redis_client: ArqRedis, settings: Settings
) -> None:
    async def on_job_start(ctx: dict[str, Any]) -> None:
        if ctx["job_id"] == "unlucky":
            raise RuntimeError("hook")

    async with working(settings, ADD, on_job_start=on_job_start) as process:
        await put(redis_client, "add", 1, 1, _job_id="unlucky")
        assert await result_of(await put(redis_client, "add", 1, 1)) == 2
        await eventually(lambda: not process.worker.leases.held, "both are over")
    assert await redis_client.zscore(OPENAI, "unlucky") is not None


async def test_a_cron_job_runs_once_for_every_moment_on_all_workers_together(
    redis_client: ArqRedis, settings: Settings
) -> None:
    ran = list[str]()

    async def tick(ctx: dict[str, Any]) -> None:
        ran.append(ctx["job_id"])

    def every_second() -> Any:
        return cron(tick, name="tick", second=set(range(60)), unique=True)

    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(working(settings, cron_jobs=[every_second()]))
        await eventually(lambda: len(ran) >= 2, "two moments have come")
    assert len(set(ran)) == len(ran)


async def test_health_is_recorded_as_arq_does(redis_client: ArqRedis, settings: Settings) -> None:
    async with working(settings, ADD, health_check_interval=0.01) as process:
        assert process.worker.health_check_key == f"{OPENAI}:health-check"
        assert await result_of(await put(redis_client, "add", 1, 1)) == 2

        async def complete() -> bool:
            return b"j_complete=1 j_failed=0" in (await redis_client.get(process.worker.health_check_key) or b"")

        await eventually_true(complete, "the health check counts the job")


async def test_burst_runs_what_is_there_and_ends(redis_client: ArqRedis, settings: Settings) -> None:
    jobs = [await put(redis_client, "add", number, 1) for number in range(25)]
    async with a_process(settings, ADD, burst=True, slots=3) as process:
        assert await process.worker.run_check() == 25
    assert [await result_of(job) for job in jobs] == list(range(1, 26))


async def test_burst_can_be_limited_to_some_jobs(redis_client: ArqRedis, settings: Settings) -> None:
    for number in range(5):
        await put(redis_client, "add", number, 1)
    async with a_process(settings, ADD, burst=True) as process:
        assert await process.worker.run_check(max_burst_jobs=2) == 2
    assert await redis_client.zcard(OPENAI) == 3


async def test_a_check_names_the_jobs_that_failed(redis_client: ArqRedis, settings: Settings) -> None:
    await put(redis_client, "fail")
    await put(redis_client, "add", 1, 1)
    async with a_process(settings, ADD, FAIL, burst=True) as process:
        with pytest.raises(FailedJobs, match="1 job failed"):
            await process.worker.run_check()
    assert process.worker.jobs_complete == 1


async def test_jobs_run_side_by_side(redis_client: ArqRedis, settings: Settings) -> None:
    meeting = asyncio.Barrier(5)

    async def meet(_: dict[str, Any]) -> None:
        await meeting.wait()

    async with working(settings, function(meet, name="meet"), slots=5):
        jobs = [await put(redis_client, "meet") for _ in range(5)]
        assert [await result_of(job) for job in jobs] == [None] * 5
