"""Decides which batches are fed next. Accounts take turns, and so do the batches of one account, so that nobody waits
for a large batch.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Hungry(NamedTuple):
    """A batch with lines that a feed could feed."""

    batch_id: str
    account_id: str
    lines: int


class Running(NamedTuple):
    """The number of lines under way of each account and each batch, by their ids, and of each model, by its name."""

    accounts: Counter[str]
    batches: Counter[str]
    models: Counter[str]


def shares(free: int, hungry: Sequence[Hungry], running: Running) -> dict[str, int]:
    """The number of lines of each batch to feed into `free` places. Whoever has fewest lines under way is served first; of
    two with the same number, the older batch.

    >>> shares(
    ...     3,
    ...     [Hungry("big", "a", 900), Hungry("small", "b", 2)],
    ...     Running(Counter(a=1), Counter(big=1), Counter()),
    ... )
    {'small': 2, 'big': 1}
    """
    given: Counter[str] = Counter()
    batches: dict[str, list[tuple[int, int, Hungry]]] = {}
    for place, batch in enumerate(hungry):
        heapq.heappush(batches.setdefault(batch.account_id, []), (running.batches[batch.batch_id], place, batch))
    accounts = [(running.accounts[account], place, account) for place, account in enumerate(batches)]
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
