"""Splits a file into its lines as it arrives, and says what else may be split so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from shared.errors import InvalidRequest

NumberedLine = tuple[int, bytes | None]
"""Its place in the file, from 1, and the line without its end; None in the place of one that is too long."""
_NOT_BLANK = re.compile(rb"\S")


class Parts(Protocol):
    """Splits what arrives into parts that are read one by one: `of` each piece, then `last`."""

    whole: str
    """Messages call the body so, and each of its parts as `part` says."""
    part: str

    @property
    def under_way(self) -> int:
        """Bytes of the part that has not ended."""

    def of(self, piece: bytes) -> Iterator[NumberedLine]:
        """The parts that end in it. It is to be read to its end. Raises `InvalidRequest` for what is no such body."""

    def last(self) -> Iterator[NumberedLine]:
        """Gives the part that had no end when the last piece was read, if there is one."""


class Lines:
    """`of` each piece, then `last`. Blank lines have numbers and are passed over, many at a time. Nothing is kept of a line
    that is longer than `bytes_max`.
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

    def of(self, piece: bytes) -> Iterator[NumberedLine]:
        """The lines that end in it. It is to be read to its end. Raises `InvalidRequest` when too many lines are blank."""
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

    def last(self) -> Iterator[NumberedLine]:
        """The line that the file ends with, if it has no end of its own."""
        if self._rest or self._too_long:
            yield from self._ended(b"")

    def _ended(self, end: bytes) -> Iterator[NumberedLine]:
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
        """Where the first line begins that is not blank, as far as that can be told from this piece."""
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
