"""Random sequences of what front doors, workers, crashes and time do to the queue, against a model in plain Python.

Time passes where a rule says so: it rewrites the scores, so that nothing waits and the order of what is due is known. What
asks for a turn and what gives one are a millisecond apart, so that the model counts instead of reading the clock. The store
is a primary that may be replaced by a replica which had not got its last writes: those are taken back then, while the
workers keep the claims that they were given.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
from collections import deque
from collections.abc import Awaitable
from typing import Any, TypeVar

import hypothesis
import msgspec
from arq.constants import abort_jobs_ss, in_progress_key_prefix, job_key_prefix
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
from shared.job import Chunk, Event, Job, unpack_event
from shared.lanes import QueueName
from shared.queue.journal import LeaseLost
from shared.queue.queue import EPOCHS_PER_ENQUEUE, Claim, Queue, Room
from shared.settings import Settings
from shared.stores import keys
from shared.stores.redis_client import connect as connect_redis
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job, a_release, a_reservation
from tests.integration.jobs import CHANNEL, OPENAI, OPENAI_BATCH, enqueue, until_the_next_millisecond
from tests.integration.journals import JournalWriter

T = TypeVar("T")
Store = dict[bytes, tuple[bytes, int]]
QUEUES = (OPENAI, OPENAI_BATCH)
ACCOUNTS = ("acc_a", "acc_b")
JOBS = 8
DEPTH_MAX = 2
MUCH_LATER = 2**42
LONG_AGO = 10**9
"""More turns than a run has: as long ago as the last one of who had none."""
FAR = 10**12
"""Scores below are due (the machine gives them), above are leased or deferred."""

ONE_RUNNING = 2**41
"""By so much a running job raises the rank of its account."""

WRITES_LOST_MAX = 12

jobs = st.integers(0, JOBS - 1)
old_or_new = st.integers(0, 7)
rooms = st.sampled_from([0, 1, 2, 4, 4, 4])


class Known(msgspec.Struct):
    """One job in the model. `place` is ready, leased, deferred, or None when it is in no queue."""

    place: str | None = None
    order: int = 0
    in_line: bool = False
    running: bool = False
    payload: bool = False
    enqueued: bool = False
    epoch: int = 0
    owner: str = ""
    dead: bool = False
    journal: list[Event] = []
    to_settle: bool = False
    channel: str | None = None
    to_abort: bool = False


class World(msgspec.Struct):
    """All that the model knows. Of accounts that have a line in a queue: their `ranks`, which are how many of their jobs ran
    when that was last looked at, and when they had a turn; and of the others, when they were `served` last.
    """

    known: list[Known]
    ranks: dict[tuple[str, str], tuple[int, int]] = {}
    served: dict[tuple[str, str], int] = {}


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

    async def dump(self) -> Store:
        """All that Redis has, with the time that each key has left."""
        names = await self.client.keys()
        async with self.client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.dump(name)
                pipe.pttl(name)
            answers = iter(await pipe.execute())
        return {name: (next(answers), max(next(answers), 0)) for name in names}

    async def restore(self, store: Store) -> None:
        """Make it so again."""
        async with self.client.pipeline() as pipe:
            pipe.flushdb()
            for name, (value, ttl_ms) in store.items():
                pipe.restore(name, ttl_ms, value)
            await pipe.execute()

    def close(self) -> None:
        self.lua.close()
        self.run(self.client.aclose())
        self._runner.close()


class Machine(RuleBasedStateMachine):
    """Every step goes to Redis and to the model; both must answer alike and be in the same state."""

    door: Door

    @initialize(waiting=st.sets(jobs))
    def begin(self, waiting: set[int]) -> None:
        self.run(self.door.client.flushdb())
        self.jobs: list[Job] = [
            a_job(id=new_id("req", number), account_id=ACCOUNTS[number // 2 % 2]) for number in range(JOBS)
        ]
        self.world = World([Known() for _ in range(JOBS)])
        self.claims: list[Claim] = []
        self.past: deque[tuple[Store, World]] = deque(maxlen=1 + WRITES_LOST_MAX)
        self.times = itertools.count(2)  # at 1 arq's own ask to abort makes a job due
        for number in waiting:
            self.enqueue(number, again=0)
            self.past.append((self.run(self.door.dump()), copy.deepcopy(self.world)))

    @property
    def known(self) -> list[Known]:
        return self.world.known

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
        self.run(self.door.client.delete(keys.looked(self.queue_of(number))))  # or it would be due before that

    def owns(self, one: Claim) -> bool:
        """Whether it is the newest claim that the store knows of."""
        known = self.known[self.number_of(one.id)]
        return (known.epoch, known.owner) == (one.epoch, one.owner)

    def ready(self, name: QueueName) -> list[int]:
        numbers = [n for n in range(JOBS) if self.queue_of(n) == name and self.known[n].place == "ready"]
        return sorted(numbers, key=lambda n: self.known[n].order)

    # -- turns

    def turn_of(self, number: int) -> tuple[str, str]:
        return self.queue_of(number), self.jobs[number].account_id

    def of(self, turn: tuple[str, str]) -> list[int]:
        return [number for number in range(JOBS) if self.turn_of(number) == turn]

    def look_at(self, turn: tuple[str, str], served: int | None = None) -> None:
        """Its rank is what it is now."""
        _, last = self.world.ranks.get(turn, (0, self.world.served.get(turn, self.clock - LONG_AGO)))
        self.world.ranks[turn] = (sum(self.known[n].running for n in self.of(turn)), served or last)

    def stand_in_line(self, number: int, *, look_again: bool = False) -> None:
        if not self.known[number].in_line:
            self.known[number].in_line = True
            if look_again or self.turn_of(number) not in self.world.ranks:
                self.look_at(self.turn_of(number))

    def leave_line(self, number: int) -> None:
        turn = self.turn_of(number)
        self.known[number].in_line = False
        if not any(self.known[n].in_line for n in self.of(turn)):
            _, last = self.world.ranks.pop(turn, (0, 0))
            if last > 0:
                self.world.served[turn] = last

    def stop_running(self, number: int) -> None:
        turn = self.turn_of(number)
        if self.known[number].running:
            self.known[number].running = False
            if turn in self.world.ranks:
                self.look_at(turn)

    def next_in_line(self, name: QueueName) -> int | None:
        """The first of the account whose turn it is; it may be due no more."""
        turns = [(rank, turn) for turn, rank in self.world.ranks.items() if turn[0] == name]
        if not turns:
            return None
        in_line = [number for number in self.of(min(turns)[1]) if self.known[number].in_line]
        return min(in_line, key=lambda number: self.known[number].order)

    def is_full(self, number: int) -> bool:
        name, turn = self.queue_of(number), self.turn_of(number)
        waiting = len(self.ready(name))
        own = sum(self.known[n].in_line for n in self.of(turn))
        accounts = sum(one[0] == name for one in self.world.ranks)
        return waiting >= DEPTH_MAX and (own >= max(1, DEPTH_MAX // max(1, accounts)) or waiting >= 2 * DEPTH_MAX)

    def tick(self) -> None:
        self.clock = next(self.times)
        self.run(until_the_next_millisecond(self.door.client))

    # -- front doors

    @rule(number=jobs, again=st.integers(0, 2))
    def enqueue(self, number: int, again: int) -> None:
        known, name = self.known[number], self.queue_of(number)
        there = known.payload or (bool(known.journal) if again else known.enqueued)  # or it was, and ran
        refused = known.dead or (not there and not again and self.is_full(number))
        self.tick()
        try:
            self.run(enqueue(self.door.queue, self.jobs[number], name, epoch=again * EPOCHS_PER_ENQUEUE))
        except Unavailable:
            assert refused
            return
        assert not refused
        if not there:
            known.payload = known.enqueued = True
            known.epoch = again * EPOCHS_PER_ENQUEUE or known.epoch
            known.channel = CHANNEL
            self.stand_in_line(number)
            self.make_ready(number)

    @rule(number=jobs)
    def bury(self, number: int) -> None:
        known = self.known[number]
        buried = self.run(self.door.queue.bury(self.jobs[number].id, self.queue_of(number)))
        assert buried == (known.place != "leased" and not known.to_settle)
        if buried:
            known.dead, known.place, known.payload = True, None, False
            known.epoch += 1
            self.leave_line(number)

    @rule(number=jobs, leaves=st.booleans())
    def cancel(self, number: int, *, leaves: bool) -> None:
        """Its caller asks for it, or its last reader leaves."""
        known, job_id = self.known[number], self.jobs[number].id
        asked = not leaves or known.channel is not None
        if leaves:
            assert self.run(self.door.queue.leave(job_id, CHANNEL)) == asked
            known.channel = "" if asked else None
        else:
            self.run(self.door.queue.cancel(job_id))
        if asked:
            known.to_abort = True
            if known.place == "deferred":
                self.make_ready(number)

    # -- workers

    @rule(
        worker=st.sampled_from("ab"),
        provider=rooms,
        lanes=st.tuples(rooms, rooms),
        lost=st.booleans(),
    )
    def claim(self, worker: str, provider: int, lanes: tuple[int, int], *, lost: bool) -> None:
        """It may be just what the store loses."""
        self._claim(worker, provider, lanes)
        if lost:
            self._go_back_to(*self.past[-1])

    def _claim(self, worker: str, provider: int, lanes: tuple[int, int]) -> None:
        rooms = [Room(name, provider, lane) for name, lane in zip(QUEUES, lanes, strict=True)]
        self.tick()
        claimed = self.run(self.door.queue.claim(worker, rooms, 3))
        expected = []
        left = min(provider, 3)
        for room in rooms:
            taken = self._taken(room.queue, min(left, room.lane))
            left -= len(taken)
            for number in taken:
                known = self.known[number]
                expected.append((room.queue, self.jobs[number].id, known.epoch, known.order, known.to_abort))
        got = [(one.queue, one.id, one.epoch, one.due_ms, one.opening and one.opening.aborted) for one in claimed]
        assert got == expected
        assert not {one.owner for one in claimed} & {one.owner for one in self.claims}
        for one in claimed:
            self.known[self.number_of(one.id)].owner = one.owner
        self.claims += claimed

    def _taken(self, name: QueueName, want: int) -> list[int]:
        taken: list[int] = []
        if want and (ready := self.ready(name)):
            for one in ready:
                self.stand_in_line(one, look_again=True)
            while len(taken) < want and (number := self.next_in_line(name)) is not None:
                known = self.known[number]
                if known.place == "ready" and known.payload and not known.dead:
                    known.place, known.epoch, known.running = "leased", known.epoch + 1, True
                    self.look_at(self.turn_of(number), served=self.clock)
                    taken.append(number)
                elif known.place == "ready":
                    known.place, known.payload = None, False
                self.leave_line(number)
        return taken

    @precondition(lambda self: self.claims)
    @rule(back=st.lists(old_or_new, min_size=1, max_size=4, unique=True))
    def renew(self, back: list[int]) -> None:
        claims = [self.claims[-1 - n % len(self.claims)] for n in back]
        lost = set()
        for one in claims:
            known = self.known[self.number_of(one.id)]
            if self.owns(one) and known.place:
                known.place, known.running = "leased", True
            else:
                lost.add(one.id)
        assert set(self.run(self.door.queue.renew(claims))) == lost

    @precondition(lambda self: self.claims)
    @rule(back=old_or_new)
    def finish(self, back: int) -> None:
        one = self.claims[-1 - back % len(self.claims)]
        known = self.known[self.number_of(one.id)]
        assert self.run(self.door.queue.finish(one)) == self.owns(one)
        if self.owns(one):
            self.stop_running(self.number_of(one.id))
            known.place, known.payload, known.to_abort = None, False, False

    @precondition(lambda self: self.claims)
    @rule(back=old_or_new, due_ms=st.sampled_from([0, MUCH_LATER]))
    def give_back(self, back: int, due_ms: int) -> None:
        one = self.claims[-1 - back % len(self.claims)]
        known = self.known[self.number_of(one.id)]
        assert self.run(self.door.queue.give_back(one, due_ms=due_ms)) == self.owns(one)
        if self.owns(one):
            self.stop_running(self.number_of(one.id))
        if self.owns(one) and known.place:
            known.place = "deferred"
            if not due_ms or known.to_abort:
                self.make_ready(self.number_of(one.id))

    @precondition(lambda self: self.claims)
    @rule(back=old_or_new, last=st.booleans(), ends=st.booleans(), off=st.sampled_from([0, 0, 0, 1]))
    def append(self, back: int, *, last: bool, ends: bool, off: int) -> None:
        one = self.claims[-1 - back % len(self.claims)]
        known = self.known[self.number_of(one.id)]
        length, ending = len(known.journal) + off, self.door.queue.ending(one) if ends else ""
        writer = JournalWriter(self.door.lua, one, live_s=600, length=length, ending=ending)
        record = a_release(a_reservation("acc_x", id=one.id)) if last else None
        event = Chunk(f"{one.owner} {next(self.times)}")
        try:
            self.run(writer.append(event, record))
        except LeaseLost:
            assert not self.owns(one) or off
            return
        assert self.owns(one)
        assert not off
        known.journal.append(event)
        known.to_settle |= last
        if last and ends:
            self.stop_running(self.number_of(one.id))
            known.place, known.payload, known.to_abort = None, False, False

    # -- the world

    @rule(number=jobs)
    def time_passes(self, number: int) -> None:
        """A lease lapses, as after a crash, or a deferred job's moment comes."""
        if self.known[number].place in {"leased", "deferred"}:
            name, account = self.turn_of(number)
            self.run(self.door.client.delete(in_progress_key_prefix + self.jobs[number].id))
            self.run(self.door.client.zrem(keys.running(QueueName(name), account), self.jobs[number].id))
            self.known[number].running = False
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
            self.world = World([Known() for _ in range(JOBS)])

    @rule(writes=st.integers(1, WRITES_LOST_MAX))
    def the_store_loses_its_last_writes(self, writes: int) -> None:
        """A replica is promoted that had not got them; whoever was told of them remembers."""
        for _ in range(min(writes, len(self.past) - 1)):
            self.past.pop()
        self._go_back_to(*self.past[-1])

    def _go_back_to(self, store: Store, world: World) -> None:
        self.run(self.door.restore(store))
        self.world = copy.deepcopy(world)

    @invariant()
    def redis_is_as_the_model_says(self) -> None:
        assert self.run(self._state()) == self.known
        by_rank = sorted((name, *rank, account) for (name, account), rank in self.world.ranks.items())
        assert self.run(self._turns()) == [(name, account, running) for name, running, _, account in by_rank]
        self.past.append((self.run(self.door.dump()), copy.deepcopy(self.world)))

    @invariant()
    def a_journal_holds_the_words_of_claims_one_after_the_other(self) -> None:
        """Never again those of an earlier one, once a later one has written."""
        numbers = {one.owner: number for number, one in enumerate(self.claims)}
        for known in self.known:
            writers = [numbers[event.text.partition(" ")[0]] for event in known.journal if isinstance(event, Chunk)]
            assert writers == sorted(writers)

    async def _turns(self) -> list[tuple[str, str, int]]:
        """Whose turn is next, and how many of their jobs ran when that was last looked at."""
        ranks = {name: await self.door.client.zrange(keys.turns(name), 0, -1, withscores=True) for name in QUEUES}
        return [(name, who.decode(), int(rank // ONE_RUNNING)) for name in sorted(QUEUES) for who, rank in ranks[name]]

    async def _state(self) -> list[Known]:
        async with self.door.client.pipeline(transaction=False) as pipe:
            for number, job in enumerate(self.jobs):
                pipe.zscore(self.queue_of(number), job.id)
                pipe.exists(in_progress_key_prefix + job.id)
                pipe.exists(job_key_prefix + job.id)
                pipe.hmget(keys.run(job.id), ["epoch", "owner", "dead", "deadline", "channel"])
                pipe.lrange(keys.journal(job.id), 0, -1)
                pipe.hexists(keys.SETTLES, job.id)
                pipe.zscore(abort_jobs_ss, job.id)
                pipe.zscore(keys.line(self.queue_of(number), job.account_id), job.id)
                pipe.zscore(keys.running(self.queue_of(number), job.account_id), job.id)
            answers = iter(await pipe.execute())
        return [self._as_known(known, *itertools.islice(answers, 9)) for known in self.known]

    @staticmethod
    def _as_known(known: Known, *facts: Any) -> Known:
        score, in_progress, payload, (epoch, owner, dead, deadline, channel), journal, *rest = facts
        to_settle, to_abort, line, running = rest
        place = None if score is None else "ready" if score < FAR else "leased" if in_progress else "deferred"
        return Known(
            place=place,
            order=int(score) if place == "ready" else known.order,
            payload=bool(payload),
            enqueued=deadline is not None,
            epoch=int(epoch or 0),
            owner=(owner or b"").decode(),
            dead=dead is not None,
            journal=[unpack_event(event) for event in journal],
            to_settle=bool(to_settle),
            channel=channel.decode() if channel is not None else None,
            to_abort=to_abort is not None,
            in_line=line is not None,
            running=running is not None,
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
