"""Whether what a service takes stays flat: the peak of a run's second half beside that of its first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Bound(NamedTuple):
    """The second peak may be the first one, so many percent and so much more."""

    percent: float
    more: float


class Halves(NamedTuple):
    """Of one series: the peaks, and the most that the second may be."""

    series: str
    first: float
    second: float
    most: float

    @property
    def has_grown(self) -> bool:
        return self.second > self.most

    def __str__(self) -> str:
        return f"{self.first:,.1f} -> {self.second:,.1f} ({self.most:,.1f})"


def halves(samples: Sequence[Mapping[str, float]], bounds: Mapping[str, Bound]) -> list[Halves]:
    """Of every series of the samples; its bound is that whose name it ends with."""
    middle, found = len(samples) // 2, []
    for series in samples[0]:
        first, second = (max(one[series] for one in part) for part in (samples[:middle], samples[middle:]))
        bound = next(bound for what, bound in bounds.items() if series.endswith(what))
        found.append(Halves(series, first, second, first * (1 + bound.percent / 100) + bound.more))
    return found
