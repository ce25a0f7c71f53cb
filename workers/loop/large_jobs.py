"""How much memory the large jobs of a worker take. Small ones are bounded by their number, which is that of its slots."""

from __future__ import annotations

from collections.abc import Mapping

from shared.lanes import provider_of
from shared.queue.claims import Claim, Memory

COPIES: Mapping[str, int] = {"openai": 5, "deepseek": 5, "bedrock": 8, "gemini": 9}
"""Bytes of memory that a byte of a payload takes in a worker, at most, by whose SDK sends it."""


class LargeJobs:
    """Those that run: `memory_max` bytes for them all."""

    def __init__(self, memory_max: int, copies: Mapping[str, int]) -> None:
        self._memory_max = memory_max
        self._copies = copies
        self._used = 0
        self._running = 0

    def begin(self, claim: Claim) -> None:
        """It runs from now on; a small one changes nothing."""
        self._used += self._bytes_of(claim)
        self._running += claim.large > 0

    def end(self, claim: Claim) -> None:
        """Nothing of it is left."""
        self._used -= self._bytes_of(claim)
        self._running -= claim.large > 0

    @property
    def memory(self) -> Memory:
        """What there is for more of them."""
        return Memory(self._memory_max - self._used, alone=not self._running)

    def _bytes_of(self, claim: Claim) -> int:
        return claim.large * self._copies.get(provider_of(claim.queue), 1)
