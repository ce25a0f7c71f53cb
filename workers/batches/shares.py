"""Decides which batches are fed next. Accounts take turns, and so do the batches of one account, so that nobody waits
for a large batch.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Hungry(NamedTuple):
    """A batch with lines that a feed could feed."""

    batch_id: str
    account_id: str
    lines: int


def shares(free: int, hungry: Sequence[Hungry], running: Mapping[str, int]) -> dict[str, int]:
    """The number of lines of each batch to feed into `free` places. `running` counts what accounts and batches have under
    way, by their ids. Whoever has least is served first; of two with the same number, the older batch.

    >>> shares(3, [Hungry("big", "a", 900), Hungry("small", "b", 2)], {"a": 1, "big": 1})
    {'small': 2, 'big': 1}
    """
    given: Counter[str] = Counter()
    batches: dict[str, list[tuple[int, int, Hungry]]] = {}
    for place, batch in enumerate(hungry):
        heapq.heappush(batches.setdefault(batch.account_id, []), (running.get(batch.batch_id, 0), place, batch))
    accounts = [(running.get(account, 0), place, account) for place, account in enumerate(batches)]
    heapq.heapify(accounts)
    while free > 0 and accounts:
        has, place, account = heapq.heappop(accounts)
        has_batch, place_of_batch, batch = heapq.heappop(batches[account])
        given[batch.batch_id] += 1
        free -= 1
        if given[batch.batch_id] < batch.lines:
            heapq.heappush(batches[account], (has_batch + 1, place_of_batch, batch))
        if batches[account]:
            heapq.heappush(accounts, (has + 1, place, account))
    return dict(given)
