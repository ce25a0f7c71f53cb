"""OpenAI's rate-limit headers: how many requests are left, and when the window ends.

`x-ratelimit-limit-requests: 60`, `x-ratelimit-remaining-requests: 0`, `x-ratelimit-reset-requests: 6m0s`
(platform.openai.com/docs/guides/rate-limits, read 2026-11). Other vendors of the protocol send the same or none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from workers.providers.protocol import UsedUp

UNITS_S = {"h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
RESET_MAX_S = 3_600.0
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")


def used_up(headers: Mapping[str, str]) -> UsedUp | None:
    """The used-up limit; None as long as the vendor takes more requests, or if the headers cannot be understood."""
    if headers.get("x-ratelimit-remaining-requests") != "0":
        return None
    reset = headers.get("x-ratelimit-reset-requests", "")
    if not _DURATION.fullmatch(reset):
        return None
    seconds = min(sum(float(number) * UNITS_S[unit] for number, unit in _PART.findall(reset)), RESET_MAX_S)
    limit = headers.get("x-ratelimit-limit-requests", "")
    return UsedUp(seconds, seconds / int(limit) if limit.isascii() and limit.isdigit() and int(limit) else 0.0)
