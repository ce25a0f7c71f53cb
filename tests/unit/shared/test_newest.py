from __future__ import annotations

from shared.newest import keep_newest


def test_what_is_stored_again_is_newest_and_the_oldest_goes() -> None:
    known = {"a": 1, "b": 2}
    keep_newest(known, "a", 3, 2)
    assert known == {"b": 2, "a": 3}
    keep_newest(known, "c", 4, 2)
    assert known == {"a": 3, "c": 4}
