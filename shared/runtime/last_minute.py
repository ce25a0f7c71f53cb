"""Waiting times and token rates of this process within the last minute, by provider. A worker puts them into its heartbeat,
and operators see the sum over all workers.

Times are counted in buckets, each a fifth wider than the one before, so that the counts of several workers can be added. A
percentile computed from them is exact to about a tenth.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

FIRST_BUCKET_S, GROWTH = 0.001, 1.2
TIMES_OVER_S, TOKENS_OVER_S = 60, 5


class Lately(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one provider. `waits` and `first_tokens` count the interactive requests of the last minute by bucket (see
    `bucket_of`): by their time in the queue, and for streams by the time from the call of the vendor to the first piece.
    `tokens_per_s` is over all answers, with tokens estimated as they arrive.
    """

    waits: dict[int, int] = {}
    first_tokens: dict[int, int] = {}
    tokens_per_s: float = 0.0


class _Second(NamedTuple):
    number: int
    waits: Counter[tuple[str, int]]
    first_tokens: Counter[tuple[str, int]]
    tokens: Counter[str]


class LastMinute:
    """Collects the figures of the last minute. `now` returns seconds of a monotonic clock."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seconds: deque[_Second] = deque(maxlen=TIMES_OVER_S + 1)

    def waited(self, provider: str, seconds: float) -> None:
        """Count the time that a request spent in the queue."""
        self._second().waits[provider, bucket_of(seconds)] += 1

    def first_token(self, provider: str, seconds: float) -> None:
        """Count a stream's time from the call to its first piece."""
        self._second().first_tokens[provider, bucket_of(seconds)] += 1

    def received(self, provider: str, tokens: int) -> None:
        """Count the tokens of a piece of an answer."""
        self._second().tokens[provider] += tokens

    def told(self) -> dict[str, Lately]:
        """The figures by provider, of those with any. The token rate is over the last five whole seconds."""
        now = int(self._now())
        lately = [second for second in self._seconds if now - second.number <= TIMES_OVER_S]
        waits = sum((second.waits for second in lately), Counter[tuple[str, int]]())
        first_tokens = sum((second.first_tokens for second in lately), Counter[tuple[str, int]]())
        whole = [second.tokens for second in lately if 1 <= now - second.number <= TOKENS_OVER_S]
        tokens = sum(whole, Counter[str]())
        names = {name for name, _ in (*waits, *first_tokens)} | tokens.keys()
        return {
            name: Lately(
                waits=_of(waits, name), first_tokens=_of(first_tokens, name), tokens_per_s=tokens[name] / TOKENS_OVER_S
            )
            for name in names
        }

    def _second(self) -> _Second:
        number = int(self._now())
        if not self._seconds or self._seconds[-1].number != number:
            self._seconds.append(_Second(number, Counter(), Counter(), Counter()))
        return self._seconds[-1]


LAST_MINUTE = LastMinute()
"""The figures of this process."""


def bucket_of(seconds: float) -> int:
    """The number of the bucket for a time. Bucket n ends at `FIRST_BUCKET_S * GROWTH**n` seconds."""
    return max(0, math.ceil(math.log(max(seconds, FIRST_BUCKET_S) / FIRST_BUCKET_S, GROWTH)))


def percentile(counted: Iterable[dict[int, int]], share: float) -> float | None:
    """The time in seconds within which this share of all counted times lies; None if nothing was counted.

    >>> percentile([{38: 90}, {50: 10}], 0.5), percentile([{38: 90}, {50: 10}], 0.95), percentile([], 0.5)
    (0.932, 8.308, None)
    """
    added = sum((Counter(one) for one in counted), Counter[int]())
    left = share * added.total()
    for bucket in sorted(added):
        left -= added[bucket]
        if left <= 0:
            return round(float(FIRST_BUCKET_S * GROWTH ** (bucket - 0.5)), 3)
    return None


def _of(counted: Counter[tuple[str, int]], provider: str) -> dict[int, int]:
    return {bucket: number for (name, bucket), number in counted.items() if name == provider}
