"""How much memory the large jobs of a worker take. Small ones are bounded by their number, which is that of its slots."""

from __future__ import annotations

import gc
from collections.abc import Mapping

from shared.lanes import provider_of
from shared.queue.claims import Claim, Memory
from shared.runtime.metrics import BYTES_HELD

COPIES: Mapping[str, int] = {"openai": 4, "deepseek": 4, "bedrock": 5, "gemini": 5}
"""Bytes of memory that a byte of a payload takes in a worker, at most, by whose SDK sends it: measured with images of 14 MB
(2026-11), rounded up.
"""
COLLECT_AFTER_BYTES = 20_000_000
"""Of memory that jobs had which have ended. Some of it is in cycles of garbage (a vendor's SDK keeps an exception with all of
its frames), of which the collector knows how many they are, and not how large.
"""


class LargeJobs:
    """Those that run: `memory_max` bytes for them all."""

    def __init__(self, memory_max: int, copies: Mapping[str, int]) -> None:
        self._memory_max = memory_max
        self._held = BYTES_HELD.labels("payloads")
        self._copies = copies
        self._used = 0
        self._running = 0
        self._ended = 0
        """Bytes since the garbage was collected."""

    def begin(self, claim: Claim) -> None:
        """It runs from now on; a small one changes nothing."""
        self._used += self._bytes_of(claim)
        self._running += claim.large > 0
        self._held.set(self._used)

    def end(self, claim: Claim) -> None:
        """It runs no more; of what it had, nothing is left for long."""
        size = self._bytes_of(claim)
        self._used -= size
        self._running -= claim.large > 0
        self._held.set(self._used)
        self._ended += size
        if self._ended >= COLLECT_AFTER_BYTES:
            self._ended = 0
            gc.collect()

    @property
    def memory(self) -> Memory:
        """What there is for more of them."""
        return Memory(self._memory_max - self._used, alone=not self._running)

    def _bytes_of(self, claim: Claim) -> int:
        return claim.large * self._copies.get(provider_of(claim.queue), 1)
