"""Whole answers and their parts: made of each other, so that what was streamed and what was kept are the same answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat

import msgspec

from shared.chat import CallPiece, ToolCall, joined_calls
from shared.job import AnswerPart, Chunk, Done


def whole(done: Done, parts: Iterable[AnswerPart]) -> Done:
    """`done` with all of its answer, whose parts have come in this order."""
    texts: list[str] = []
    calls: list[CallPiece] = []
    begun_at: dict[int, int] = {}
    length = 0
    for part in parts:
        match part:
            case Chunk(text):
                texts.append(text)
                length += len(text)
            case CallPiece(index):
                calls.append(part)
                begun_at.setdefault(index, length)
    places = tuple(sorted(begun_at.values()))
    return msgspec.structs.replace(
        done,
        text="".join(texts),
        calls=joined_calls(calls),
        call_places=places if places and places[0] < length else (),
    )


def parts_of(done: Done) -> Iterator[AnswerPart]:
    """The parts of a whole answer, in the order in which the model made them."""
    called = 0
    for one in in_order(done):
        if isinstance(one, str):
            yield Chunk(one)
        else:
            yield CallPiece(called, one.arguments, one.id, one.name)
            called += 1


def in_order(done: Done) -> Iterator[str | ToolCall]:
    """The blocks of a whole answer as the model made them: texts that are not empty, and calls."""
    text, told = done.text or "", 0
    for call, place in zip(done.calls, done.call_places or repeat(len(text)), strict=False):
        if before := text[told:place]:
            yield before
        yield call
        told = place
    if rest := text[told:]:
        yield rest
