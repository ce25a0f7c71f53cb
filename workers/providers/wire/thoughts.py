"""Thoughts between a vendor and a caller: of those that come back each vendor gets its own, and of those that it makes the
caller gets what it asked for, with signatures that say whose they are.
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
    """The same talk with the thoughts and signatures that the model's vendor made, as it made them. The very same list when
    there are none.
    """
    if not any(message.thoughts or any(call.signature for call in message.tool_calls) for message in messages):
        return messages
    return [_with_own(message, model) for message in messages]


def without_thoughts(messages: list[Message]) -> list[Message]:
    """The same talk without any."""
    return [_replaced(message, (), tuple(_unsigned(call) for call in message.tool_calls)) for message in messages]


def thoughts_for(request: ProviderRequest, *, answered: bool) -> HandedOn | None:
    """What makes the caller's pieces of the vendor's; None where the caller gets nothing of what the model thinks. A call
    that is `answered` as text is no call in the caller's history, so that its thoughts cannot be given back.
    """
    sampling = request.sampling
    if not sampling.hands_thoughts_on:
        return None
    return HandedOn(request.model, shows=sampling.shows_thoughts, signs=sampling.signs_thoughts and not answered)


class HandedOn:
    """Shows thoughts, or signs them, or both. What is not handed on is a sign of life."""

    def __init__(self, model: Model, *, shows: bool, signs: bool) -> None:
        self._model = model
        self._shows = shows
        self._signs = signs
        self._open: ThoughtPiece | None = None
        """Of the thought that is not signed yet: its last piece."""
        self._text: list[str] = []
        """All of its text."""

    def feed(self, piece: Piece) -> Iterator[Piece]:
        """What the caller gets of it."""
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
        """A thought that its vendor did not sign is signed here, so that it is known again, where the vendor takes it so."""
        last = self._open
        if last and any(self._text) and needs_no_signature(self._model):
            yield ThoughtPiece(last.index, signature=self._wrapped(None), pieces=0)
        self._open = None

    def _wrapped(self, signature: str | None, *, redacted: bool = False) -> str:
        """Of the thought that is open, which is whole with it."""
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
