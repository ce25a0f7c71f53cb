"""Finds the end of a JSON value that arrives in pieces."""

from __future__ import annotations

import re

QUOTE, BACKSLASH = ord('"'), ord("\\")
OPENING, CLOSING = frozenset(b"{["), frozenset(b"}]")
_MARK = re.compile(rb'["{}\[\]]')
_BEHIND_WORD = re.compile(rb"[\s,:\]}]")


class ValueEnd:
    """Finds the end of one value whose first byte is `first`. It looks only at strings and brackets; the decoder checks
    whether the value is JSON.
    """

    def __init__(self, first: int) -> None:
        self._is_word = first != QUOTE and first not in OPENING
        """True if the value is a number or a word such as `true`: it ends before the byte that follows."""
        self._depth = 0
        self._in_string = False
        self._escapes = False
        """True if an odd number of backslashes at the end of the earlier pieces escapes the next byte of a string."""
        self.ended = False

    def in_piece(self, piece: bytes, start: int) -> int:
        """The index behind the part of the value that begins at `start`. `ended` says whether that was the last
        part.
        """
        if self._is_word:
            return self._word(piece, start)
        place = start
        while not self.ended:
            if self._in_string:
                place = self._string(piece, place)
                if self._in_string:
                    return len(piece)
            elif found := _MARK.search(piece, place):
                place = found.end()
                self._step(piece[found.start()])
            else:
                return len(piece)
            self.ended = not self._depth and not self._in_string
        return place

    def _word(self, piece: bytes, start: int) -> int:
        found = _BEHIND_WORD.search(piece, start)
        self.ended = found is not None
        return found.start() if found else len(piece)

    def _step(self, mark: int) -> None:
        if mark == QUOTE:
            self._in_string, self._escapes = True, False
        else:
            self._depth += 1 if mark in OPENING else -1

    def _string(self, piece: bytes, start: int) -> int:
        """The index behind the closing quote, if the quote is in the piece."""
        place = start
        while (quote := piece.find(b'"', place)) >= 0:
            place = quote + 1
            if not self._is_escaped(piece, start, quote):
                self._in_string = False
                return place
        self._escapes = self._is_escaped(piece, start, len(piece))
        return len(piece)

    def _is_escaped(self, piece: bytes, start: int, place: int) -> bool:
        """True if an odd number of backslashes comes before `place`, in the part of the string that begins at `start`."""
        begins = place
        while begins > start and piece[begins - 1] == BACKSLASH:
            begins -= 1
        is_odd = (place - begins) % 2 == 1
        return is_odd != self._escapes if begins == start else is_odd
