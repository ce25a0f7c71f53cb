"""Short forms of times and numbers, for people."""

from __future__ import annotations

from datetime import datetime


def span(seconds: float) -> str:
    """A duration in seconds as short text.

    >>> span(0.004), span(0.25), span(9.94), span(90), span(5_000), span(200_000), span(400_000)
    ('4ms', '250ms', '9.9s', '90s', '83m', '56h', '4.6d')
    """
    if seconds < 1:
        return f"{seconds * 1_000:.0f}ms"
    for unit, size in (("s", 1), ("m", 60), ("h", 3_600)):
        if seconds < 100 * size:
            return f"{short(seconds / size)}{unit}"
    return f"{short(seconds / 86_400)}d"


def from_now(moment: datetime | None, now: datetime) -> str | None:
    """The distance of a time from now, ahead or back, as short text; None for None."""
    if moment is None:
        return None
    seconds = (moment - now).total_seconds()
    return f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"


def short(value: float) -> str:
    """A number as short text, with two to four digits.

    >>> short(0), short(0.000_76), short(0.0123), short(4.26), short(128.4), short(43_210)
    ('0', '0.00076', '0.012', '4.3', '128', '43.2k')
    """
    for unit, size in (("M", 1_000_000), ("k", 10_000)):
        if abs(value) >= size:
            return f"{value / (size if unit == 'M' else 1_000):.1f}{unit}"
    if not value or value >= 10 or isinstance(value, int):  # noqa: PLR2004 - digits before the point are enough
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
