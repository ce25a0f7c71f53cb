from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.batches.lines import Lines, NumberedPart
from shared.errors import InvalidRequest

WHITE = b" \t\r\x0b\x0c"


def split(data: bytes, size: int = 3, bytes_max: int = 100, blank_max: int = 1_000) -> list[NumberedPart]:
    lines = Lines(bytes_max, blank_max)
    found = [line for start in range(0, len(data), size) for line in lines.of(data[start : start + size])]
    return found + list(lines.last())


@given(
    st.lists(st.one_of(st.binary(max_size=20), st.text(WHITE.decode(), max_size=5).map(str.encode))),
    st.integers(1, 9),
)
def test_lines_are_the_same_however_they_arrive(lines: list[bytes], size: int) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    data = b"".join(line + b"\n" for line in lines)
    expected = [(number, line.rstrip(b"\r")) for number, line in enumerate(lines, start=1) if line.strip()]
    assert split(data, size) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"a", [(1, b"a")]),
        (b"a\n", [(1, b"a")]),
        (b"a\r\nb", [(1, b"a"), (2, b"b")]),
        (b"\n\n a", [(3, b" a")]),
        (b"\n \r\n\t\n", []),
        (b"x" * 101 + b"\na", [(1, None), (2, b"a")]),
        (b"a\n" + b"x" * 500, [(1, b"a"), (2, None)]),
        (b"x" * 100 + b"\n", [(1, b"x" * 100)]),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_a_line_that_is_too_long_is_none_and_sinks_no_other(
    data: bytes, expected: list[NumberedPart], size: int
) -> None:
    assert split(data, size) == expected


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b" \n", b"\n\n\n"])
@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_there_are_only_so_many_blank_lines(blank: bytes, size: int) -> None:
    blanks = 12 // blank.count(b"\n")
    assert split(blank * blanks + b"a", size, blank_max=12) == [(13, b"a")]
    with pytest.raises(InvalidRequest, match="more than 11 blank lines"):
        split(blank * blanks + b"a", size, blank_max=11)


def test_what_is_under_way_is_a_line_without_its_end() -> None:
    lines = Lines(100, 100)
    assert (list(lines.of(b"a\nbcd")), lines.under_way) == ([(1, b"a")], 3)
    assert (list(lines.of(b"x" * 100)), lines.under_way) == ([], 0)  # which is too long to be kept
    assert list(lines.of(b"\n")) == [(2, None)]
