"""Checks that text is UTF-8, with or without a byte order mark. For other text the error names the encoding once: a file
saved on Windows may be UTF-16 or Windows-1252 throughout.
"""

from __future__ import annotations

import codecs

PIECE_BYTES = 65_536
_START_BYTES = 4
"""Bytes that reveal UTF-16 and UTF-32 even without a mark: everything that is accepted begins with two ASCII characters."""
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


class NotUtf8(ValueError):
    """Text that is not UTF-8. The message continues a sentence after "is": `in UTF-16`, or `not in UTF-8: byte 0xe9 in
    line 3 …`.
    """


class Utf8Check:
    """Checks text that comes in pieces. `feed` and `end` return it without the mark, and raise `NotUtf8`."""

    def __init__(self) -> None:
        self._start: bytes | None = b""
        """The first bytes, as long as they are too few to tell."""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._lines = 1

    def feed(self, piece: bytes) -> bytes:
        """Check the next piece."""
        if self._start is not None:
            self._start += piece
            if len(self._start) < _START_BYTES:
                return b""
            piece, self._start = _without_mark(self._start), None
        self._check(piece, ends=False)
        return piece

    def end(self) -> bytes:
        """The bytes that were held back because the text is so short."""
        piece, self._start = _without_mark(self._start or b""), None
        self._check(piece, ends=True)
        return piece

    def _check(self, piece: bytes, *, ends: bool) -> None:
        if not piece.isascii() or self._decoder.getstate()[0] or ends:
            try:
                self._decoder.decode(piece, ends)
            except UnicodeDecodeError as error:
                raise NotUtf8(_words(error, self._lines)) from None
        self._lines += piece.count(b"\n")


def utf8(text: bytes) -> bytes:
    """The whole text without its mark. Raises `NotUtf8`."""
    text = _without_mark(text)
    if not text.isascii():
        check = Utf8Check()
        for start in range(0, len(text), PIECE_BYTES):
            check.feed(text[start : start + PIECE_BYTES])
        check.end()
    return text


def _without_mark(start: bytes) -> bytes:
    for mark, name in _MARKS:
        if start.startswith(mark):
            raise NotUtf8(f"in {name}")
    zeros = [byte == 0 for byte in start[:_START_BYTES]]
    if any(zeros):
        raise NotUtf8("in UTF-32" if zeros.count(True) > _START_BYTES // 2 else "in UTF-16, or no text")
    return start.removeprefix(codecs.BOM_UTF8)


def _words(error: UnicodeDecodeError, lines: int) -> str:
    line = lines + error.object.count(b"\n", 0, error.start)
    byte = error.object[error.start]
    return f"not in UTF-8: byte {byte:#04x} in line {line} is none of it (is it Latin-1 or Windows-1252?)"
