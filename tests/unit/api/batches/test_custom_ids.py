from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.batches.custom_ids import CustomIds, custom_id_of
from shared.errors import InvalidRequest


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=3), max_size=200))
def test_an_id_is_taken_once(ids: list[str]) -> None:
    known, seen = CustomIds(), set[str]()
    for one in ids:
        if one in seen:
            with pytest.raises(InvalidRequest, match="earlier line"):
                known.add(one)
        else:
            known.add(one)
        seen.add(one)


@pytest.mark.parametrize("wrong", ["", "x" * 257, "a\0"])
def test_what_is_no_id_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 256 characters"):
        CustomIds().add(wrong)


def test_the_ids_of_a_whole_file_take_a_megabyte() -> None:
    known = CustomIds()
    for number in range(100_000):
        known.add(f"line-{number}")
    assert sum(bucket.buffer_info()[1] * bucket.itemsize for bucket in known._buckets) < 1_000_000


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (None, None),
        (b"{", None),
        (b"[]", None),
        (b'{"custom_id": 1}', None),
        (b'{"custom_id": ""}', None),
        (b'{"custom_id": "a", "x": []}', "a"),
        (b"\xff", None),
    ],
)
def test_a_bad_line_is_found_again_by_its_id(line: bytes | None, found: str | None) -> None:
    assert custom_id_of(line) == found
