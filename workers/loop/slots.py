"""How many jobs of each queue a worker may take now, so that no vendor and no lane can starve the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from shared.lanes import QueueName, lane_of, provider_of
from shared.queue.claims import Room


class Slots:
    """A worker's slots: `total` jobs at a time; `reserved` of them batch may never take; in a worker that serves several
    providers one of them may not exceed `share_percent`. `copies` says of each provider how much memory a byte of a payload
    takes.
    """

    def __init__(
        self,
        *,
        queues: Sequence[QueueName],
        total: int,
        reserved: int,
        share_percent: int,
        copies: Mapping[str, int] | None = None,
    ) -> None:
        self.queues = queues
        self.total = total
        self.copies = copies or {}
        several = len({provider_of(queue) for queue in queues}) > 1
        mixed = len({lane_of(queue) for queue in queues}) > 1
        self._share = max(1, total * share_percent // 100) if several else total
        self._batch_slots = max(1, total - reserved) if mixed else total
        reserved_of_share = -(-reserved * self._share // total)  # as much as of all slots, rounded up
        self._batch_share = max(1, self._share - reserved_of_share) if mixed else self._share
        self._parts = [(queue, provider_of(queue), lane_of(queue)) for queue in queues]

    def rooms(self, running: Iterable[QueueName]) -> list[Room]:
        """What may still be claimed, given the queues of the jobs that run; full queues are left out."""
        by_queue = Counter(running)
        free = self.total - by_queue.total()
        by_provider: Counter[str] = Counter()
        by_lane: Counter[str] = Counter()
        for queue, count in by_queue.items():
            by_provider[provider_of(queue)] += count
            by_lane[lane_of(queue)] += count
        rooms = []
        for queue, provider, lane in self._parts:
            of_provider = min(free, self._share - by_provider[provider])
            of_lane = free
            if lane == "batch":  # it leaves room to interactive requests in its provider's share, too
                of_provider = min(of_provider, self._batch_share - by_queue[queue])
                of_lane = min(free, self._batch_slots - by_lane["batch"])
            if of_provider > 0 and of_lane > 0:
                rooms.append(Room(queue, of_provider, of_lane, self.copies.get(provider, 1)))
        return rooms


def used_up(rooms: Sequence[Room], free: int, claimed: Sequence[QueueName]) -> set[QueueName]:
    """Those of the queues in which a claim of at most `free` jobs used all of its room, so that more may be due there.
    `claimed` are the queues of the jobs that it brought.
    """
    by_provider = Counter(map(provider_of, claimed))
    by_lane = Counter(map(lane_of, claimed))
    return {
        room.queue
        for room in rooms
        if len(claimed) >= free
        or by_provider[provider_of(room.queue)] >= room.provider
        or by_lane[lane_of(room.queue)] >= room.lane
    }


def first_of_lane(rooms: Sequence[Room], queue: QueueName | None) -> list[Room]:
    """The same, `queue` before the others of its lane: a large job waits there for memory, which they would take again."""
    others = [room for room in rooms if room.queue != queue]
    if queue is None or len(others) == len(rooms):
        return others
    of_lane = [number for number, room in enumerate(rooms) if lane_of(room.queue) == lane_of(queue)]
    return [*others[: of_lane[0]], *(room for room in rooms if room.queue == queue), *others[of_lane[0] :]]
