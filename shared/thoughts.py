"""The thoughts of a model before its answer: the whole thought, pieces of it in a stream, and its place among text and
calls.

Vendors show a summary or the thoughts themselves, and some want them back unchanged in a loop of tools. The data that
they want back is the `signature`: opaque text, base 64 if the vendor has bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from typing import TypeVar

import msgspec


class Thought(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thought of the model."""

    text: str = ""
    """The text that the vendor shows of the thought; empty if it shows nothing."""
    signature: str | None = None
    """The data that the vendor wants back unchanged: Claude's signature or redacted data, Gemini's thoughtSignature,
    OpenAI's encrypted_content. Null if there is none.
    """
    redacted: bool = False
    """True if `signature` is Claude's redacted data."""
    id: str | None = None
    """The vendor's own id of the thought; null if it has none."""
    after_text: int = 0
    """The characters of the answer's text that come before this thought."""
    after_calls: int = 0
    """The number of the answer's calls that come before this thought."""

    def bytes_in(self) -> int:
        """The UTF-8 bytes of the thought in a request to the vendor."""
        return len(self.text.encode()) + len((self.signature or "").encode()) + len((self.id or "").encode())


class ThoughtPiece(msgspec.Struct, frozen=True, tag="h", array_like=True):
    """A piece of the thought with this `index`. The vendor sent it in `pieces` pieces; each counts as at least one token.
    The signature comes whole, in the last piece of its thought. Thoughts and calls are counted separately.
    """

    index: int
    text: str = ""
    signature: str | None = None
    redacted: bool = False
    id: str | None = None
    pieces: int = 1

    def joined_with(self, others: Iterable[ThoughtPiece]) -> ThoughtPiece:
        """This piece and those that follow it, as one piece."""
        all_of_it = [self, *others]
        return ThoughtPiece(
            self.index,
            "".join(piece.text for piece in all_of_it),
            next((piece.signature for piece in reversed(all_of_it) if piece.signature is not None), None),
            any(piece.redacted for piece in all_of_it),
            next((piece.id for piece in all_of_it if piece.id is not None), None),
            sum(piece.pieces for piece in all_of_it),
        )


Call = TypeVar("Call")


def in_order(
    text: str, calls: Sequence[Call], thoughts: Sequence[Thought], call_places: Sequence[int] = ()
) -> Iterator[str | Call | Thought]:
    """The blocks of an answer in the order in which the model made them: non-empty texts, calls, thoughts. `call_places`
    are the characters of text before each call; a call without one comes after the text that precedes the thoughts around
    it.
    """
    told = 0
    for place, block in _placed(len(text), calls, thoughts, call_places):
        if piece := text[told:place]:
            yield piece
        yield block
        told = max(told, place)
    if rest := text[told:]:
        yield rest


def _placed(
    length: int, calls: Sequence[Call], thoughts: Sequence[Thought], call_places: Sequence[int]
) -> Iterator[tuple[int, Call | Thought]]:
    """Calls and thoughts, each with the number of characters of text before it."""
    waiting = zip(chain(call_places, repeat(length)), calls, strict=False)
    called = 0
    for thought in thoughts:
        for place, call in islice(waiting, max(0, thought.after_calls - called)):
            yield min(place, thought.after_text), call
        called = max(called, thought.after_calls)
        yield thought.after_text, thought
    yield from waiting
