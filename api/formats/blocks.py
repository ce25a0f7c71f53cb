"""The blocks of an answer, text, calls or thoughts, one after the other: each is closed before the next begins; none begins
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from api.formats.calls import CallsInOrder
from shared.chat import CallPiece
from shared.thoughts import ThoughtPiece


class Begun(NamedTuple):
    """A block begins, which is the next one: the call with this id and name, the thought that begins so, or text."""

    what: CallPiece | ThoughtPiece | None


class Grown(NamedTuple):
    """The last block grows by this text, or by these arguments."""

    text: str


class Signed(NamedTuple):
    """The last block, a thought, gets its signature."""

    signature: str


class Closed(NamedTuple):
    """The last block is whole."""


Step = Begun | Grown | Signed | Closed


class Blocks:
    """`said`, `called` and `thought` take what comes, `end` what is left; all give the steps that can be taken now. What
    comes between two pieces of a call is held back until the call is whole.
    """

    def __init__(self) -> None:
        self._calls = CallsInOrder()
        self._open: Begun | None = None
        self._held: list[str | ThoughtPiece] = []
        self.has_calls = False
        """Whether a tool is called."""

    @property
    def _in_call(self) -> bool:
        return self._open is not None and isinstance(self._open.what, CallPiece)

    def said(self, text: str) -> Iterator[Step]:
        """A piece of text."""
        if text:
            self._held.append(text)
        yield from self._told_if_possible()

    def thought(self, piece: ThoughtPiece) -> Iterator[Step]:
        """A piece of a thought."""
        self._held.append(piece)
        yield from self._told_if_possible()

    def called(self, piece: CallPiece) -> Iterator[Step]:
        """A piece of a call."""
        self.has_calls = True
        yield from self._pieces(self._calls.feed(piece))
        if self._held and self._calls.may_be_followed():
            yield from self._told()

    def end(self) -> Iterator[Step]:
        """Nothing more comes: whatever is open is as whole as it will be."""
        yield from self._pieces(self._calls.rest())
        yield from self._told()
        yield from self._close()

    def _pieces(self, pieces: Iterable[CallPiece]) -> Iterator[Step]:
        for piece in pieces:
            if piece.name is not None:
                yield from self._told()
                yield from self._begin(piece)
            if piece.arguments and self._in_call:  # else its block is closed, so it was whole
                yield Grown(piece.arguments)

    def _told_if_possible(self) -> Iterator[Step]:
        if not self._in_call or (self._held and self._calls.may_be_followed()):
            yield from self._told()

    def _told(self) -> Iterator[Step]:
        """All that is held."""
        texts: list[str] = []
        for one in self._held:
            if isinstance(one, str):
                texts.append(one)
            else:
                yield from self._text(texts)
                texts = []
                yield from self._thought(one)
        self._held.clear()
        yield from self._text(texts)

    def _text(self, texts: list[str]) -> Iterator[Step]:
        if not texts:
            return
        if self._open is None or self._open.what is not None:
            yield from self._begin(None)
        yield Grown("".join(texts))

    def _thought(self, piece: ThoughtPiece) -> Iterator[Step]:
        last = self._open.what if self._open else None
        if not isinstance(last, ThoughtPiece) or last.index != piece.index:
            yield from self._begin(piece)
        if piece.text:
            yield Grown(piece.text)
        if piece.signature is not None:
            yield Signed(piece.signature)

    def _begin(self, what: CallPiece | ThoughtPiece | None) -> Iterator[Step]:
        yield from self._close()
        self._open = Begun(what)
        yield self._open

    def _close(self) -> Iterator[Step]:
        if self._open:
            yield Closed()
        self._open = None
