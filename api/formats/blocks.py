"""Orders an answer into blocks (texts, calls, thoughts), one after the other: a block is closed before the next begins, and
is never reopened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from api.formats.calls import CallsInOrder
from shared.chat import CallPiece, ToolCall
from shared.thoughts import Thought, ThoughtPiece

OF_A_CALL = -1
"""The index of a thought that only carries a call's signature; no other thought has it."""


class Begun(NamedTuple):
    """The step in which the next block begins: a call with its id and name, a thought, or text."""

    what: CallPiece | ThoughtPiece | None


class Grown(NamedTuple):
    """The step in which the last block grows by this text, or by these arguments."""

    text: str


class Signed(NamedTuple):
    """The step in which the last block, a thought, gets its signature."""

    signature: str


class Closed(NamedTuple):
    """The step that completes the last block."""


Step = Begun | Grown | Signed | Closed


def signed_apart(blocks: Iterable[str | ToolCall | Thought]) -> Iterator[str | ToolCall | Thought]:
    """The blocks of an answer, with each call's signature before the call as a thought without text."""
    for block in blocks:
        if isinstance(block, ToolCall) and block.signature:
            yield Thought(signature=block.signature)
        yield block


class Blocks:
    """Turns the pieces of an answer into steps of blocks. Feed pieces with `said`, `called` and `thought`, then call
    `end`; each yields the steps that are possible now. What arrives between two pieces of a call is held back until
    this call, and every call that began before it, is complete. With `signs_calls`, a call's signature comes before the
    call as a thought without text.
    """

    def __init__(self, *, signs_calls: bool) -> None:
        self._signs_calls = signs_calls
        self._calls = CallsInOrder()
        self._open: Begun | None = None
        self._held: deque[tuple[int, str | ThoughtPiece]] = deque()
        """Pieces that are held back, each with the number of calls that come before it."""
        self._heard: set[int] = set()
        self._begun = 0
        """The number of calls that have begun."""

    @property
    def has_calls(self) -> bool:
        """True if a tool was called."""
        return bool(self._heard)

    @property
    def calls_waiting(self) -> int:
        """The number of calls that have arrived and may not begin yet."""
        return len(self._heard) - self._begun

    @property
    def _in_call(self) -> bool:
        return self._open is not None and isinstance(self._open.what, CallPiece)

    def said(self, text: str) -> Iterator[Step]:
        """Take a piece of text."""
        if text:
            self._hold(text)
        yield from self._told_if_possible()

    def thought(self, piece: ThoughtPiece) -> Iterator[Step]:
        """Take a piece of a thought."""
        self._hold(piece)
        yield from self._told_if_possible()

    def called(self, piece: CallPiece) -> Iterator[Step]:
        """Take a piece of a call."""
        self._heard.add(piece.index)
        yield from self._pieces(self._calls.feed(piece))
        if self._held and self._calls.may_be_followed():
            yield from self._told()

    def end(self) -> Iterator[Step]:
        """Close whatever is open, because nothing more arrives."""
        yield from self._pieces(self._calls.rest())
        yield from self._told()
        yield from self._close()

    def _pieces(self, pieces: Iterable[CallPiece]) -> Iterator[Step]:
        for piece in pieces:
            if piece.name is not None:
                yield from self._told()
                if self._signs_calls and piece.signature:
                    yield from self._begin(ThoughtPiece(OF_A_CALL))
                    yield Signed(piece.signature)
                yield from self._begin(piece)
                self._begun += 1
            if piece.arguments and self._in_call:  # otherwise its block is closed, so the call was complete
                yield Grown(piece.arguments)

    def _hold(self, what: str | ThoughtPiece) -> None:
        self._held.append((len(self._heard), what))

    def _told_if_possible(self) -> Iterator[Step]:
        if not self._in_call or (self._held and self._calls.may_be_followed()):
            yield from self._told()

    def _told(self) -> Iterator[Step]:
        """Release everything that is held back, up to the first piece that comes after a call which has not begun."""
        texts: list[str] = []
        while self._held and self._held[0][0] <= self._begun:
            _, one = self._held.popleft()
            if isinstance(one, str):
                texts.append(one)
            else:
                yield from self._text(texts)
                texts = []
                yield from self._thought(one)
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
