from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.batches.upload import counted, lines_of
from shared.errors import RequestTooLarge


async def chunks(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def split(data: bytes, size: int = 3, bytes_max: int = 100) -> list[bytes | None]:
    return [line async for line in lines_of(chunks(data, size), bytes_max)]


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"").rstrip(b"\r"))), st.integers(1, 9))
async def test_lines_are_the_same_however_they_arrive(lines: list[bytes], size: int) -> None:
    assert await split(b"".join(line + b"\n" for line in lines), size) == lines


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\r\nb", [b"a", b"b"]),
        (b"\n\na", [b"", b"", b"a"]),
        (b"x" * 101 + b"\na", [None, b"a"]),
        (b"a\n" + b"x" * 500, [b"a", None]),
        (b"x" * 100 + b"\n", [b"x" * 100]),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1_000])
async def test_a_line_that_is_too_long_is_none_and_sinks_no_other(
    data: bytes, expected: list[bytes | None], size: int
) -> None:
    assert await split(data, size) == expected


async def test_what_is_too_large_is_refused_whatever_is_in_it() -> None:
    with pytest.raises(RequestTooLarge):
        async for _ in lines_of(counted(chunks(b"x" * 1_000, 10), 999), 5):
            pass
    assert [line async for line in lines_of(counted(chunks(b"x" * 999, 10), 999), 5)] == [None]
