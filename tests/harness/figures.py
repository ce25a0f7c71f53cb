"""The figures that a run measures: collected by the proofs, printed once as a table."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import NamedTuple

SEED = os.environ.get("SEED") or os.environ.setdefault("PROOFS_SEED", secrets.token_hex(4))
"""What the proofs draw their chances from. Processes that are started for tests inherit it."""
FIGURE = "figure"
"""The name under which a test's report carries a line."""


class Figure(NamedTuple):
    """One line: `proof` is a number of the list of proofs, or a word; `lease` is that of the cluster, or empty."""

    proof: str
    lease: str
    what: str
    value: str


class Figures:
    """A table: of one test, or of a whole run."""

    def __init__(self, lease: str = "") -> None:
        self._lease = lease
        self.lines: list[Figure] = []

    def take(self, line: Figure) -> None:
        """Add a line of another table."""
        self.lines.append(line)

    def add(self, proof: str, what: str, value: object) -> None:
        text = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        self.lines.append(Figure(proof, self._lease, what, text))

    def spread(self, proof: str, what: str, seconds: Sequence[float]) -> None:
        """Median, p99 and the greatest of measured times."""
        if seconds:
            values = " / ".join(f"{quantile(seconds, share):.3f}" for share in (0.5, 0.99, 1.0))
            self.add(proof, f"{what}: p50 / p99 / max, s", f"{values}  (n={len(seconds)})")

    def table(self) -> list[str]:
        """Lines of text, aligned."""
        lines = sorted(self.lines, key=_place)
        widths = [max(len(line[column]) for line in lines) for column in range(3)] if lines else []
        return ["  ".join(f"{text:<{width}}" for text, width in zip(line, [*widths, 0], strict=True)) for line in lines]


def _place(line: Figure) -> tuple[int, str, int]:
    """By the number of the proof, then by the lease."""
    number, lease_s = line.proof.split()[0], line.lease.split()[0] if line.lease else "0"
    return (int(number) if number.isdecimal() else 0, line.proof, int(lease_s))


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
