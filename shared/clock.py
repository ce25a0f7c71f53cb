"""The time that this process uses for stamps and comparisons: the machine's clock, unless both stores say that it is wrong.
`shared/stores/clocks.py` finds that out; programs that do not ask it use the machine's clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


class _Clock:
    """The correction of the machine's clock. `ahead_s` is the number of seconds by which it is ahead of the right time."""

    ahead_s = 0.0


def now_s() -> float:
    """Unix seconds."""
    return time.time() - _Clock.ahead_s


def now_ms() -> int:
    """Unix milliseconds."""
    return int(now_s() * 1000)


def utc_now() -> datetime:
    """The present time, in UTC."""
    return datetime.fromtimestamp(now_s(), UTC)


def set_right(ahead_s: float) -> None:
    """Correct the machine's clock, which is `ahead_s` seconds ahead of the right time (behind if negative)."""
    _Clock.ahead_s = ahead_s
