"""Joins the parts of an answer into the whole answer, and splits a whole answer into its parts, so that a streamed answer
and a kept one are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from shared.chat import CallPiece, ToolCall
from shared.job import AnswerPart, Chunk, Done
from shared.thoughts import Thought, ThoughtPiece, in_order


def whole(done: Done, parts: Iterable[AnswerPart]) -> Done:
    """Give `done` with the whole answer, joined of `parts` in the order in which they came."""
    texts: list[str] = []
    calls: list[CallPiece] = []
    thoughts: dict[int, list[ThoughtPiece]] = {}
    begun_at: dict[int, int] = {}  # by call: the characters of text before it
    places: dict[int, tuple[int, int]] = {}  # by thought: the characters of text, and the calls, before it
    length = 0
    for part in parts:
        match part:
            case Chunk(text):
                texts.append(text)
                length += len(text)
            case CallPiece(index):
                calls.append(part)
                begun_at.setdefault(index, length)
            case ThoughtPiece(index):
                places.setdefault(index, (length, len(begun_at)))
                thoughts.setdefault(index, []).append(part)
    call_places = tuple(sorted(begun_at.values()))
    return msgspec.structs.replace(
        done,
        text="".join(texts),
        calls=joined_calls(calls),
        call_places=call_places if call_places and call_places[0] < length else (),
        thoughts=tuple(_thought(pieces, *places[index]) for index, pieces in thoughts.items()),
    )


def parts_of(done: Done) -> Iterator[AnswerPart]:
    """The parts of a whole answer, in the order in which the model made them."""
    calls = thoughts = 0
    for one in in_order(done.text or "", done.calls, done.thoughts, done.call_places):
        match one:
            case str():
                yield Chunk(one)
            case ToolCall():
                yield CallPiece(calls, one.arguments, one.id, one.name, signature=one.signature)
                calls += 1
            case Thought():
                yield ThoughtPiece(thoughts, one.text, one.signature, one.redacted, one.id)
                thoughts += 1


def joined_calls(pieces: Iterable[CallPiece]) -> tuple[ToolCall, ...]:
    """The whole calls, in the order of their indexes."""
    named: dict[int, tuple[str, str, str | None]] = {}
    arguments: dict[int, list[str]] = {}
    for piece in pieces:
        call_id, name, signature = named.get(piece.index, ("", "", None))
        named[piece.index] = piece.id or call_id, piece.name or name, piece.signature or signature
        arguments.setdefault(piece.index, []).append(piece.arguments)
    told = ((*named[index], "".join(arguments[index])) for index in sorted(named))
    return tuple(ToolCall(call_id, name, written, signature) for call_id, name, signature, written in told)


def _thought(pieces: list[ThoughtPiece], after_text: int, after_calls: int) -> Thought:
    first, *others = pieces
    piece = first.joined_with(others)
    return Thought(piece.text, piece.signature, piece.redacted, piece.id, after_text, after_calls)
