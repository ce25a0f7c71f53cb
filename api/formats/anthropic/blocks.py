"""The blocks of Anthropic's stream, one after the other: each is closed before the next one begins, and none begins again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from api.formats.anthropic.answers import NO_ARGUMENTS, CallBlock, SaidBlock
from api.formats.calls import CallsInOrder
from shared.chat import CallPiece


class Begun(NamedTuple):
    """A block begins, which is the next one."""

    block: SaidBlock | CallBlock


class Grown(NamedTuple):
    """The last block grows by this text, or by these arguments."""

    text: str
    in_call: bool


class Closed(NamedTuple):
    """The last block is whole."""


Step = Begun | Grown | Closed


class Blocks:
    """`said` and `called` take what comes, `end` what is left; all give the steps that can be taken now. Text that comes
    between two pieces of a call is held back until the call is whole.
    """

    def __init__(self) -> None:
        self._calls = CallsInOrder()
        self._open: SaidBlock | CallBlock | None = None
        self._held: list[str] = []
        self.has_calls = False
        """Whether a tool is called."""

    def said(self, text: str) -> Iterator[Step]:
        """A piece of text."""
        if text:
            self._held.append(text)
        if not isinstance(self._open, CallBlock) or (self._held and self._calls.may_be_followed()):
            yield from self._text()

    def called(self, piece: CallPiece) -> Iterator[Step]:
        """A piece of a call."""
        self.has_calls = True
        yield from self._pieces(self._calls.feed(piece))
        if self._held and self._calls.may_be_followed():
            yield from self._text()

    def end(self) -> Iterator[Step]:
        """Nothing more comes: whatever is open is as whole as it will be."""
        yield from self._pieces(self._calls.rest())
        yield from self._text()
        yield from self._close()

    def _pieces(self, pieces: Iterable[CallPiece]) -> Iterator[Step]:
        for piece in pieces:
            if piece.name is not None:
                yield from self._text()
                yield from self._begin(CallBlock(piece.id or "", piece.name, NO_ARGUMENTS))
            if piece.arguments and isinstance(self._open, CallBlock):  # else its block is closed, so it was whole
                yield Grown(piece.arguments, in_call=True)

    def _text(self) -> Iterator[Step]:
        """All that is held."""
        if not self._held:
            return
        if not isinstance(self._open, SaidBlock):
            yield from self._begin(SaidBlock(""))
        yield Grown("".join(self._held), in_call=False)
        self._held.clear()

    def _begin(self, block: SaidBlock | CallBlock) -> Iterator[Step]:
        yield from self._close()
        self._open = block
        yield Begun(block)

    def _close(self) -> Iterator[Step]:
        if self._open:
            yield Closed()
        self._open = None
