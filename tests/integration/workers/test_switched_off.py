"""What operators take out of service takes no more jobs, ends what it runs, and loses nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest
from arq.connections import ArqRedis

from shared.chat import Sampling
from shared.errors import NotFound
from shared.job import RUN_REQUEST, Chunk, Fallback
from shared.ledger.ledger import Ledger
from shared.ledger.settler import Settler
from shared.operators.audit import list_entries
from shared.operators.switches import drain_worker, pause_provider, switched_off
from shared.queue.heartbeat import Heartbeat, announce
from shared.queue.queue import Queue
from shared.queue.routing import drain, list_workers, show_queues
from shared.runtime.tasks import background_tasks
from shared.settings import Settings
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job, a_model, a_reservation
from tests.harness.routing import routes_by
from tests.harness.support import eventually
from tests.integration.books import request_row, wallet
from tests.integration.conftest import NewAccount
from tests.integration.jobs import GEMINI, OPENAI, claim, claim_one, enqueue, let_lease_lapse, room
from tests.integration.journals import DirectJournal
from tests.integration.working import LONG_S, Gate, Process, function, working
from workers.request.past import look_back
from workers.request.stranded import Stranded

OPENAI_ONLY = frozenset({"openai"})


def _drained(process: Process) -> Process:
    process.worker.stop_claiming()
    return process


async def test_a_paused_providers_jobs_wait_while_others_and_what_runs_go_on(queue: Queue, settings: Settings) -> None:
    gate = Gate()
    requests = function(gate.wait, name=RUN_REQUEST)
    async with working(settings, requests, queues=[OPENAI, GEMINI], idle_wait_s=LONG_S) as process:
        running = a_job()
        await enqueue(queue, running, OPENAI)
        await gate.has(1)
        process.worker.pause(OPENAI_ONLY)
        waiting = [a_job() for _ in range(3)]
        for job in waiting:
            await enqueue(queue, job, OPENAI)
        for _ in range(3):
            await enqueue(queue, a_job(), GEMINI)
        await gate.has(4)
        gate.let_go(running.id)
        await eventually(lambda: running.id in gate.ended, "what ran has ended")
        assert not {job.id for job in waiting} & set(gate.started)
        process.worker.pause(frozenset())
        await eventually(lambda: {job.id for job in waiting} <= gate.running, "what waited runs")


async def test_a_drained_worker_ends_what_it_runs_and_others_take_the_rest(queue: Queue, settings: Settings) -> None:
    first, second = Gate(), Gate()
    async with (
        working(settings, function(first.wait, name=RUN_REQUEST), idle_wait_s=LONG_S) as process,
        working(settings, function(second.wait, name=RUN_REQUEST), idle_wait_s=LONG_S) as other,
    ):
        other.worker.pause(OPENAI_ONLY)
        await enqueue(queue, a_job())
        await first.has(1)
        _drained(process)
        assert process.worker.draining
        other.worker.pause(frozenset())
        for _ in range(5):
            await enqueue(queue, a_job())
        await second.has(5)
        assert len(first.started) == 1
        first.open()
        await eventually(lambda: len(first.ended) == 1, "what it ran has ended")
        assert not first.cancelled


async def test_a_job_that_comes_while_a_worker_drains_rings_for_another(queue: Queue, settings: Settings) -> None:
    first, second = Gate(), Gate()
    async with (
        working(settings, function(first.wait, name=RUN_REQUEST), idle_wait_s=LONG_S) as process,
        working(settings, function(second.wait, name=RUN_REQUEST), idle_wait_s=LONG_S),
    ):
        _drained(process)
        for count in range(1, 6):
            await enqueue(queue, a_job())
            await second.has(count)
        assert not first.started


async def test_a_worker_that_was_drained_stops_when_it_is_told_to(queue: Queue, settings: Settings) -> None:
    gate = Gate()
    async with working(settings, function(gate.wait, name=RUN_REQUEST), idle_wait_s=LONG_S) as process:
        await enqueue(queue, a_job())
        await gate.has(1)
        _drained(process)
        process.stop()
        gate.open()
        await process.ended()
    assert len(gate.ended) == 1


async def test_switches_are_kept_and_noted_once(pool: asyncpg.Pool) -> None:
    for _ in range(2):
        await pause_provider(pool, "openai", paused=True)
    await drain_worker(pool, "wrk_old", living=["wrk_old"])
    await drain_worker(pool, "wrk_a", living=["wrk_a", "wrk_b"])
    assert (await switched_off(pool))[:2] == (OPENAI_ONLY, frozenset({"wrk_a"}))  # the old one is no more
    for _ in range(2):
        await pause_provider(pool, "openai", paused=False)
    entries = (await list_entries(pool, limit=4)).entries
    assert [(one.action, one.target) for one in entries] == [
        ("provider.resume", "provider:openai"),
        ("worker.drain", "worker:wrk_a"),
        ("worker.drain", "worker:wrk_old"),
        ("provider.pause", "provider:openai"),
    ]
    assert (entries[0].before, entries[0].after) == ({"in_service": False}, {"in_service": True})


@pytest.mark.parametrize("name", ["nobody", "'; DROP TABLE switched_off; --", "", "openai:interactive"])
async def test_what_there_is_not_cannot_be_switched_off(pool: asyncpg.Pool, name: str) -> None:
    with pytest.raises(NotFound, match="openai, bedrock"):
        await pause_provider(pool, name, paused=True)
    with pytest.raises(NotFound, match="is alive"):
        await drain_worker(pool, name, living=["wrk_a"])


A_PAIR, ALONE, BEGUN, YOUNG = "may go on", "has no other model", "has begun", "has not waited"
BEGUN_ELSEWHERE = "has begun with an event that only another release knows"


@pytest.mark.parametrize(
    ("paused", "job", "moves"),
    [
        (("openai",), A_PAIR, True),
        ((), A_PAIR, False),
        (("openai", "gemini"), A_PAIR, False),
        (("openai",), ALONE, False),
        (("openai",), BEGUN, False),
        (("openai",), BEGUN_ELSEWHERE, False),
        (("openai",), YOUNG, False),
    ],
)
async def test_a_request_in_a_queue_that_nobody_serves_goes_on_with_its_next_model(
    pool: asyncpg.Pool,
    redis_client: ArqRedis,
    lua: Scripts,
    queue: Queue,
    ledger: Ledger,
    paused: tuple[str, ...],
    job: str,
    moves: bool,  # noqa: FBT001
) -> None:
    other = a_model(name="other", provider="gemini", api="gemini")
    behind = Fallback(model=other, price=other.price, sampling=Sampling(), output_limit=1)
    told = {"services": (other.service,), "slots": 1, "running": 0, "paused": paused}
    hello = Heartbeat(id="wrk_x", queues=(OPENAI, GEMINI), claims=(OPENAI, GEMINI), **told)  # type: ignore[arg-type]
    await announce(redis_client, hello, LONG_S)
    waiting = a_job(fallbacks=() if job == ALONE else (behind,))
    await enqueue(queue, waiting, OPENAI)
    if job in {BEGUN, BEGUN_ELSEWHERE}:
        one = await claim_one(queue)
        await DirectJournal(lua, one, live_s=60).append(Chunk("Hi"))
        if job == BEGUN_ELSEWHERE:
            await redis_client.lset(keys.journal(one.id), 0, msgspec.msgpack.encode(["z", "Hi"]))  # type: ignore[misc,arg-type] # typed for text
        await let_lease_lapse(redis_client, one.id)
    after_s = 60 if job == YOUNG else -1
    async with a_settler(ledger) as settler:
        stranded = Stranded(pool, redis_client, queue, settler, routes_by({}), after_s=after_s)
        assert await stranded.sweep() == moves
    assert [await redis_client.zcard(name) for name in (OPENAI, GEMINI)] == [not moves, moves]
    if moves:
        (claimed,) = await claim(queue, "wrk_x", room(GEMINI))
        assert (claimed.attempt, (await look_back(redis_client, claimed.id)).waits) == (2, 1)


@contextlib.asynccontextmanager
async def a_settler(ledger: Ledger) -> AsyncIterator[Settler]:
    async with background_tasks() as group:
        settler = Settler(ledger, group, retry_s=0.01)
        yield settler
        assert await settler.drained(LONG_S)


@pytest.mark.parametrize(("paused", "begun", "ends"), [(("openai",), 0, 1), ((), 0, 0), (("openai",), 1, 0)])
async def test_a_cancelled_request_in_a_queue_that_nobody_serves_ends_and_gives_its_hold_back(
    pool: asyncpg.Pool,
    redis_client: ArqRedis,
    queue: Queue,
    ledger: Ledger,
    new_account: NewAccount,
    paused: tuple[str, ...],
    begun: int,
    ends: int,
) -> None:
    hello = Heartbeat(id="wrk_x", queues=(OPENAI,), claims=(OPENAI,), services=(), slots=1, running=0, paused=paused)
    await announce(redis_client, hello, LONG_S)
    account = await new_account(100)
    reservation = a_reservation(account, 60)
    await ledger.reserve(reservation)
    await enqueue(queue, a_job(id=reservation.id, account_id=account), OPENAI)
    for _ in range(begun):
        await let_lease_lapse(redis_client, (await claim_one(queue)).id)
    other = a_job()
    await enqueue(queue, other, OPENAI)
    await queue.cancel(reservation.id)
    async with a_settler(ledger) as settler:
        assert await Stranded(pool, redis_client, queue, settler, routes_by({}), after_s=-1).sweep() == ends
    row = await request_row(pool, reservation)
    assert (row["state"], row["hold_state"]) == (("cancelled", "released") if ends else ("pending", "held"))
    assert (await wallet(pool, account)).held == (0 if ends else 60)
    assert await redis_client.zcard(OPENAI) == 2 - ends
    assert await redis_client.zscore(OPENAI, other.id) is not None


async def test_operators_see_what_waits_and_who_works(
    pool: asyncpg.Pool, redis_client: ArqRedis, lua: Scripts, queue: Queue, settings: Settings
) -> None:
    await pause_provider(pool, "gemini", paused=True)
    hello = Heartbeat(
        id="wrk_x",
        queues=(OPENAI,),
        claims=(OPENAI,),
        services=(),
        slots=10,
        running=4,
        paused=("gemini",),
        host="there",
        version="1",
    )
    await announce(redis_client, hello, LONG_S)
    for _ in range(3):
        await enqueue(queue, a_job(), OPENAI)
    found = await show_queues(pool, redis_client, lua, settings)
    (row,) = [one for one in found.queues if one.name == "openai:interactive"]
    assert (row.provider, row.lane, row.ready, row.running, row.paused) == ("openai", "interactive", 3, 0, False)
    assert {one.provider for one in found.queues if one.paused} == {"gemini"}
    (worker,) = found.workers
    assert (worker.id, worker.queues, worker.slots, worker.running) == ("wrk_x", ("openai:interactive",), 10, 4)
    assert not worker.draining
    assert (await drain(pool, redis_client, "wrk_x")).draining
    (listed,) = await list_workers(pool, redis_client)
    assert (listed.host, listed.version, listed.draining) == ("there", "1", True)
    await pause_provider(pool, "gemini", paused=False)
