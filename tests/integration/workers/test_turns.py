"""A small caller beside large ones that fill every slot and wait by the score: it has the next slot that is freed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from shared.errors import Overloaded
from shared.job import RUN_REQUEST
from shared.queue.queue import Queue
from shared.settings import Settings
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job
from tests.harness.support import eventually
from tests.integration.jobs import enqueue
from tests.integration.working import LONG_S, Gate, function, working

SMALL = "acc_small"


class Crowd:
    """Large accounts on the slots of some workers, each account with `jobs` jobs. Every timer is set to an hour."""

    def __init__(self, queue: Queue, gate: Gate, slots: int) -> None:
        self.queue = queue
        self.gate = gate
        self.slots = slots
        self.accounts: dict[str, str] = {}
        """Of each job."""

    async def wait(self, account: str, jobs: int = 1) -> list[str]:
        """So many jobs of the account come into the queue."""
        new = [a_job(account_id=account) for _ in range(jobs)]
        for job in new:
            self.accounts[job.id] = account
            await enqueue(self.queue, job)
        return [job.id for job in new]

    async def fill(self, large: int, jobs: int) -> None:
        """So many accounts fill the slots, and each of them has had a turn: the first one took all slots to begin with."""
        names = {f"acc_large_{number}" for number in range(large)}
        for name in sorted(names):
            await self.wait(name, jobs)
        await self.gate.has(self.slots)
        while {self.accounts[job_id] for job_id in self.gate.started} != names:
            await self.a_slot_is_freed()

    async def a_slot_is_freed(self) -> str:
        """The oldest job that runs ends; whose job takes its slot."""
        began = len(self.gate.started)
        self.gate.let_go(next(job_id for job_id in self.gate.started if job_id in self.gate.running))
        await eventually(lambda: len(self.gate.started) > began, "a job takes the slot")
        return self.accounts[self.gate.started[began]]


@contextlib.asynccontextmanager
async def _crowd(
    settings: Settings, lua: Scripts, slots: Sequence[int], depth_max: int = 1_000
) -> AsyncIterator[Crowd]:
    gate = Gate()
    queue = Queue(lua, lease_s=10, keep_run_s=60, depth_max=depth_max)
    async with contextlib.AsyncExitStack() as workers:
        for number in slots:
            requests = function(gate.wait, name=RUN_REQUEST)
            await workers.enter_async_context(working(settings, requests, slots=number, idle_wait_s=LONG_S))
        yield Crowd(queue, gate, sum(slots))


@pytest.mark.parametrize("slots", [[1], [3], [2, 2], [12]], ids=str)
@pytest.mark.parametrize("large", [1, 11])
async def test_a_small_callers_request_has_the_next_slot_that_is_freed(
    settings: Settings, lua: Scripts, large: int, slots: list[int]
) -> None:
    async with _crowd(settings, lua, slots) as crowd:
        await crowd.fill(large, jobs=20)
        await crowd.wait(SMALL)
        assert await crowd.a_slot_is_freed() == SMALL


@pytest.mark.parametrize("large", [1, 11])
async def test_so_has_each_of_its_requests_where_large_callers_have_more_slots_than_it(
    settings: Settings, lua: Scripts, large: int
) -> None:
    async with _crowd(settings, lua, [6, 6]) as crowd:
        await crowd.fill(large, jobs=20)
        for _ in range(5):
            (mine,) = await crowd.wait(SMALL)
            assert await crowd.a_slot_is_freed() == SMALL
            crowd.gate.let_go(mine)
            await eventually(lambda: mine in crowd.gate.ended, "it ends")  # noqa: B023
            await crowd.gate.has(crowd.slots)


async def test_callers_with_much_to_do_have_as_many_slots_each(settings: Settings, lua: Scripts) -> None:
    """Whoever came first had all of them; its calls are as long as the others' are short."""
    async with _crowd(settings, lua, [6]) as crowd:
        await crowd.fill(1, jobs=20)
        await crowd.wait(SMALL, 20)
        assert [await crowd.a_slot_is_freed() for _ in range(3)] == [SMALL] * 3
        running = [crowd.accounts[job_id] for job_id in crowd.gate.running]
        assert running.count(SMALL) == 3
        for _ in range(5):
            mine = next(job_id for job_id in crowd.gate.running if crowd.accounts[job_id] == SMALL)
            began = len(crowd.gate.started)
            crowd.gate.let_go(mine)
            await eventually(lambda: len(crowd.gate.started) > began, "a job takes the slot")  # noqa: B023
            assert crowd.accounts[crowd.gate.started[began]] == SMALL


async def test_a_crowd_of_small_callers_starves_no_large_one(settings: Settings, lua: Scripts) -> None:
    async with _crowd(settings, lua, [2]) as crowd:
        await crowd.fill(1, jobs=20)
        taken = []
        for _ in range(12):
            await asyncio.gather(*(crowd.wait(f"acc_small_{number}") for number in range(3)))
            taken.append(await crowd.a_slot_is_freed())
        assert taken.count("acc_large_0") >= 2
        crowd.gate.open()
        await eventually(lambda: len(crowd.gate.ended) == len(crowd.accounts), "everybody's jobs have run")


async def test_where_large_callers_fill_the_queue_they_are_refused_and_a_small_one_is_not(
    settings: Settings, lua: Scripts
) -> None:
    async with _crowd(settings, lua, [1], depth_max=22) as crowd:
        await crowd.fill(1, jobs=1)
        for number in range(11):
            await crowd.wait(f"acc_large_{number}", 2)
        refused = [a_job(account_id=f"acc_large_{number}") for number in range(11)]
        for job in refused:
            with pytest.raises(Overloaded):
                await enqueue(crowd.queue, job)
        await crowd.wait(SMALL)
        crowd.gate.open()
        await eventually(lambda: crowd.accounts.keys() == set(crowd.gate.ended), "all that were admitted have run")
