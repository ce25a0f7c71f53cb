"""The figures that a run measures: collected by the proofs, printed once as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Figure(NamedTuple):
    """One line: `proof` is a number of the list of proofs, or a word."""

    proof: str
    what: str
    value: str


class Figures:
    """One run's table."""

    def __init__(self) -> None:
        self._lines: list[Figure] = []

    def add(self, proof: str, what: str, value: object) -> None:
        text = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        self._lines.append(Figure(proof, what, text))

    def spread(self, proof: str, what: str, seconds: Sequence[float]) -> None:
        """Median, p99 and the greatest of measured times."""
        if seconds:
            values = " / ".join(f"{quantile(seconds, share):.3f}" for share in (0.5, 0.99, 1.0))
            self.add(proof, f"{what}: p50 / p99 / max, s", f"{values}  (n={len(seconds)})")

    def table(self) -> list[str]:
        """Lines of text, aligned."""
        if not self._lines:
            return []
        widths = [max(len(line[column]) for line in self._lines) for column in range(2)]
        return [f"{line.proof:<{widths[0]}}  {line.what:<{widths[1]}}  {line.value}" for line in self._lines]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
