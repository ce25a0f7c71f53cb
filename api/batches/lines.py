"""Splits a file into lines as it arrives, and defines what other splitters offer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from shared.errors import InvalidRequest

NumberedPart = tuple[int, bytes | None]
"""The number of a line or request, from 1, and its text; None for one that is too long. A line has no line end."""
_NOT_BLANK = re.compile(rb"\S")


class Parts(Protocol):
    """Splits arriving bytes into parts. Call `of` with each piece, then `last`."""

    whole: str
    """The name of the body in messages; `part` names one of its parts."""
    part: str

    @property
    def under_way(self) -> int:
        """Bytes of the part that has not ended."""

    def of(self, piece: bytes) -> Iterator[NumberedPart]:
        """The parts that end in this piece; iterate to the end. Raises `InvalidRequest` if the body is malformed."""

    def last(self) -> Iterator[NumberedPart]:
        """The part that had no end when the last piece was read; nothing if there is none."""


class Lines:
    """Call `of` with each piece, then `last`. Blank lines have numbers and are skipped, many at once. A line longer than
    `bytes_max` is not kept.
    """

    whole, part = "file", "line"

    def __init__(self, bytes_max: int, blank_max: int) -> None:
        self._bytes_max = bytes_max
        self._blank_max = blank_max
        self._blank = 0
        self._number = 0
        self._rest = bytearray()
        self._too_long = False

    @property
    def under_way(self) -> int:
        """Bytes of the line that has not ended."""
        return len(self._rest)

    def of(self, piece: bytes) -> Iterator[NumberedPart]:
        """The lines that end in this piece; iterate to the end. Raises `InvalidRequest` if too many lines are blank."""
        start = 0
        while True:
            if not self._rest and not self._too_long:
                start = self._behind_blank(piece, start)
            end = piece.find(b"\n", start)
            if end < 0:
                break
            yield from self._ended(piece[start:end])
            start = end + 1
        self._rest += piece[start:]
        if len(self._rest) > self._bytes_max:
            self._rest, self._too_long = bytearray(), True

    def last(self) -> Iterator[NumberedPart]:
        """The last line, if the file does not end with a line end."""
        if self._rest or self._too_long:
            yield from self._ended(b"")

    def _ended(self, end: bytes) -> Iterator[NumberedPart]:
        if self._rest:
            self._rest += end
            end = bytes(self._rest)
        too_long = self._too_long or len(end) > self._bytes_max
        self._rest, self._too_long = bytearray(), False
        self._number += 1
        if too_long:
            yield self._number, None
        elif end and not end.isspace():
            yield self._number, end.rstrip(b"\r")
        else:
            self._count_blank(1)

    def _behind_blank(self, piece: bytes, start: int) -> int:
        """The index of the first line that is not blank, as far as this piece tells."""
        found = _NOT_BLANK.search(piece, start)
        begins = piece.rfind(b"\n", start, found.start() if found else len(piece)) + 1
        if not begins:
            return start
        blank = piece.count(b"\n", start, begins)
        self._number += blank
        self._count_blank(blank)
        return begins

    def _count_blank(self, lines: int) -> None:
        self._blank += lines
        if self._blank > self._blank_max:
            raise InvalidRequest(f"The file has more than {self._blank_max} blank lines: leave them out.")
