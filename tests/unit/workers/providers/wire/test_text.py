from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.errors import ProviderError
from workers.providers.protocol import Joined
from workers.providers.wire.text import JOINED_MAX, joined


@pytest.mark.parametrize(
    ("pieces", "fewer"),
    [
        ([], []),
        (["a"], ["a"]),
        (["a", "b", "c"], [Joined("abc", 3)]),
        (["a", "b", 1, "c", 2, 3, "d", "e"], [Joined("ab", 2), 1, "c", 2, 3, Joined("de", 2)]),
        ([1, 2], [1, 2]),
    ],
)
def test_neighbouring_texts_become_one_that_says_how_many_they_were(
    pieces: list[str | int], fewer: list[str | Joined | int]
) -> None:
    assert list(joined(pieces)) == fewer


def test_a_long_text_is_handed_on_in_parts() -> None:
    parts = [part for part in joined(["x" * 1_000] * 50) if isinstance(part, Joined)]
    assert "".join(part.text for part in parts) == "x" * 50_000
    assert max(len(part.text) for part in parts) < JOINED_MAX + 1_000
    assert sum(part.pieces for part in parts) == 50


def test_what_was_said_before_a_failure_comes_before_it() -> None:
    def broken() -> Iterator[str]:
        yield "a"
        yield "b"
        raise ProviderError("cut")

    pieces = joined(broken())
    assert next(pieces) == Joined("ab", 2)
    with pytest.raises(ProviderError):
        next(pieces)
