"""Orders the tool calls of a stream: each call begins with its id and name, once the call before it is complete.

Models write several calls at once; clients read them one after the other. OpenAI's client takes a call as finished as
soon as another one continues, and if an index comes too early, it confuses that call with the one before. Anthropic's
client parses a call when its block is closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from shared.chat import CallPiece

PARSES_MAX = 32
"""The most checks of whether a call's arguments are complete. If they are still incomplete after these, the calls
behind it wait for the end.
"""


class _Call(msgspec.Struct):
    """A call that has begun to arrive."""

    id: str = ""
    name: str = ""
    signature: str | None = None
    told: list[str] = msgspec.field(default_factory=list)
    held: list[str] = msgspec.field(default_factory=list)
    """Arguments that have been sent (`told`), and arguments that have not been sent yet (`held`)."""
    whole: bool = False
    parses: int = 0
    parsed: int = 0
    """The number of pieces that had been sent at the last check."""

    def next_piece(self) -> str:
        """The arguments that are held, which are sent now."""
        piece = "".join(self.held)
        self.told += self.held
        self.held.clear()
        return piece

    def is_whole(self) -> bool:
        """True if the arguments are a complete object. Truncated or empty arguments are not."""
        if self.parses < PARSES_MAX and self.parsed < len(self.told) and self.told[-1].rstrip().endswith("}"):
            self.parses, self.parsed = self.parses + 1, len(self.told)
            self.whole = _is_object("".join(self.told))
        return self.whole


class CallsInOrder:
    """Takes the pieces of calls as they arrive, and returns them in order, with indexes 0, 1, 2 without a gap."""

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}
        self._begun = 0
        self._last: _Call | None = None
        """The call that began last."""

    def feed(self, piece: CallPiece) -> Iterator[CallPiece]:
        """The pieces that can be sent now. A call ends as soon as it is complete; whatever a vendor sends for it later
        is dropped.
        """
        if piece.index < self._begun - 1:
            return
        call = self._calls.setdefault(piece.index, _Call())
        call.id, call.name = piece.id or call.id, piece.name or call.name
        call.signature = piece.signature or call.signature
        if piece.arguments:
            call.held.append(piece.arguments)
        yield from self._more()
        while (following := self._calls.get(self._begun)) and following.name and self.may_be_followed():
            yield self._begin(following)

    def rest(self) -> Iterator[CallPiece]:
        """At the end: everything that is still held, in the order of the indexes."""
        yield from self._more()
        for _, call in sorted((index, call) for index, call in self._calls.items() if index >= self._begun):
            yield self._begin(call)

    def may_be_followed(self) -> bool:
        """True if no call is incomplete."""
        return self._last is None or self._last.is_whole()

    def _more(self) -> Iterator[CallPiece]:
        if self._last and self._last.held:
            yield CallPiece(self._begun - 1, self._last.next_piece())

    def _begin(self, call: _Call) -> CallPiece:
        self._last = call
        self._begun += 1
        return CallPiece(self._begun - 1, call.next_piece(), call.id, call.name, signature=call.signature)


def _is_object(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
