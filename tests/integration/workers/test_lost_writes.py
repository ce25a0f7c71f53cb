"""A Redis that failed over and lost its last writes: what has ended is not begun again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import chain, count, repeat
from typing import Any

import asyncpg
import msgspec
import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from structlog.testing import capture_logs

from shared.chat import Message
from shared.errors import Unavailable
from shared.job import RUN_REQUEST, Done, Failed
from shared.ledger.endings import Endings
from shared.ledger.ledger import Ledger
from shared.ledger.settlement import Settlement
from shared.ledger.settler import Settler
from shared.money import Usage
from shared.queue.queue import Queue
from shared.runtime.long_steps import LONG_FROM_BYTES
from shared.runtime.tasks import background_tasks
from shared.settings import Settings
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job, a_release, a_reservation, a_settlement
from tests.harness.journals import read_journal
from tests.harness.support import eventually, eventually_true
from tests.integration.books import Wallet, wallet
from tests.integration.conftest import NewAccount
from tests.integration.jobs import OPENAI, claim_one, enqueue, let_lease_lapse, make_due
from tests.integration.working import function, hand_runner, working
from workers.long_steps import LONG_STEPS
from workers.loop.lease import Lease
from workers.providers.protocol import Finished, Piece, ProviderRequest, Reported
from workers.request.journal_writer import JournalFlusher
from workers.request.run_job import end_discarded, run_request
from workers.request.runner import RUNNER, Runner

Discard = Callable[[Runner, Lease], Coroutine[Any, Any, None]]


class CountingVendor:
    """Answers everybody, and knows whom."""

    def __init__(self) -> None:
        self.called_for: list[str] = []

    async def stream(self, request: ProviderRequest) -> AsyncGenerator[Piece, None]:
        self.called_for.append(request.id)
        yield "the answer"
        yield Reported(Usage(1, 1))
        yield Finished("stop")

    async def close(self) -> None:
        return


class NoAnswer(Endings):
    """Postgres is away."""

    def __init__(self) -> None:
        pass

    async def has_ended(self, request_id: str) -> bool:
        raise Unavailable(request_id)


async def _run_what_waits(
    ledger: Ledger,
    endings: Endings,
    lua: Scripts,
    client: ArqRedis,
    settings: Settings,
    discard: Discard = end_discarded,
    **options: Any,
) -> list[str]:
    """Let a worker empty the queue; gives the requests for which the vendor was called."""
    vendor, requests = CountingVendor(), function(run_request, name=RUN_REQUEST)
    async with background_tasks() as group, working(settings, requests, **options) as process:
        flusher = JournalFlusher(lua, window_s=0, retry_s=0.01)
        group.create_task(flusher.run())
        settler = Settler(ledger, group, retry_s=0.01)
        hand_runner(process, vendor, flusher, settler, endings, settings)
        runner = process.worker.ctx[RUNNER]
        process.worker.on_discarded = lambda lease: discard(runner, lease)

        async def empty() -> bool:
            return not await client.zcard(OPENAI)

        await eventually_true(empty, "the queue is empty")
        await eventually(lambda: not process.worker.tasks, "the last job has handed its settlement over")
        assert await settler.drained(10)
    return vendor.called_for


async def _held(ledger: Ledger, account: str, request_id: str) -> None:
    await ledger.reserve(a_reservation(account, 1_000_000, id=request_id))


ENDS = {"charged": a_settlement, "void": a_release}


@pytest.mark.parametrize("epoch", [0, 1_000], ids=["its claim was lost", "it was put back"])
@pytest.mark.parametrize("end", ENDS)
async def test_a_job_whose_request_has_ended_is_dropped_although_redis_knows_nothing_of_that(
    ledger: Ledger,
    endings: Endings,
    queue: Queue,
    lua: Scripts,
    redis_client: ArqRedis,
    settings: Settings,
    new_account: NewAccount,
    end: str,
    epoch: int,
) -> None:
    account, ended, waits = await new_account(10_000_000), a_job(), a_job()
    for job in (ended, waits):
        await _held(ledger, account, job.id)
        await enqueue(queue, job, epoch=epoch)
    settlement: Settlement = ENDS[end](a_reservation(account, id=ended.id))
    assert await ledger.settle(settlement) == "settled"
    assert await _run_what_waits(ledger, endings, lua, redis_client, settings) == [waits.id]
    assert await read_journal(redis_client, ended.id) == []


async def test_so_is_one_that_another_worker_had_begun(
    ledger: Ledger,
    endings: Endings,
    queue: Queue,
    lua: Scripts,
    redis_client: ArqRedis,
    settings: Settings,
    pool: asyncpg.Pool,
    new_account: NewAccount,
) -> None:
    account, ended = await new_account(10_000_000), a_job()
    await _held(ledger, account, ended.id)
    await enqueue(queue, ended)
    await claim_one(queue)
    assert await ledger.settle(a_settlement(a_reservation(account, id=ended.id), charge=7)) == "settled"
    await let_lease_lapse(redis_client, ended.id)
    assert await _run_what_waits(ledger, endings, lua, redis_client, settings) == []
    assert await wallet(pool, account) == Wallet(10_000_000 - 7, 0, 0)


@pytest.mark.parametrize("charged", [True, False])
async def test_nobody_is_told_that_a_request_was_cancelled_for_nothing_when_it_had_ended_before(
    ledger: Ledger,
    endings: Endings,
    queue: Queue,
    lua: Scripts,
    redis_client: ArqRedis,
    settings: Settings,
    pool: asyncpg.Pool,
    new_account: NewAccount,
    *,
    charged: bool,
) -> None:
    """It was billed to its end although its caller wished to cancel it; of that Redis knows the wish only."""
    account, job = await new_account(10_000_000), a_job(stream=False)
    await _held(ledger, account, job.id)
    await enqueue(queue, job)
    if charged:
        assert await ledger.settle(a_settlement(a_reservation(account, id=job.id), charge=7)) == "settled"
    await queue.cancel(job.id)
    assert await _run_what_waits(ledger, endings, lua, redis_client, settings) == []
    told = await read_journal(redis_client, job.id)
    assert [event.error.code for event in told if isinstance(event, Failed)] == ([] if charged else ["cancelled"])
    assert len(told) == (not charged)


async def test_a_large_request_that_is_cancelled_before_it_was_decoded_ends_and_frees_its_hold(
    ledger: Ledger,
    endings: Endings,
    queue: Queue,
    lua: Scripts,
    redis_client: ArqRedis,
    settings: Settings,
    pool: asyncpg.Pool,
    new_account: NewAccount,
) -> None:
    """Its run has begun, and waits because another large request is being decoded."""
    account, text = await new_account(10_000_000), "x" * LONG_FROM_BYTES
    job = a_job(account_id=account, messages=[Message("user", text)])
    await _held(ledger, account, job.id)
    await enqueue(queue, job)
    async with AsyncExitStack() as turn:

        async def cancel(_: object) -> None:
            await turn.enter_async_context(LONG_STEPS.one(LONG_FROM_BYTES))
            await queue.cancel(job.id)

        assert await _run_what_waits(ledger, endings, lua, redis_client, settings, on_job_start=cancel) == []
    (told,) = await read_journal(redis_client, job.id)
    assert isinstance(told, Failed)
    assert told.error.code == "cancelled"
    assert await wallet(pool, account) == Wallet(10_000_000, 0, 0)


async def test_a_job_that_this_release_cannot_read_waits_for_a_worker_of_another_one(
    ledger: Ledger,
    endings: Endings,
    queue: Queue,
    lua: Scripts,
    redis_client: ArqRedis,
    settings: Settings,
    pool: asyncpg.Pool,
    new_account: NewAccount,
) -> None:
    """The time for which it waits in vain counts neither as calls nor as workers that died."""
    account, job = await new_account(10_000_000), a_job()
    job = msgspec.structs.replace(job, account_id=account)
    await _held(ledger, account, job.id)
    await enqueue(queue, job)
    name, claims = job_key_prefix + job.id, count(1)
    payload = await redis_client.get(name)
    await redis_client.set(name, payload.replace(b"messages", b"passages"), keepttl=True)

    async def understand_at_last(_: object) -> None:
        in_vain = next(claims)
        if in_vain == settings.attempts_max + 1:
            await redis_client.set(name, payload, keepttl=True)
        if in_vain <= settings.attempts_max + 1:
            await make_due(redis_client, job.id)

    with capture_logs() as logs:
        options: dict[str, Any] = {"after_job_end": understand_at_last, "max_tries": 1_000}
        assert await _run_what_waits(ledger, endings, lua, redis_client, settings, **options) == [job.id]
    assert [line["alert"] for line in logs if "alert" in line] == [True, *[False] * settings.attempts_max]
    assert isinstance((await read_journal(redis_client, job.id))[-1], Done)
    assert await pool.fetchval("SELECT attempts FROM requests WHERE id = $1", job.id) == 1


@pytest.mark.parametrize("size", [1, LONG_FROM_BYTES], ids=["small", "large"])
async def test_a_cancelled_request_whose_end_cannot_be_written_waits_for_the_next_claim(
    ledger: Ledger,
    endings: Endings,
    queue: Queue,
    lua: Scripts,
    redis_client: ArqRedis,
    settings: Settings,
    pool: asyncpg.Pool,
    new_account: NewAccount,
    size: int,
) -> None:
    account, job = await new_account(10_000_000), a_job(stream=False, messages=[Message("user", "x" * size)])
    await _held(ledger, account, job.id)
    await enqueue(queue, job)
    await queue.cancel(job.id)
    clients = chain([ArqRedis(port=1)], repeat(redis_client))

    async def discard(runner: Runner, lease: Lease) -> None:
        await end_discarded(replace(runner, redis=next(clients)), lease)

    assert await _run_what_waits(ledger, endings, lua, redis_client, settings, discard, lease_s=0.5) == []
    assert [type(event) for event in await read_journal(redis_client, job.id)] == [Failed]
    assert await wallet(pool, account) == Wallet(10_000_000, 0, 0)


async def test_a_void_request_whose_end_cannot_be_written_is_ended_by_the_next_claim(
    ledger: Ledger,
    endings: Endings,
    queue: Queue,
    lua: Scripts,
    redis_client: ArqRedis,
    settings: Settings,
    pool: asyncpg.Pool,
    new_account: NewAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account, job = await new_account(10_000_000), a_job(stream=False)
    await _held(ledger, account, job.id)
    await enqueue(queue, job)
    call, numbers = lua.call, count()
    settings = msgspec.structs.replace(settings, redis_patience_s=0.05)

    async def void_and_then_away(name: str, *rest: Any) -> Any:
        number = next(numbers) if name == "append" else None
        if number == 0:
            await queue.bury(job.id, OPENAI)
        elif number is not None and number < 6:
            await asyncio.sleep(0.01)
            raise Unavailable("Redis is away.")
        return await call(name, *rest)

    monkeypatch.setattr(lua, "call", void_and_then_away)
    with capture_logs() as logs:
        await _run_what_waits(ledger, endings, lua, redis_client, settings, lease_s=0.5)
    assert [line["charged_nano"] for line in logs if "charged_nano" in line] == [0]
    assert [type(event) for event in await read_journal(redis_client, job.id)] == [Failed]
    assert await wallet(pool, account) == Wallet(10_000_000, 0, 0)


async def test_while_postgres_does_not_answer_jobs_run(
    ledger: Ledger, queue: Queue, lua: Scripts, redis_client: ArqRedis, settings: Settings
) -> None:
    job = a_job()
    await enqueue(queue, job)
    assert await _run_what_waits(ledger, NoAnswer(), lua, redis_client, settings) == [job.id]
    assert isinstance((await read_journal(redis_client, job.id))[-1], Done)


async def test_a_fresh_job_is_not_looked_up(queue: Queue, lua: Scripts, redis_client: ArqRedis) -> None:
    """Only what lay there before our connection to Redis was made, what waits for long, and what was put back."""
    await enqueue(queue, a_job())
    assert queue.is_doubtful(one := await claim_one(queue))
    trusting = Queue(lua, lease_s=10, keep_run_s=60, depth_max=100, doubted_after_s=5)
    lua.connected_at -= 60
    await enqueue(trusting, a_job(), epoch=0)
    fresh = await claim_one(trusting)
    assert not trusting.is_doubtful(fresh)
    assert trusting.is_doubtful(fresh._replace(due_ms=fresh.due_ms - 6_000))
    assert trusting.is_doubtful(fresh._replace(epoch=1_001))
    assert one.epoch == fresh.epoch == 1
