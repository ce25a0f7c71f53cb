"""Joins neighbouring parts of an answer, which come piece by piece, so that fewer parts are written and kept."""

from __future__ import annotations

from shared.chat import CallPiece
from shared.job import AnswerPart, Chunk
from shared.thoughts import ThoughtPiece

JOINED_AT_ONCE = 256
"""Parts of an answer that are joined at once."""


class WholeAnswer:
    """An answer that is kept until its end. Its parts are joined now and then: each part takes a hundred bytes beside its
    text, and an answer has a hundred thousand parts.
    """

    def __init__(self) -> None:
        self.parts: list[AnswerPart] = []
        self._joined = 0

    def forget(self) -> None:
        """Drop everything, because another call writes the answer anew."""
        self.parts.clear()
        self._joined = 0

    def add(self, part: AnswerPart) -> None:
        """Add the next part."""
        self.parts.append(part)
        if len(self.parts) - self._joined >= JOINED_AT_ONCE:
            self.parts[self._joined :] = merged(self.parts[self._joined :])
            self._joined = len(self.parts)


def merged(parts: list[AnswerPart]) -> list[AnswerPart]:
    """The parts with neighbours of one kind, one tool call or one thought joined."""
    together: list[list[AnswerPart]] = []
    for part in parts:
        if together and _joins(together[-1][0], part):
            together[-1].append(part)
        else:
            together.append([part])
    return [_joined(group) for group in together]


def _joins(first: AnswerPart, part: AnswerPart) -> bool:
    if isinstance(first, CallPiece) and isinstance(part, CallPiece):
        return part.index == first.index and part.id is None and part.name is None
    if isinstance(first, ThoughtPiece) and isinstance(part, ThoughtPiece):
        return part.index == first.index
    return isinstance(first, Chunk) and isinstance(part, Chunk)


def _joined(group: list[AnswerPart]) -> AnswerPart:
    first, pieces = group[0], sum(part.pieces for part in group)
    if isinstance(first, ThoughtPiece):
        return first.joined_with(part for part in group[1:] if isinstance(part, ThoughtPiece))
    if isinstance(first, Chunk):
        return Chunk("".join(part.text for part in group if isinstance(part, Chunk)), pieces)
    arguments = "".join(part.arguments for part in group if isinstance(part, CallPiece))
    return CallPiece(first.index, arguments, first.id, first.name, pieces, first.signature)
