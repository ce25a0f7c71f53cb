"""What the scripts of the queue do, in plain Python: whose turn it is, what is too much, what a worker has memory for.

Half of the jobs are large ones, of which a queue, and a worker's memory, take few.
"""

from __future__ import annotations

import msgspec
from arq.jobs import serialize_job

from shared.chat import Message
from shared.ids import new_id
from shared.job import RUN_REQUEST, Event, Job, Sealed, arq_serializer, pack
from shared.lanes import QueueName, lane_of
from shared.queue.byte_limits import ByteLimits
from shared.queue.claims import Memory, Room
from tests.harness.builders import a_job
from tests.integration.jobs import OPENAI, OPENAI_BATCH

QUEUES = (OPENAI, OPENAI_BATCH)
ACCOUNTS = ("acc_a", "acc_b")
WORKERS = ("a", "b")
JOBS = 12
SMALL_JOBS = 6
LARGE_BYTES = 5_000
DEPTH_MAX = 3
LIMITS = ByteLimits(
    queue=18_000, reserve=3_000, newcomers=7_000, small=3_000, asked=3_000, kept=4_000, readers_ms=3_600_000
)
COPIES = (1, 2)
LOOKED_AT_OF_KEPT = 16
LONG_AGO = 10**9
"""More turns than a run has: as long ago as the last one of who had none."""


class Known(msgspec.Struct):
    """One job in the model. `place` is ready, leased, deferred, or None when it is in no queue. `bytes` is what was noted of
    its payload; `asked` is kept after its end, and `read` says that a reader may come for more of its journal.
    """

    place: str | None = None
    order: int = 0
    in_line: bool = False
    running: bool = False
    payload: bool = False
    bytes: int = 0
    asked: bool = False
    read: bool = False
    enqueued: bool = False
    epoch: int = 0
    owner: str = ""
    dead: bool = False
    journal: list[Event] = []
    to_settle: bool = False
    channel: str | None = None
    to_abort: bool = False


Turn = tuple[QueueName, bool, str]
"""A queue, whether it is about large jobs, and an account."""


class World(msgspec.Struct):
    """All that the model knows. Of accounts that have a line in a queue, for small or for large jobs: their `ranks`, which
    are how many of their jobs ran when that was last looked at, and when they had a turn; and of the others, when they were
    `served` last. The large job that is `first` in a queue, whom it has `held_up`, and who was `woken` for which queue. What
    is `kept` of requests that have ended, the oldest first in each lane: what of which job, and its bytes.
    """

    known: list[Known]
    ranks: dict[Turn, tuple[int, int]] = {}
    served: dict[tuple[str, str], int] = {}
    first: dict[QueueName, int] = {}
    held_up: dict[QueueName, set[str]] = {}
    woken: dict[str, list[str]] = {}
    kept: dict[str, list[tuple[str, int, int]]] = {}


class Model:
    """`jobs` are named by their numbers. `clock` counts what asks for a turn and what gives one; `claim` is of `worker`, with
    `memory`, and finds out where that is `held_up_in`.
    """

    jobs: list[Job]
    world: World
    clock: int
    worker: str
    memory: Memory
    held_up_in: QueueName | None

    @property
    def known(self) -> list[Known]:
        return self.world.known

    @staticmethod
    def queue_of(number: int) -> QueueName:
        return QUEUES[number % 2]

    def ready(self, name: QueueName) -> list[int]:
        numbers = [n for n in range(JOBS) if self.queue_of(n) == name and self.known[n].place == "ready"]
        return sorted(numbers, key=lambda n: self.known[n].order)

    # -- turns

    def turn_of(self, number: int) -> Turn:
        return self.queue_of(number), is_large(number), self.jobs[number].account_id

    def of(self, turn: Turn) -> list[int]:
        return [number for number in range(JOBS) if self.turn_of(number) == turn]

    def look_at(self, turn: Turn, served: int | None = None) -> None:
        """Its rank is what it is now."""
        last = self.world.ranks[turn][1] if turn in self.world.ranks else self.last_turn(turn)
        running = sum(self.known[n].running for one in (turn, beside(turn)) for n in self.of(one))
        self.world.ranks[turn] = (running, served or last)

    def last_turn(self, turn: Turn) -> int:
        if beside(turn) in self.world.ranks:
            return self.world.ranks[beside(turn)][1]
        return self.world.served.get((turn[0], turn[2]), self.clock - LONG_AGO)

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
                self.world.served[turn[0], turn[2]] = last

    def stop_running(self, number: int) -> None:
        if self.known[number].running:
            self.known[number].running = False
            for turn in (self.turn_of(number), beside(self.turn_of(number))):
                if turn in self.world.ranks:
                    self.look_at(turn)

    def next_in_line(self, name: QueueName, *, with_large: bool) -> int | None:
        """The first of the account whose turn it is; it may be due no more. What was held up comes before all others."""
        first = self.world.first.get(name)
        if with_large and first is not None and any(turn[:2] == (name, True) for turn in self.world.ranks):
            if self.known[first].in_line:
                return first
            self.let_pass(first, self.worker)
        turns = [
            (rank, turn[2], turn)
            for turn, rank in self.world.ranks.items()
            if turn[0] == name and turn[1] <= with_large
        ]
        if not turns:
            return None
        rank, account, _ = min(turns)
        heads = [
            min((n for n in self.of(turn) if self.known[n].in_line), key=lambda n: self.known[n].order)
            for its_rank, its_account, turn in turns
            if (its_rank, its_account) == (rank, account)
        ]
        return min(heads, key=lambda n: self.known[n].order)

    def let_pass(self, number: int, worker: str = "") -> None:
        """The job that was first of its queue is so no more: whoever it held up is woken."""
        name = self.queue_of(number)
        if self.world.first.get(name) == number:
            del self.world.first[name]
            for one in self.world.held_up.pop(name, set()) - {worker}:
                self.world.woken[one] = [name, *self.world.woken.get(one, [])][:8]

    # -- what is too much

    def is_full(self, number: int) -> bool:
        """By the jobs that wait."""
        name, _, account = self.turn_of(number)
        waiting = len(self.ready(name))
        own = sum(known.in_line for n, known in enumerate(self.known) if self._is_of(n, name, account))
        accounts = len({turn[2] for turn in self.world.ranks if turn[0] == name})
        return waiting >= DEPTH_MAX and (own >= max(1, DEPTH_MAX // max(1, accounts)) or waiting >= 2 * DEPTH_MAX)

    def is_full_of_bytes(self, number: int) -> bool:
        """By the payloads of those that wait or run."""
        name, large, account = self.turn_of(number)
        size = self.size_of(number)
        counted = {n: self.known[n].bytes for n in range(JOBS) if self.queue_of(n) == name and self.known[n].place}
        small = sum(size for n, size in counted.items() if not is_large(n)) + (0 if large else size)
        taken = sum(counted.values()) + size - min(small, LIMITS.reserve)
        if taken <= LIMITS.queue or (small <= LIMITS.reserve and not large):
            return False
        own = sum(size for n, size in counted.items() if self._is_of(n, name, account))
        accounts = {self.jobs[n].account_id for n in counted}
        if own <= LIMITS.small:
            return taken > 2 * LIMITS.queue
        return own >= LIMITS.queue / max(1, len(accounts)) or taken > 2 * LIMITS.queue - LIMITS.newcomers

    def _is_of(self, number: int, name: QueueName, account: str) -> bool:
        return self.queue_of(number) == name and self.jobs[number].account_id == account

    def size_of(self, number: int) -> int:
        sealed = Sealed(pack(self.jobs[number]))
        return len(serialize_job(RUN_REQUEST, (sealed,), {}, None, 2**40, serializer=arq_serializer))

    def keep(self, what: str, number: int, size: int) -> None:
        self.world.kept.setdefault(lane_of(self.queue_of(number)), []).append((what, number, size))

    def make_room(self) -> None:
        looked_at = 0
        for lane in sorted(self.world.kept):  # what goes sooner by itself comes first
            kept = self.world.kept[lane]
            while looked_at < LOOKED_AT_OF_KEPT and self.kept_bytes() > LIMITS.kept:
                if not kept:
                    del self.world.kept[lane]
                    break
                looked_at += 1
                what, number, size = kept.pop(0)
                known = self.known[number]
                if what == "journal" and (known.read or known.payload):
                    self.world.kept[max(self.world.kept)].append((what, number, size))
                elif what == "journal":
                    known.journal = []
                else:
                    known.asked = False

    def kept_bytes(self) -> int:
        return sum(size for kept in self.world.kept.values() for _, _, size in kept)

    # -- what a worker gets

    def taken(self, room: Room, want: int) -> list[int]:
        taken: list[int] = []
        if not want or not (ready := self.ready(room.queue)):
            return taken
        for one in ready:
            self.stand_in_line(one, look_again=True)
        while len(taken) < want:
            number = self.next_in_line(room.queue, with_large=self.held_up_in is None)
            if number is None:
                break
            known = self.known[number]
            if known.place == "ready" and known.payload and not self._fits(number, room):
                self.held_up_in = room.queue
                self.world.first[room.queue] = number
                self.world.held_up.setdefault(room.queue, set()).add(self.worker)
                continue
            if known.place == "ready" and known.payload and not known.dead:
                self._begin(number, room)
                taken.append(number)
            elif known.place == "ready":
                known.place, known.payload = None, False
            self.leave_line(number)
            self.let_pass(number, self.worker)
        return taken

    def _begin(self, number: int, room: Room) -> None:
        known = self.known[number]
        known.place, known.epoch, known.running = "leased", known.epoch + 1, True
        for turn in (self.turn_of(number), beside(self.turn_of(number))):
            if turn in self.world.ranks:
                self.look_at(turn, served=self.clock)
        if is_large(number):
            self.memory = Memory(self.memory.free - known.bytes * room.copies, alone=False)

    def _fits(self, number: int, room: Room) -> bool:
        needed = self.known[number].bytes * room.copies
        return not is_large(number) or self.memory.alone or needed <= self.memory.free


def is_large(number: int) -> bool:
    return number >= SMALL_JOBS


def model_job(number: int) -> Job:
    text = "x" * (LARGE_BYTES + 500 * number) if is_large(number) else "Hello"
    account = ACCOUNTS[number // 2 % 2]
    return a_job(id=new_id("req", number), account_id=account, messages=[Message("user", text)])


def beside(turn: Turn) -> Turn:
    """The same account's with jobs of the other size."""
    name, large, account = turn
    return name, not large, account
