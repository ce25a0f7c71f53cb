from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.utf8 import NotUtf8, Utf8Check, utf8

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"))
SIZES = st.integers(1, 7)
MARKED = ["utf-16", "utf-32"]
OTHERS = [*MARKED, "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]


def in_pieces(data: bytes, size: int) -> bytes:
    check = Utf8Check()
    pieces = [check.feed(data[start : start + size]) for start in range(0, len(data), size)]
    return b"".join([*pieces, check.end()])


@given(TEXT, SIZES, st.sampled_from([b"", codecs.BOM_UTF8]))
def test_text_comes_back_without_its_mark_however_it_arrives(text: str, size: int, mark: bytes) -> None:
    assert in_pieces(mark + text.encode(), size) == utf8(mark + text.encode()) == text.encode()


@given(st.binary(), SIZES)
def test_anything_else_is_refused_however_it_arrives(data: bytes, size: int) -> None:
    def told(take: object) -> bytes | None:
        try:
            return take()  # type: ignore[operator, no-any-return]
        except NotUtf8:
            return None

    assert told(lambda: in_pieces(data, size)) == told(lambda: utf8(data))


@pytest.mark.parametrize("encoding", OTHERS)
@pytest.mark.parametrize("text", ['{"a": "x"}\n{"b": "é漢"}\n', "{}", "\n\n{}", "[[model]]\n"])
def test_other_encodings_of_unicode_are_named(text: str, encoding: str) -> None:
    name = "UTF-32" if encoding.startswith("utf-32") else "UTF-16"
    for take in (utf8, lambda data: in_pieces(data, 3)):
        with pytest.raises(NotUtf8, match=f"in {name}"):
            take(text.encode(encoding))


def test_a_byte_of_latin_1_is_named_with_its_line() -> None:
    lines = "".join(f'{{"n": {number}}}\n' for number in range(20_000)) + '{"n": "é"}\n'
    for take in (utf8, lambda data: in_pieces(data, 1_000)):
        with pytest.raises(NotUtf8, match=r"not in UTF-8: byte 0xe9 in line 20001 .*Latin-1"):
            take(lines.encode("latin-1"))


@pytest.mark.parametrize("data", [b"abcd\xc3", b"abcd\xe2\x80", b"\xed\xa0\x80", b"\xc0\x80", b"abcdefg\xf5\x80"])
def test_what_breaks_off_or_is_no_character_is_refused(data: bytes) -> None:
    for take in (utf8, lambda data: in_pieces(data, 2)):
        with pytest.raises(NotUtf8, match="not in UTF-8"):
            take(data)
