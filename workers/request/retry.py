"""The one retry policy: whether, and after how long, a vendor is called again for the same request."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from shared.errors import RebootError

if TYPE_CHECKING:
    from shared.settings import Settings


def delay_before_retry(
    error: RebootError, settings: Settings, *, calls: int, calls_max: int, left_s: float
) -> float | None:
    """Seconds to wait before call number `calls + 1`, or None to give up.

    To be asked only as long as nothing has reached the caller. `left_s` is what the request's deadline leaves; a vendor
    that asks for more patience than that gets none. Exponential with full jitter, never less than Retry-After.
    """
    if not error.retryable or calls >= calls_max:
        return None
    backoff = min(settings.retry_delay_s * 2 ** (calls - 1), settings.retry_delay_max_s)
    delay = max(error.retry_after_s or 0.0, 0.0)
    if error.retry_after_s is None or type(error).default_retry_after_s == error.retry_after_s:
        delay = random.uniform(backoff / 2, backoff)  # noqa: S311 - spreads load, guards nothing
    else:
        delay += random.uniform(0, backoff / 4)  # noqa: S311
    return delay if delay < left_s else None
