"""Passes thoughts between vendors and callers. Of the thoughts that callers send back, a vendor gets only its own. Of
new thoughts, the caller gets what it asked for, with signatures that say which model made them.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from shared.catalogue.models import Model
from shared.chat import CallPiece, Message, ToolCall
from shared.signatures import needs_no_signature, own_signature, own_thought, wrapped
from shared.thoughts import Thought, ThoughtPiece
from workers.providers.protocol import Finished, Joined, Piece, ProviderRequest, Thinking


def with_own_thoughts(messages: list[Message], model: Model) -> list[Message]:
    """The messages with only those thoughts and signatures that the model's vendor made, in the vendor's form. The very
    same list if there are none.
    """
    if not any(message.thoughts or any(call.signature for call in message.tool_calls) for message in messages):
        return messages
    return [_with_own(message, model) for message in messages]


def without_thoughts(messages: list[Message]) -> list[Message]:
    """The messages without any thoughts."""
    return [_replaced(message, (), tuple(_unsigned(call) for call in message.tool_calls)) for message in messages]


def thoughts_for(request: ProviderRequest, *, answered: bool) -> HandedOn | None:
    """The converter of the vendor's pieces; None if the caller gets no thoughts. If the answer's call is turned into
    text (`answered`), the caller's history has no call, so thoughts before it cannot be sent back.
    """
    sampling = request.sampling
    if not sampling.hands_thoughts_on:
        return None
    return HandedOn(request.model, shows=sampling.shows_thoughts, signs=sampling.signs_thoughts and not answered)


class HandedOn:
    """Shows thoughts, or signs them, or both. A thought that is not handed on becomes a sign of life."""

    def __init__(self, model: Model, *, shows: bool, signs: bool) -> None:
        self._model = model
        self._shows = shows
        self._signs = signs
        self._open: ThoughtPiece | None = None
        """The last piece of the thought that is not signed yet; None if there is none."""
        self._text: list[str] = []
        """The whole text of that thought."""

    def feed(self, piece: Piece) -> Iterator[Piece]:
        """The pieces that the caller gets."""
        match piece:
            case ThoughtPiece():
                yield from self._thought(piece)
            case CallPiece():
                yield from self._end()
                yield self._signed_call(piece)
            case str() | Joined() | Finished():
                yield from self._end()
                yield piece
            case _:
                yield piece

    def _thought(self, piece: ThoughtPiece) -> Iterator[Piece]:
        if self._open and self._open.index != piece.index:
            yield from self._end()
        self._open = piece
        if self._signs:
            self._text.append(piece.text)
        told = msgspec.structs.replace(piece, text=piece.text if self._shows else "", signature=self._signature(piece))
        yield told if told.text or told.signature else Thinking(piece.pieces)

    def _signature(self, piece: ThoughtPiece) -> str | None:
        if not self._signs or piece.signature is None:
            return None
        return self._wrapped(piece.signature, redacted=piece.redacted)

    def _end(self) -> Iterator[Piece]:
        """Sign a thought that its vendor did not sign, if the vendor takes it back unsigned: so it is recognised later."""
        last = self._open
        if last and any(self._text) and needs_no_signature(self._model):
            yield ThoughtPiece(last.index, signature=self._wrapped(None), pieces=0)
        self._open = None

    def _wrapped(self, signature: str | None, *, redacted: bool = False) -> str:
        """The wrapped signature of the open thought, which is complete with it."""
        text = "".join(self._text)
        self._text.clear()
        return wrapped(self._model, signature, text, shown=self._shows, redacted=redacted)

    def _signed_call(self, piece: CallPiece) -> CallPiece:
        if piece.signature is None:
            return piece
        signature = wrapped(self._model, piece.signature) if self._signs else None
        return msgspec.structs.replace(piece, signature=signature)


def _with_own(message: Message, model: Model) -> Message:
    own = (own_thought(model, thought) for thought in message.thoughts)
    calls = (
        msgspec.structs.replace(call, signature=own_signature(model, call.signature)) if call.signature else call
        for call in message.tool_calls
    )
    return _replaced(message, tuple(thought for thought in own if thought), tuple(calls))


def _unsigned(call: ToolCall) -> ToolCall:
    return msgspec.structs.replace(call, signature=None)


def _replaced(message: Message, thoughts: tuple[Thought, ...], calls: tuple[ToolCall, ...]) -> Message:
    return msgspec.structs.replace(message, thoughts=thoughts, tool_calls=calls)
