"""The memory that a worker's large jobs take. Small jobs are limited by the number of slots."""

from __future__ import annotations

import gc
from collections.abc import Mapping

from shared.lanes import provider_of
from shared.queue.claims import Claim, Memory
from shared.runtime.metrics import BYTES_HELD

COPIES: Mapping[str, int] = {"openai": 4, "deepseek": 4, "bedrock": 5, "gemini": 5}
"""By provider, the most bytes of memory that a byte of a payload takes in a worker with the vendor's SDK, measured with
images of 14 MB (2026-11) and rounded up.
"""
COLLECT_AFTER_BYTES = 20_000_000
"""Bytes of ended jobs after which garbage is collected. A part of their memory is in reference cycles (a vendor's SDK
keeps an exception with all its frames), and the collector counts objects, not bytes.
"""


class LargeJobs:
    """The running large jobs, with `memory_max` bytes for all of them."""

    def __init__(self, memory_max: int, copies: Mapping[str, int]) -> None:
        self._memory_max = memory_max
        self._held = BYTES_HELD.labels("payloads")
        self._copies = copies
        self._used = 0
        self._running = 0
        self._ended = 0
        """Bytes of ended jobs since the last garbage collection."""

    def begin(self, claim: Claim) -> None:
        """Count a job that begins; a small one changes nothing."""
        self._used += self._bytes_of(claim)
        self._running += claim.large > 0
        self._held.set(self._used)

    def end(self, claim: Claim) -> None:
        """Count a job that has ended; its memory is free soon."""
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
        """The memory that is left for further large jobs."""
        return Memory(self._memory_max - self._used, alone=not self._running)

    def _bytes_of(self, claim: Claim) -> int:
        return claim.large * self._copies.get(provider_of(claim.queue), 1)
