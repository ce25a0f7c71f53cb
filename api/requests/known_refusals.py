"""Refusals that are known in advance: whoever is refused until a known time gets the same error until then, without a
question to a store.
"""

from __future__ import annotations

import time

from shared.errors import RateLimited, RebootError

REMEMBERED_MAX = 10_000
FULL_QUEUE_PAUSE_S = 0.2


class KnownRefusals:
    """The refused keys and accounts: a key that reached its limit, or an account's share of a full queue, each with the
    time until which it is refused, and the error.
    """

    def __init__(self) -> None:
        self._refused_until: dict[str, tuple[float, RebootError]] = {}

    def refuse_if_known(self, what: str) -> None:
        """Raise the error with which `what` was refused, until its time is over."""
        until, error = self._refused_until.get(what, (0.0, None))
        left_s = until - time.monotonic()
        if error and left_s > 0:
            raise type(error)(error.message, retry_after_s=left_s if isinstance(error, RateLimited) else None)
        if error:
            del self._refused_until[what]

    def remember(self, what: str, error: RebootError) -> None:
        """Refuse `what` with this error until its limit allows more, or until a full queue may have room."""
        now = time.monotonic()
        wait_s = error.retry_after_s or 0 if isinstance(error, RateLimited) else FULL_QUEUE_PAUSE_S
        if len(self._refused_until) >= REMEMBERED_MAX:
            self._refused_until = {key: known for key, known in self._refused_until.items() if known[0] > now}
        if len(self._refused_until) < REMEMBERED_MAX:
            # a new error, because the raised one references frames and the body
            self._refused_until[what] = (now + wait_s, type(error)(error.message))
