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
import os
from collections import Counter, deque
from collections.abc import Awaitable
from typing import Any, TypeVar

import hypothesis
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
from shared.job import Chunk, pack, unpack_event
from shared.lanes import QueueName, lane_of
from shared.queue.claims import EPOCHS_PER_ENQUEUE, Claim, Memory, Room
from shared.queue.journal import LeaseLost, read_on
from shared.queue.queue import Queue
from shared.settings import Settings
from shared.stores import keys
from shared.stores.redis_client import connect as connect_redis
from shared.stores.scripts import Scripts
from tests.harness.builders import a_release, a_reservation, a_settlement
from tests.integration.jobs import CHANNEL, enqueue, until_the_next_millisecond
from tests.integration.journals import DirectJournal
from tests.integration.queue.model import (
    COPIES,
    DEPTH_MAX,
    JOBS,
    LIMITS,
    QUEUES,
    WORKERS,
    Known,
    Model,
    World,
    is_large,
    model_job,
)

LONG = bool(os.environ.get("PROOFS"))
T = TypeVar("T")
Store = dict[bytes, tuple[bytes, int]]
MUCH_LATER = 2**42
FAR = 10**12
"""Scores below are due (the machine gives them), above are leased or deferred."""

ONE_RUNNING = 2**41
"""By so much a running job raises the rank of its account."""

WRITES_LOST_MAX = 12

HAPPENINGS = ("time", "time", "time", "a reader", "no reader", "a commit", "a payload", "scripts", "writes")

jobs = st.integers(0, JOBS - 1)
memories = st.tuples(st.sampled_from([0, 10_000, 20_000, 40_000]), st.booleans())
old_or_new = st.sampled_from([*[0] * 6, *range(1, 8)])
rooms = st.sampled_from([0, 1, 2, *[4] * 7])
rarely = st.integers(0, 3).map(lambda number: number == 3)


class Door:
    """The real queue, driven from outside a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._runner = asyncio.Runner()
        self.client: Redis = connect_redis(settings, kind=Redis)
        self.lua = self.run(self._start(settings))
        self.queue = Queue(self.lua, lease_s=3_000, keep_run_s=6_000, depth_max=DEPTH_MAX, byte_limits=LIMITS)

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


class Machine(Model, RuleBasedStateMachine):
    """Every step goes to Redis and to the model; both must answer alike and be in the same state."""

    door: Door

    @initialize(waiting=st.sets(jobs))
    def begin(self, waiting: set[int]) -> None:
        self.run(self.door.client.flushdb())
        self.jobs = [model_job(number) for number in range(JOBS)]
        self.world = World([Known() for _ in range(JOBS)])
        self.claims: list[Claim] = []
        self.past: deque[tuple[Store, World]] = deque(maxlen=1 + WRITES_LOST_MAX)
        self.times = itertools.count(2)  # at 1 arq's own ask to abort makes a job due
        for number in waiting:
            self.enqueue(number, again=0)
            self.past.append((self.run(self.door.dump()), copy.deepcopy(self.world)))

    def run(self, work: Awaitable[T]) -> T:
        return self.door.run(work)

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

    def tick(self) -> None:
        self.clock = next(self.times)
        self.run(until_the_next_millisecond(self.door.client))

    # -- front doors

    @rule(number=jobs, again=st.integers(0, 2))
    def enqueue(self, number: int, again: int) -> None:
        known, name = self.known[number], self.queue_of(number)
        there = known.payload or (bool(known.journal) if again else known.enqueued)  # or it was, and ran
        too_much = self.is_full(number) or self.is_full_of_bytes(number)
        refused = known.dead or (not there and not again and too_much)
        self.tick()
        try:
            self.run(enqueue(self.door.queue, self.jobs[number], name, epoch=again * EPOCHS_PER_ENQUEUE))
        except Unavailable:
            assert refused
            return
        assert not refused
        if not there:
            known.payload = known.enqueued = True
            known.bytes = self.size_of(number)
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
            self.let_pass(number)

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
        worker=st.sampled_from(WORKERS),
        provider=rooms,
        lanes=st.tuples(rooms, rooms),
        memory=memories,
        lost=rarely,
    )
    def claim(
        self, worker: str, provider: int, lanes: tuple[int, int], memory: tuple[int, bool], *, lost: bool
    ) -> None:
        """It may be just what the store loses."""
        self._claim(worker, provider, lanes, Memory(*memory))
        if lost:
            self._go_back_to(*self.past[-1])

    def _claim(self, worker: str, provider: int, lanes: tuple[int, int], memory: Memory) -> None:
        rooms = [Room(name, provider, *room) for name, *room in zip(QUEUES, lanes, COPIES, strict=True)]
        self.tick()
        claimed = self.run(self.door.queue.claim(worker, rooms, 3, memory))
        self.worker, self.memory, self.held_up_in = worker, memory, None
        expected = []
        left = min(provider, 3)
        for room in rooms:
            taken = self.taken(room, min(left, room.lane))
            left -= len(taken)
            for number in taken:
                known = self.known[number]
                large = known.bytes if is_large(number) else 0
                expected.append((room.queue, self.jobs[number].id, known.epoch, known.order, known.to_abort, large))
        got = [
            (one.queue, one.id, one.epoch, one.due_ms, one.opening and one.opening.aborted, one.large)
            for one in claimed
        ]
        assert got == expected
        assert claimed.held_up == self.held_up_in
        assert not {one.owner for one in claimed} & {one.owner for one in self.claims}
        for one in claimed:
            self.known[self.number_of(one.id)].owner = one.owner
        self.claims += claimed

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
    @rule(back=old_or_new, last=st.booleans(), ends=rarely.map(lambda no: not no), paid=st.booleans(), off=rarely)
    def append(self, back: int, *, last: bool, ends: bool, paid: bool, off: bool) -> None:
        one = self.claims[-1 - back % len(self.claims)]
        number = self.number_of(one.id)
        known = self.known[number]
        length, ending = len(known.journal) + off, self.door.queue.ending(one) if ends else None
        writer = DirectJournal(self.door.lua, one, live_s=600, length=length, ending=ending)
        end = a_settlement if paid else a_release
        record = end(a_reservation("acc_x", id=one.id)) if last else None
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
            self.stop_running(number)
            if paid and known.payload and not is_large(number) and lane_of(one.queue) == "interactive":
                known.asked = True
                self.keep("asked", number, known.bytes)
            known.read |= bool(known.channel)
            self.keep("journal", number, len(pack(event)))
            known.place, known.payload, known.to_abort = None, False, False
            self.make_room()

    # -- the world

    @rule(what=st.sampled_from(HAPPENINGS), number=jobs, writes=st.integers(0, WRITES_LOST_MAX))
    def happens(self, what: str, number: int, writes: int) -> None:
        match what:
            case "time":
                self._time_passes(number)
            case "a reader":
                self._a_reader_looks(number)
            case "no reader":
                self._its_readers_have_gone(number)
            case "a commit":
                self.run(self.door.client.hdel(keys.SETTLES, self.jobs[number].id))  # type: ignore[arg-type] # typed for both
                self.known[number].to_settle = False
            case "a payload":
                self.run(self.door.client.delete(job_key_prefix + self.jobs[number].id))
                self.known[number].payload = False
            case "scripts":
                self.run(self.door.client.script_flush())
            case _:
                self._the_store_loses_its_last_writes(writes)

    def _time_passes(self, number: int) -> None:
        """A lease lapses, as after a crash, or a deferred job's moment comes."""
        if self.known[number].place in {"leased", "deferred"}:
            name, _, account = self.turn_of(number)
            self.run(self.door.client.delete(in_progress_key_prefix + self.jobs[number].id))
            self.run(self.door.client.zrem(keys.running(name, account), self.jobs[number].id))
            self.known[number].running = False
            self.make_ready(number)

    def _a_reader_looks(self, number: int) -> None:
        known = self.known[number]
        reading = read_on(self.door.lua, self.jobs[number].id, 0, events_max=1, bytes_max=1, channel=CHANNEL)
        assert len(self.run(reading).entries) == min(1, len(known.journal))
        if known.channel is not None:
            known.read, known.channel = True, CHANNEL

    def _its_readers_have_gone(self, number: int) -> None:
        """Long ago."""
        if self.known[number].read:
            self.run(self.door.client.hset(keys.run(self.jobs[number].id), "read", "1"))  # type: ignore[arg-type]
            self.known[number].read = False

    def _the_store_loses_its_last_writes(self, writes: int) -> None:
        """A replica is promoted that had not got them, or never had any; whoever was told of them remembers."""
        if not writes:
            self.run(self.door.client.flushdb())
            self.world = World([Known() for _ in range(JOBS)])
            return
        for _ in range(min(writes, len(self.past) - 1)):
            self.past.pop()
        self._go_back_to(*self.past[-1])

    def _go_back_to(self, store: Store, world: World) -> None:
        self.run(self.door.restore(store))
        self.world = copy.deepcopy(world)

    @invariant()
    def redis_is_as_the_model_says(self) -> None:
        assert self.run(self._state()) == self.known
        by_rank = sorted((*turn[:2], *rank, turn[2]) for turn, rank in self.world.ranks.items())
        assert self.run(self._turns()) == [(*turn, account, running) for *turn, running, _, account in by_rank]
        assert self.run(self._bytes()) == self._counted()
        assert self.run(self._held_up()) == (self._first(), self.world.held_up, self.world.woken)
        assert self.run(self._kept_bytes()) == self.kept_bytes()
        self.past.append((self.run(self.door.dump()), copy.deepcopy(self.world)))

    @invariant()
    def a_journal_holds_the_words_of_claims_one_after_the_other(self) -> None:
        """Never again those of an earlier one, once a later one has written."""
        numbers = {one.owner: number for number, one in enumerate(self.claims)}
        for known in self.known:
            writers = [numbers[event.text.partition(" ")[0]] for event in known.journal if isinstance(event, Chunk)]
            assert writers == sorted(writers)

    async def _turns(self) -> list[tuple[QueueName, bool, str, int]]:
        """Whose turn is next, and how many of their jobs ran when that was last looked at."""
        turns = []
        for name, large in itertools.product(sorted(QUEUES), (False, True)):
            ranks = await self.door.client.zrange(keys.turns(name, large=large), 0, -1, withscores=True)
            turns += [(name, large, who.decode(), int(rank // ONE_RUNNING)) for who, rank in ranks]
        return turns

    async def _bytes(self) -> dict[tuple[str, str], int]:
        """What each account has in each queue, and all of them together."""
        sums: dict[tuple[str, str], int] = {}
        for name in QUEUES:
            found = await self.door.client.hgetall(keys.payload_bytes(name))  # type: ignore[misc]
            sums |= {(name, who.decode()): int(size) for who, size in found.items() if int(size) and who != b":counted"}
        return sums

    def _counted(self) -> dict[tuple[str, str], int]:
        sums: Counter[tuple[str, str]] = Counter()
        for number, known in enumerate(self.known):
            if known.place:
                name, account = self.queue_of(number), self.jobs[number].account_id
                sums.update({(name, account): known.bytes, (name, f":{is_large(number):d}"): known.bytes})
        return {who: size for who, size in sums.items() if size}

    async def _held_up(self) -> tuple[dict[QueueName, str], dict[QueueName, set[str]], dict[str, list[str]]]:
        firsts, held_up, woken = {}, {}, {}
        for name in QUEUES:
            if first := await self.door.client.get(keys.first(name)):
                firsts[name] = first.decode()
            if members := await self.door.client.smembers(keys.held_up(name)):  # type: ignore[misc]
                held_up[name] = {one.decode() for one in members}
        for worker in WORKERS:
            if rings := await self.door.client.lrange(keys.own_bell(worker), 0, -1):  # type: ignore[misc]
                woken[worker] = [one.decode() for one in rings]
        return firsts, held_up, woken

    def _first(self) -> dict[QueueName, str]:
        return {name: self.jobs[number].id for name, number in self.world.first.items()}

    async def _kept_bytes(self) -> int:
        return int(await self.door.client.hget(keys.KEPT, "all") or 0)  # type: ignore[misc]

    async def _state(self) -> list[Known]:
        async with self.door.client.pipeline(transaction=False) as pipe:
            for number, job in enumerate(self.jobs):
                pipe.zscore(self.queue_of(number), job.id)
                pipe.exists(in_progress_key_prefix + job.id)
                pipe.exists(job_key_prefix + job.id)
                pipe.hmget(keys.run(job.id), ["epoch", "owner", "dead", "deadline", "channel", "bytes", "read"])
                pipe.exists(keys.asked(job.id))
                pipe.lrange(keys.journal(job.id), 0, -1)
                pipe.hexists(keys.SETTLES, job.id)
                pipe.zscore(abort_jobs_ss, job.id)
                pipe.zscore(keys.line(self.queue_of(number), job.account_id, large=is_large(number)), job.id)
                pipe.zscore(keys.running(self.queue_of(number), job.account_id), job.id)
            answers = iter(await pipe.execute())
        return [self._as_known(known, *itertools.islice(answers, 10)) for known in self.known]

    @staticmethod
    def _as_known(known: Known, *facts: Any) -> Known:
        score, in_progress, payload, (epoch, owner, dead, deadline, channel, size, read), asked, journal, *rest = facts
        to_settle, to_abort, line, running = rest
        place = None if score is None else "ready" if score < FAR else "leased" if in_progress else "deferred"
        return Known(
            place=place,
            order=int(score) if place == "ready" else known.order,
            payload=bool(payload),
            bytes=int(size or 0),
            asked=bool(asked),
            read=int(read or 0) > 1,
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
                max_examples=300 if LONG else 25,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
