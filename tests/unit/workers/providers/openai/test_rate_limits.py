from __future__ import annotations

import pytest

from workers.providers.openai.rate_limits import used_up
from workers.providers.protocol import UsedUp


@pytest.mark.parametrize(
    ("remaining", "reset", "expected"),
    [
        ("0", "1s", UsedUp(1)),
        ("0", "6m0s", UsedUp(360)),
        ("0", "20ms", UsedUp(0.02)),
        ("0", "1h2m3.5s", UsedUp(3_600)),
        ("0", "2m3.5s", UsedUp(123.5)),
        ("1", "1s", None),
        ("0", "soon", None),
        ("0", "", None),
        (None, "1s", None),
    ],
)
def test_a_window_is_used_up_when_the_vendor_says_so(
    remaining: str | None, reset: str, expected: UsedUp | None
) -> None:
    headers = {"x-ratelimit-reset-requests": reset}
    assert used_up(headers | ({"x-ratelimit-remaining-requests": remaining} if remaining else {})) == expected


@pytest.mark.parametrize(("limit", "next_s"), [("60", 1.0), ("600", 0.1), ("0", 0.0), ("many", 0.0)])
def test_where_the_limit_is_told_too_the_next_request_may_come_sooner(limit: str, next_s: float) -> None:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "60s"}
    assert used_up(headers | {"x-ratelimit-limit-requests": limit}) == UsedUp(60, next_s)
