"""Computes how many jobs of each queue a worker may take now, so that no vendor and no lane starves the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from shared.lanes import QueueName, is_patient, lane_of, provider_of
from shared.queue.claims import Room


class Slots:
    """A worker's slots: `total` jobs at a time.

    Batch and flex jobs never take `reserved` of them. If the worker serves several providers, one provider takes at most
    `share_percent`. Flex jobs, whose calls are slow, take at most `flex_percent` of their provider's slots if other lanes
    are served. `copies` gives, by provider, how many bytes of memory a byte of a payload takes.
    """

    def __init__(
        self,
        *,
        queues: Sequence[QueueName],
        total: int,
        reserved: int,
        share_percent: int,
        flex_percent: int = 100,
        copies: Mapping[str, int] | None = None,
    ) -> None:
        self.queues = queues
        self.total = total
        self.copies = copies or {}
        several = len({provider_of(queue) for queue in queues}) > 1
        reserved = 0 if all(map(is_patient, queues)) else reserved
        only_flex = all(lane_of(queue) == "flex" for queue in queues)
        self._share = max(1, total * share_percent // 100) if several else total
        self._patient_slots = max(1, total - reserved)
        reserved_of_share = -(-reserved * self._share // total)  # the same share as of all slots, rounded up
        self._patient_share = max(1, self._share - reserved_of_share)
        self._flex_share = self._share if only_flex else max(1, self._share * flex_percent // 100)
        self._parts = [(queue, provider_of(queue), lane_of(queue)) for queue in queues]

    def rooms(self, running: Iterable[QueueName]) -> list[Room]:
        """The limits of the next claim, by queue. `running` has the queues of the running jobs; full queues are left
        out.
        """
        by_queue = Counter(running)
        free = self.total - by_queue.total()
        by_provider: Counter[str] = Counter()
        patient: Counter[str] = Counter()
        for queue, count in by_queue.items():
            by_provider[provider_of(queue)] += count
            if is_patient(queue):
                patient[provider_of(queue)] += count
        rooms = []
        for queue, provider, lane in self._parts:
            of_provider = min(free, self._share - by_provider[provider])
            of_lane = free
            if is_patient(queue):  # leaves room for interactive requests in the provider's share
                of_provider = min(of_provider, self._patient_share - patient[provider])
                of_lane = min(free, self._patient_slots - patient.total())
            if lane == "flex":
                of_provider = min(of_provider, self._flex_share - by_queue[queue])
            if of_provider > 0 and of_lane > 0:
                rooms.append(Room(queue, of_provider, of_lane, self.copies.get(provider, 1)))
        return rooms


def used_up(rooms: Sequence[Room], free: int, claimed: Sequence[QueueName]) -> set[QueueName]:
    """The queues in which a claim of at most `free` jobs used all its room, so that more jobs may be due. `claimed` are the
    queues of the claimed jobs.
    """
    by_provider = Counter(map(provider_of, claimed))
    by_patience = Counter(map(is_patient, claimed))
    return {
        room.queue
        for room in rooms
        if len(claimed) >= free
        or by_provider[provider_of(room.queue)] >= room.provider
        or by_patience[is_patient(room.queue)] >= room.lane
    }


def first_of_lane(rooms: Sequence[Room], queue: QueueName | None) -> list[Room]:
    """The rooms, with `queue` in front of the others of its lane: a large job there waits for memory, which jobs of the
    other queues would take.
    """
    others = [room for room in rooms if room.queue != queue]
    if queue is None or len(others) == len(rooms):
        return others
    of_lane = [number for number, room in enumerate(rooms) if lane_of(room.queue) == lane_of(queue)]
    return [*others[: of_lane[0]], *(room for room in rooms if room.queue == queue), *others[of_lane[0] :]]
