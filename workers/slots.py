"""How many jobs of each queue a worker may take now, so that no vendor and no lane can starve the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from shared.keys import QueueName, lane_of, provider_of
from shared.queue import Room


class Slots(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's slots: `total` jobs at a time; `reserved` of them batch may never take; in a worker that serves several
    providers one of them may not exceed `share_percent`.
    """

    queues: Sequence[QueueName]
    total: int
    reserved: int
    share_percent: int

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
        for queue in self.queues:
            of_provider = min(free, self._share() - by_provider[provider_of(queue)])
            of_lane = free
            if lane_of(queue) == "batch":  # it leaves room to interactive requests in its provider's share, too
                of_provider = min(of_provider, self._batch_share() - by_queue[queue])
                of_lane = min(free, self._batch_slots() - by_lane["batch"])
            if of_provider > 0 and of_lane > 0:
                rooms.append(Room(queue, of_provider, of_lane))
        return rooms

    def _share(self) -> int:
        several = len({provider_of(queue) for queue in self.queues}) > 1
        return max(1, self.total * self.share_percent // 100) if several else self.total

    def _batch_slots(self) -> int:
        return max(1, self.total - self.reserved) if self._is_mixed() else self.total

    def _batch_share(self) -> int:
        """Of a provider's share: as much is reserved of it as of all slots, rounded up."""
        reserved = -(-self.reserved * self._share() // self.total)
        return max(1, self._share() - reserved) if self._is_mixed() else self._share()

    def _is_mixed(self) -> bool:
        return len({lane_of(queue) for queue in self.queues}) > 1
