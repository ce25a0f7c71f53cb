from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.errors import ProviderError
from workers.providers.wire.text import JOINED_MAX, joined


@pytest.mark.parametrize(
    ("pieces", "fewer"),
    [
        ([], []),
        (["a"], ["a"]),
        (["a", "b", "c"], ["abc"]),
        (["a", "b", 1, "c", 2, 3, "d", "e"], ["ab", 1, "c", 2, 3, "de"]),
        ([1, 2], [1, 2]),
    ],
)
def test_neighbouring_texts_become_one(pieces: list[str | int], fewer: list[str | int]) -> None:
    assert list(joined(pieces)) == fewer


def test_a_long_text_is_handed_on_in_parts() -> None:
    parts = list(joined(["x" * 1_000] * 50))
    assert "".join(parts) == "x" * 50_000
    assert max(map(len, parts)) < JOINED_MAX + 1_000


def test_what_was_said_before_a_failure_comes_before_it() -> None:
    def broken() -> Iterator[str]:
        yield "a"
        yield "b"
        raise ProviderError("cut")

    pieces = joined(broken())
    assert next(pieces) == "ab"
    with pytest.raises(ProviderError):
        next(pieces)
