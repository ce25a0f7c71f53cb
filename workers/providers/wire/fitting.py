"""Fits a request to its vendor, and undoes the changes in the answer. Neither providers nor callers know about them."""

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
    """Undoes one change of the request in the answer."""

    def feed(self, piece: Piece) -> Iterable[Piece]:
        """The pieces that the caller gets for a piece."""


class Fitted:
    """A request that fits its vendor: `request` is sent, and the pieces of its answer go through `undone`."""

    def __init__(self, request: ProviderRequest) -> None:
        request, answer = with_answer_tool(request)
        request, names = with_identifiers(request)
        messages = beside(with_labels(with_own_thoughts(request.messages, request.model)), request.model)
        self.request = msgspec.structs.replace(request, messages=messages, tools=with_objects(request.tools))
        # names first, because the answer's tool is known by its own name; thoughts last, because they are signed for
        # the text and the calls that the caller gets
        self._undoings: list[Undoing] = [
            undoing for undoing in (names, answer, thoughts_for(request, answered=answer is not None)) if undoing
        ]

    def undone(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
        """The pieces for the caller; the very same object if nothing was changed. Closing it closes `pieces`."""
        return _through(pieces, self._undoings) if self._undoings else pieces


async def _through(pieces: AsyncGenerator[Piece, None], undoings: list[Undoing]) -> AsyncGenerator[Piece, None]:
    async with aclosing(pieces):
        async for piece in pieces:
            made: Iterable[Piece] = (piece,)
            for undoing in undoings:
                made = [new for one in made for new in undoing.feed(one)]
            for one in made:
                yield one
