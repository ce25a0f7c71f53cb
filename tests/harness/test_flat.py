"""A leak is growth, and a plateau or a peak in the first half is none."""

from __future__ import annotations

import pytest

from tests.harness.flat import Bound, halves

BOUNDS = {"MB": Bound(3, 3), "keys": Bound(10, 100)}


@pytest.mark.parametrize(
    ("series", "values", "grows"),
    [
        ("web-1 MB", [80, 90, 100, 100, 100, 101], False),
        ("web-1 MB", [80, 90, 150, 100, 100, 101], False),
        ("web-1 MB", [80, 84, 88, 92, 96, 100], True),
        ("Redis keys", [0, 500, 1_000, 1_000, 1_100, 1_200], False),
        ("Redis keys", [0, 500, 1_000, 1_500, 2_000, 2_500], True),
    ],
)
def test_only_what_grows_in_the_second_half_is_a_leak(series: str, values: list[float], *, grows: bool) -> None:
    (one,) = halves([{series: value} for value in values], BOUNDS)
    assert one.has_grown is grows
