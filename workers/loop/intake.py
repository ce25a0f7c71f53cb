"""Claims jobs and listens to bells: for every free slot a worker either claims a job or listens."""

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
    """Claims jobs and listens for bells, for the free slots that `rooms` returns and the memory for large jobs that
    `memory` returns.

    `wanted` is set if the owner should claim again: a bell rang, a slot is free that is neither claimed for nor listened
    for, or there is memory for a waiting large job. The owner runs `run` as a task. Raises Redis's errors.
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
        """Queues that are being claimed from or listened to. When a slot for one of them becomes free, nothing has to
        be done.
        """
        self._held_up: QueueName | None = None
        """The queue whose next large job waits for memory, according to the last claim."""
        self._next: QueueName | None = None
        """The queue whose large job comes next in its lane. The name is kept while the queue has no slot."""
        self._large_ended = 0
        """The number of large jobs that have ended so far."""
        self._rung: set[QueueName] = set()
        """Queues whose bells rang since the last claim."""

    async def run(self) -> None:
        """Hear bells until cancelled."""
        await self._bells.run()

    async def claim(self, jobs_max: int, start: Callable[[Claim], None]) -> None:
        """Start up to `jobs_max` due jobs, then listen for the slots that are left. If jobs may wait for these slots,
        because the claim used all its room while other jobs ended, `wanted` is set instead.
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
        """Note that a job has ended: set `wanted` if its slot is neither claimed for nor listened for, or if a large
        job waits for its memory.
        """
        if claim.large:
            self._large_ended += 1
            if self._held_up:
                self.wanted.set()
        if self.wanted.is_set() or len(self.heard) == self._queues:
            return  # the next claim covers the slot, or the present one does
        if any(room.queue not in self.heard for room in self._rooms()):
            self.wanted.set()

    async def leave(self) -> None:
        """Stop listening. A worker that takes no more jobs must not take rings from others, so rings that it still hears
        are passed on.
        """
        self._bells.listen({})
        if self._bells.asking:
            await self._queue.wake(self._worker_id)
        await self._bells.answered()
        await self._claim([], 0)

    def _bells_of(self, queues: Collection[QueueName]) -> dict[str, QueueName]:
        """The bells to listen to. The bells of large jobs are included only if no large job waits for
        this worker's memory.
        """
        bells = {bell(queue): queue for queue in queues}
        return bells if self._held_up else bells | {large_bell(queue): queue for queue in queues}

    async def _claim(self, rooms: Sequence[Room], jobs_max: int) -> Claims:
        """Claim due jobs. If a queue that rang has no room here any more, a claim of no jobs passes the ring on."""
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
