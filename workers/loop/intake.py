"""What a worker claims, and for what it listens: every slot that is free is claimed for, or has its bell heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from redis.asyncio import Redis

from shared.lanes import QueueName
from shared.queue.claims import Claim, Claims, Memory, Room
from shared.queue.queue import Queue
from shared.stores.keys import bell, large_bell
from workers.loop.bells import Bells
from workers.loop.slots import Slots, first_of_lane, used_up


class Intake:
    """Claims jobs and listens for bells, for the slots that `rooms` says are free at that moment, and the memory for large
    jobs that `memory` says there is.

    `wanted` is set when the owner should claim again: a bell rang, a slot is free that is neither claimed for nor listened
    for, or memory is, for which a large job waits. `run` is a task of the owner. Redis's errors are raised.
    """

    def __init__(
        self,
        client: Redis,
        queue: Queue,
        worker_id: str,
        slots: Slots,
        rooms: Callable[[], list[Room]],
        memory: Callable[[], Memory],
        *,
        wait_s: float,
    ) -> None:
        self._queue = queue
        self._worker_id = worker_id
        self._queues = len(slots.queues)
        self._rooms = rooms
        self._memory = memory
        self._bells = Bells(client, worker_id, self._rang, wait_s=wait_s)
        self.wanted = asyncio.Event()
        self.heard: frozenset[QueueName] = frozenset()
        """Queues that are being claimed from or listened to: a slot for them needs nobody's attention when it is freed."""
        self._held_up: QueueName | None = None
        """A queue whose next large job waits for memory, as the last claim found."""
        self._next: QueueName | None = None
        """The same, also when that queue has had no slot since."""
        self._large_ended = 0
        """Large jobs, ever."""
        self._rung: set[QueueName] = set()
        """Queues whose bells rang since the last claim."""

    async def run(self) -> None:
        """Hear bells until cancelled."""
        await self._bells.run()

    async def claim(self, jobs_max: int, start: Callable[[Claim], None]) -> None:
        """Start up to `jobs_max` jobs that are due, then listen for the slots that are left. Sets `wanted` instead when jobs
        may wait for those: the claim took all that it had room for, and other jobs ended meanwhile.
        """
        rooms, large_ended = first_of_lane(self._rooms(), self._next), self._large_ended
        claims = await self._claim(rooms, jobs_max)
        for claim in claims:
            start(claim)
        self._held_up = claims.held_up
        if self._held_up or self._next in self.heard:
            self._next = self._held_up
        free_now = {room.queue for room in self._rooms()}
        memory_came = self._held_up is not None and self._large_ended != large_ended
        if memory_came or free_now & used_up(rooms, jobs_max, [claim.queue for claim in claims]):
            self.wanted.set()
            return
        self.heard = frozenset(free_now)
        if self._bells.listen(self._bells_of(free_now)):
            await self._queue.wake(self._worker_id)

    def note_ended(self, claim: Claim) -> None:
        """A job has ended: set `wanted` if its slot is neither claimed for nor listened for, or if a large job waits for its
        memory.
        """
        if claim.large:
            self._large_ended += 1
            if self._held_up:
                self.wanted.set()
        if self.wanted.is_set() or len(self.heard) == self._queues:
            return  # the next claim asks for it anyway, or is asking
        if any(room.queue not in self.heard for room in self._rooms()):
            self.wanted.set()

    async def leave(self) -> None:
        """Stop listening. A worker that takes no more must not take a ring from one that does, nor take one with it into its
        grave: what it still hears is handed on.
        """
        self._bells.listen({})
        if self._bells.asking:
            await self._queue.wake(self._worker_id)
        await self._bells.answered()
        await self._claim([], 0)

    def _bells_of(self, queues: Collection[QueueName]) -> dict[str, QueueName]:
        """The bells to listen to: for large jobs that were left behind only if none waits for memory of this worker."""
        bells = {bell(queue): queue for queue in queues}
        return bells if self._held_up else bells | {large_bell(queue): queue for queue in queues}

    async def _claim(self, rooms: Sequence[Room], jobs_max: int) -> Claims:
        """What is due. The ring of a queue that has no room here any more is handed on, by a claim of none."""
        self.heard = frozenset(room.queue for room in rooms)
        rung, self._rung = self._rung, set()
        handed_on = [Room(queue, 0, 0) for queue in rung - self.heard]
        if not rooms and not handed_on:
            return Claims()
        try:
            return await self._queue.claim(self._worker_id, [*rooms, *handed_on], jobs_max, self._memory())
        except BaseException:
            self._rung |= rung
            raise

    def _rang(self, queue: QueueName) -> None:
        self._rung.add(queue)
        self.wanted.set()
