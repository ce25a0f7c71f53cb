"""When a worker last did what it has to do all the time: one that is stuck shows by it."""

from __future__ import annotations

import time

from shared.runtime.metrics import LAST_CLAIM_TIMESTAMP, LAST_RENEWAL_TIMESTAMP


class Progress:
    """Ages in seconds; both begin with the worker."""

    def __init__(self) -> None:
        self._claimed_at = self._renewed_at = time.monotonic()

    def claimed(self) -> None:
        """The queues were asked for what is due, or there was no room for more."""
        self._claimed_at = time.monotonic()
        LAST_CLAIM_TIMESTAMP.set_to_current_time()

    def renewed(self) -> None:
        """The leases of what runs were renewed, if anything runs."""
        self._renewed_at = time.monotonic()
        LAST_RENEWAL_TIMESTAMP.set_to_current_time()

    @property
    def claim_age_s(self) -> float:
        """Since `claimed`."""
        return time.monotonic() - self._claimed_at

    @property
    def renewal_age_s(self) -> float:
        """Since `renewed`."""
        return time.monotonic() - self._renewed_at
