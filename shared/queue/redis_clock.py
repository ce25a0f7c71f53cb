"""Redis's clock, as far as its answers tell it: Redis refuses calls that arrive after a time of its own."""

from __future__ import annotations

import time


class RedisClock:
    """`ahead_ms`: milliseconds by which Redis's clock is ahead of this machine's, as of its last answer; None before it."""

    def __init__(self) -> None:
        self.ahead_ms: int | None = None

    def note(self, redis_ms: int) -> None:
        """Take the time that an answer of Redis tells."""
        self.ahead_ms = redis_ms - time.time_ns() // 1_000_000

    def in_ms(self, ms: int) -> int:
        """The time that Redis's clock will show in `ms` milliseconds; 0 until Redis has answered once."""
        return 0 if self.ahead_ms is None else time.time_ns() // 1_000_000 + self.ahead_ms + ms
