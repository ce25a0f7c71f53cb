"""The only retry policy: it decides whether, and after how long, a vendor is called again for the same request."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from shared.errors import RebootError

if TYPE_CHECKING:
    from shared.settings import Settings

DOUBLINGS_MAX = 30


def delay_before_retry(
    error: RebootError, settings: Settings, *, calls: int, calls_max: int | None, left_s: float
) -> float | None:
    """Seconds to wait before call number `calls + 1`, or None to give up. Ask this only as long as nothing has reached
    the caller.

    Without `calls_max` the deadline decides, until which `left_s` are left; the last calls then come closer together.
    If a vendor asks for a longer wait than `left_s`, the request gives up. The wait is exponential with full jitter, or
    0 if the vendor named a time, because the upstream takes no call before that time.
    """
    if not error.retryable or (calls_max is not None and calls >= calls_max):
        return None
    doublings = min(calls - 1, DOUBLINGS_MAX)
    backoff = min(settings.retry_delay_s * 2**doublings, settings.retry_delay_max_s)
    if error.asked_wait_s is not None:
        return 0.0 if error.asked_wait_s < left_s else None
    delay = random.uniform(backoff / 2, backoff)  # noqa: S311 - spreads load, guards nothing
    if calls_max is None and left_s > settings.retry_delay_s:
        delay = min(delay, left_s / 2)
    return delay if delay < left_s else None
