"""Random sequences of what front doors, workers, crashes and time do to the queue, against a model in plain Python.

Time passes where a rule says so: it rewrites the scores, so that nothing waits and the order of what is due is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable
from typing import Any, TypeVar

import hypothesis
import msgspec
from arq.constants import in_progress_key_prefix, job_key_prefix
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from shared.errors import Unavailable
from shared.ids import new_id
from shared.job import Chunk, Job
from shared.lanes import QueueName
from shared.queue.journal import LeaseLost
from shared.queue.queue import EPOCHS_PER_ENQUEUE, Claim, Queue, Room
from shared.settings import Settings
from shared.stores import keys
from shared.stores.redis_client import connect as connect_redis
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job, a_release, a_reservation
from tests.integration.jobs import OPENAI, OPENAI_BATCH, enqueue
from tests.integration.journals import JournalWriter

T = TypeVar("T")
QUEUES = (OPENAI, OPENAI_BATCH)
JOBS = 6
DEPTH_MAX = 2
MUCH_LATER = 2**42
FAR = 10**12
"""Scores below are due (the machine gives them), above are leased or deferred."""

jobs = st.integers(0, JOBS - 1)
old_or_new = st.integers(0, 7)


class Known(msgspec.Struct):
    """One job in the model. `place` is ready, leased, deferred, or None when it is in no queue."""

    place: str | None = None
    order: int = 0
    payload: bool = False
    epoch: int = 0
    dead: bool = False
    events: int = 0
    to_settle: bool = False


class Door:
    """The real queue, driven from outside a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._runner = asyncio.Runner()
        self.client: Redis = connect_redis(settings, kind=Redis)
        self.lua = self.run(self._start(settings))
        self.queue = Queue(self.lua, lease_s=3_000, keep_run_s=6_000, depth_max=DEPTH_MAX)

    async def _start(self, settings: Settings) -> Scripts:
        return Scripts(self.client, settings)

    def run(self, work: Awaitable[T]) -> T:
        async def as_coroutine() -> T:
            return await work

        return self._runner.run(as_coroutine())

    def close(self) -> None:
        self.lua.close()
        self.run(self.client.aclose())
        self._runner.close()


class Machine(RuleBasedStateMachine):
    """Every step goes to Redis and to the model; both must answer alike and be in the same state."""

    door: Door

    @initialize()
    def begin(self) -> None:
        self.run(self.door.client.flushdb())
        self.jobs: list[Job] = [a_job(id=new_id("req", number)) for number in range(JOBS)]
        self.known = [Known() for _ in range(JOBS)]
        self.claims: list[Claim] = []
        self.times = itertools.count(1)

    def run(self, work: Awaitable[T]) -> T:
        return self.door.run(work)

    @staticmethod
    def queue_of(number: int) -> QueueName:
        return QUEUES[number % 2]

    def number_of(self, job_id: str) -> int:
        return next(number for number, job in enumerate(self.jobs) if job.id == job_id)

    def make_ready(self, number: int) -> None:
        """Due now, behind everything else that is."""
        known = self.known[number]
        known.place, known.order = "ready", next(self.times)
        scores = {self.jobs[number].id: known.order}
        assert self.run(self.door.client.zadd(self.queue_of(number), scores, xx=True)) == 0

    def ready(self, name: QueueName) -> list[int]:
        numbers = [n for n in range(JOBS) if self.queue_of(n) == name and self.known[n].place == "ready"]
        return sorted(numbers, key=lambda n: self.known[n].order)

    # -- front doors

    @rule(number=jobs, again=st.integers(0, 2))
    def enqueue(self, number: int, again: int) -> None:
        known, name = self.known[number], self.queue_of(number)
        there = known.payload or bool(again and known.events)  # put back, but it ran after all: its journal says so
        refused = known.dead or (not there and len(self.ready(name)) >= DEPTH_MAX)
        try:
            self.run(enqueue(self.door.queue, self.jobs[number], name, epoch=again * EPOCHS_PER_ENQUEUE))
        except Unavailable:
            assert refused
            return
        assert not refused
        if not there:
            known.payload = True
            known.epoch = again * EPOCHS_PER_ENQUEUE or known.epoch
            self.make_ready(number)

    @rule(number=jobs)
    def bury(self, number: int) -> None:
        known = self.known[number]
        buried = self.run(self.door.queue.bury(self.jobs[number].id, self.queue_of(number)))
        assert buried == (known.place != "leased" and not known.to_settle)
        if buried:
            known.dead, known.place, known.payload = True, None, False
            known.epoch += 1

    # -- workers

    @rule(worker=st.sampled_from("ab"), provider=st.integers(0, 4), lanes=st.tuples(*[st.integers(0, 4)] * 2))
    def claim(self, worker: str, provider: int, lanes: tuple[int, int]) -> None:
        rooms = [Room(name, provider, lane) for name, lane in zip(QUEUES, lanes, strict=True)]
        claimed = self.run(self.door.queue.claim(worker, rooms, 3))
        expected = []
        left = min(provider, 3)
        for room in rooms:
            for number in self.ready(room.queue)[: min(left, room.lane)]:
                known = self.known[number]
                if not known.payload or known.dead:
                    known.place, known.payload = None, False
                    continue
                known.place, known.epoch = "leased", known.epoch + 1
                expected.append((room.queue, self.jobs[number].id, known.epoch, known.order))
                left -= 1
        assert [one[:4] for one in claimed] == expected
        self.claims += claimed

    @precondition(lambda self: self.claims)
    @rule(worker=st.sampled_from("ab"), back=st.lists(old_or_new, min_size=1, max_size=4, unique=True))
    def renew(self, worker: str, back: list[int]) -> None:
        claims = [self.claims[-1 - n % len(self.claims)] for n in back]
        lost = set()
        for one in claims:
            known = self.known[self.number_of(one.id)]
            if known.epoch == one.epoch and known.place:
                known.place = "leased"
            else:
                lost.add(one.id)
        assert set(self.run(self.door.queue.renew(worker, claims))) == lost

    @precondition(lambda self: self.claims)
    @rule(back=old_or_new)
    def finish(self, back: int) -> None:
        one = self.claims[-1 - back % len(self.claims)]
        known = self.known[self.number_of(one.id)]
        assert self.run(self.door.queue.finish(one)) == (known.epoch == one.epoch)
        if known.epoch == one.epoch:
            known.place, known.payload = None, False

    @precondition(lambda self: self.claims)
    @rule(back=old_or_new, due_ms=st.sampled_from([0, MUCH_LATER]))
    def give_back(self, back: int, due_ms: int) -> None:
        one = self.claims[-1 - back % len(self.claims)]
        known = self.known[self.number_of(one.id)]
        assert self.run(self.door.queue.give_back(one, due_ms=due_ms)) == (known.epoch == one.epoch)
        if known.epoch == one.epoch and known.place:
            known.place = "deferred"
            if not due_ms:
                self.make_ready(self.number_of(one.id))

    @precondition(lambda self: self.claims)
    @rule(back=old_or_new, last=st.booleans(), ends=st.booleans(), off=st.sampled_from([0, 0, 0, 1]))
    def append(self, back: int, *, last: bool, ends: bool, off: int) -> None:
        one = self.claims[-1 - back % len(self.claims)]
        known = self.known[self.number_of(one.id)]
        length, ending = known.events + off, self.door.queue.ending(one) if ends else ""
        writer = JournalWriter(self.door.lua, one.id, one.epoch, live_s=600, length=length, ending=ending)
        record = a_release(a_reservation("acc_x", id=one.id)) if last else None
        try:
            self.run(writer.append(Chunk(f"{next(self.times)}"), record))
        except LeaseLost:
            assert known.epoch != one.epoch or off
            return
        assert known.epoch == one.epoch
        assert not off
        known.events += 1
        known.to_settle |= last
        if last and ends:
            known.place, known.payload = None, False

    # -- the world

    @rule(number=jobs)
    def time_passes(self, number: int) -> None:
        """A lease lapses, as after a crash, or a deferred job's moment comes."""
        if self.known[number].place in {"leased", "deferred"}:
            self.run(self.door.client.delete(in_progress_key_prefix + self.jobs[number].id))
            self.make_ready(number)

    @rule(number=jobs)
    def a_settlement_is_committed(self, number: int) -> None:
        self.run(self.door.client.hdel(keys.SETTLES, self.jobs[number].id))  # type: ignore[arg-type] # typed for both clients
        self.known[number].to_settle = False

    @rule(number=jobs)
    def a_payload_expires(self, number: int) -> None:
        self.run(self.door.client.delete(job_key_prefix + self.jobs[number].id))
        self.known[number].payload = False

    @rule()
    def the_server_forgets_its_scripts(self) -> None:
        self.run(self.door.client.script_flush())

    @rule(really=st.integers(0, 9))
    def the_server_forgets_everything(self, really: int) -> None:
        if not really:
            self.run(self.door.client.flushdb())
            self.known = [Known() for _ in range(JOBS)]

    @invariant()
    def redis_is_as_the_model_says(self) -> None:
        assert self.run(self._state()) == self.known

    async def _state(self) -> list[Known]:
        async with self.door.client.pipeline(transaction=False) as pipe:
            for number, job in enumerate(self.jobs):
                pipe.zscore(self.queue_of(number), job.id)
                pipe.exists(in_progress_key_prefix + job.id)
                pipe.exists(job_key_prefix + job.id)
                pipe.hmget(keys.run(job.id), ["epoch", "dead"])
                pipe.llen(keys.journal(job.id))
                pipe.hexists(keys.SETTLES, job.id)
            answers = iter(await pipe.execute())
        return [self._as_known(known, *itertools.islice(answers, 6)) for known in self.known]

    @staticmethod
    def _as_known(known: Known, *facts: Any) -> Known:
        score, in_progress, payload, (epoch, dead), events, to_settle = facts
        place = None if score is None else "ready" if score < FAR else "leased" if in_progress else "deferred"
        return Known(
            place=place,
            order=int(score) if place == "ready" else known.order,
            payload=bool(payload),
            epoch=int(epoch or 0),
            dead=dead is not None,
            events=events,
            to_settle=bool(to_settle),
        )


def test_the_queue_does_what_the_model_does(settings: Settings) -> None:
    with contextlib.closing(Door(settings)) as door:
        machine = type("QueueMachine", (Machine,), {"door": door})
        run_state_machine_as_test(
            machine,
            settings=hypothesis.settings(
                max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
