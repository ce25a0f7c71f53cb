"""A request as its vendor takes it, and what undoes that in the answer: neither providers nor callers know of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Protocol

import msgspec

from workers.providers.protocol import Piece, ProviderRequest
from workers.providers.wire.answer_tool import with_answer_tool
from workers.providers.wire.identifiers import with_identifiers
from workers.providers.wire.labels import with_labels, with_objects
from workers.providers.wire.result_images import beside
from workers.providers.wire.thoughts import thoughts_for, with_own_thoughts


class Undoing(Protocol):
    """Undoes in an answer what was done to a request."""

    def feed(self, piece: Piece) -> Iterable[Piece]:
        """What the caller gets of a piece."""


class Fitted:
    """`request` is to be asked; its pieces are to go through `undone`."""

    def __init__(self, request: ProviderRequest) -> None:
        request, answer = with_answer_tool(request)
        request, names = with_identifiers(request)
        messages = beside(with_labels(with_own_thoughts(request.messages, request.model)), request.model)
        self.request = msgspec.structs.replace(request, messages=messages, tools=with_objects(request.tools))
        self._undoings: list[Undoing] = [
            undoing for undoing in (names, answer, thoughts_for(request, answered=answer is not None)) if undoing
        ]

    def undone(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
        """What the caller asked for; the very same pieces where nothing was done. Closing it closes `pieces`."""
        return _through(pieces, self._undoings) if self._undoings else pieces


async def _through(pieces: AsyncGenerator[Piece, None], undoings: list[Undoing]) -> AsyncGenerator[Piece, None]:
    async with aclosing(pieces):
        async for piece in pieces:
            made: Iterable[Piece] = (piece,)
            for undoing in undoings:
                made = [new for one in made for new in undoing.feed(one)]
            for one in made:
                yield one
