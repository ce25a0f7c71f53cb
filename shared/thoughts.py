"""What a model thought before it answered: whole, in pieces of a stream, and in its place among text and calls.

Vendors show a summary or the thinking itself, and some want it back unchanged in a loop of tools. What they want back is the
`signature`: opaque text, base 64 where the vendor has bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec


class Thought(msgspec.Struct, frozen=True, omit_defaults=True):
    """One block of thinking. `text` is what the vendor shows of it, which may be nothing. `signature` is what the vendor
    wants back: Claude's signature or redacted data (then it is `redacted`), Gemini's thoughtSignature, OpenAI's
    encrypted_content. `id` is the vendor's own name for it. `after_text` characters of the answer's text and `after_calls`
    of its calls come before it.
    """

    text: str = ""
    signature: str | None = None
    redacted: bool = False
    id: str | None = None
    after_text: int = 0
    after_calls: int = 0

    def bytes_in(self) -> int:
        """UTF-8 bytes of what a vendor is sent of it."""
        return len(self.text.encode()) + len((self.signature or "").encode()) + len((self.id or "").encode())


class ThoughtPiece(msgspec.Struct, frozen=True, tag="h", array_like=True):
    """A piece of the thought with this `index`, which its vendor sent in `pieces` pieces: a token at least each. The
    signature comes whole, in the last piece of its thought. Thoughts have indexes of their own, beside those of calls.
    """

    index: int
    text: str = ""
    signature: str | None = None
    redacted: bool = False
    id: str | None = None
    pieces: int = 1

    def joined_with(self, others: Iterable[ThoughtPiece]) -> ThoughtPiece:
        """This one and those that follow it, as one piece."""
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


def in_order(text: str, calls: Sequence[Call], thoughts: Sequence[Thought]) -> Iterator[str | Call | Thought]:
    """The blocks of an answer as the model made them: text that is not empty, calls, thoughts."""
    told = called = 0
    for thought in thoughts:
        if piece := text[told : thought.after_text]:
            yield piece
        yield from calls[called : thought.after_calls]
        yield thought
        told, called = max(told, thought.after_text), max(called, thought.after_calls)
    if rest := text[told:]:
        yield rest
    yield from calls[called:]
