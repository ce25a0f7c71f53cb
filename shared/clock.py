"""The time by which this process stamps and judges: its machine's, as far as the stores do not both say that it is wrong.

`shared/stores/clocks.py` finds that out. Until then, and in programs that do not ask, it is the machine's time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


class _Clock:
    """`ahead_s`: by so much the machine's clock shows too much."""

    ahead_s = 0.0


def now_s() -> float:
    """Unix seconds."""
    return time.time() - _Clock.ahead_s


def now_ms() -> int:
    """Unix milliseconds."""
    return int(now_s() * 1000)


def utc_now() -> datetime:
    """The moment, in UTC."""
    return datetime.fromtimestamp(now_s(), UTC)


def set_right(ahead_s: float) -> None:
    """The machine's clock is ahead of the right time by so much, or behind where that is negative."""
    _Clock.ahead_s = ahead_s
