"""The times at which a worker last did what it must always do; they reveal a stuck worker."""

from __future__ import annotations

import time

from shared.runtime.metrics import LAST_CLAIM_TIMESTAMP, LAST_RENEWAL_TIMESTAMP


class Progress:
    """The ages of a worker's last claim and last renewal in seconds, counted from its start at first."""

    def __init__(self) -> None:
        self._claimed_at = self._renewed_at = time.monotonic()

    def claimed(self) -> None:
        """Note that the queues were asked for due jobs, or that there was no room for more."""
        self._claimed_at = time.monotonic()
        LAST_CLAIM_TIMESTAMP.set_to_current_time()

    def renewed(self) -> None:
        """Note that the leases of running jobs were renewed, if there are any."""
        self._renewed_at = time.monotonic()
        LAST_RENEWAL_TIMESTAMP.set_to_current_time()

    @property
    def claim_age_s(self) -> float:
        """Seconds since `claimed`."""
        return time.monotonic() - self._claimed_at

    @property
    def renewal_age_s(self) -> float:
        """Seconds since `renewed`."""
        return time.monotonic() - self._renewed_at
