"""The thoughts of Converse's models: `reasoningContent`, a text with its signature, or encrypted data.

Wire format: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ReasoningContentBlock.html (read 2026-11).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from shared.thoughts import ThoughtPiece
from workers.providers.protocol import Piece, Thinking
from workers.providers.wire.text import SurrogateJoiner


class Thoughts:
    """The thoughts of one answer. If they are not `handed_on`, they become signs of life. The vendor counts blocks of
    every kind.
    """

    def __init__(self, *, handed_on: bool) -> None:
        self._handed_on = handed_on
        self._begun = 0
        self._block: int | None = None
        """The index of the open block; None if no block is open."""
        self._text = SurrogateJoiner()
        self._signature = ""
        self._encrypted = b""

    def block(self, index: int, content: dict[str, Any]) -> Iterator[Piece]:
        """The pieces of a whole block."""
        said = content.get("reasoningText") or {}
        yield from self.delta(index, {"text": said.get("text"), "signature": said.get("signature"), **content})
        yield from self.stop(index)

    def delta(self, index: int, content: dict[str, Any]) -> Iterator[Piece]:
        """The pieces of a delta of block `index`: text, its signature, or encrypted data."""
        if not self._handed_on:
            yield Thinking()
            return
        if self._block != index:
            yield from self.rest()
            self._block = index
            self._begun += 1
        self._signature += content.get("signature") or ""
        self._encrypted += content.get("redactedContent") or b""
        if text := self._text.feed(content.get("text") or ""):
            yield ThoughtPiece(self._begun - 1, text)
        else:
            yield Thinking()

    def stop(self, index: int) -> Iterator[Piece]:
        """The pieces at the end of the block."""
        if self._block == index:
            yield from self.rest()

    def rest(self) -> Iterator[Piece]:
        """The remaining pieces of the open block: its signature is sent as a whole."""
        text, place = self._text.finish(), self._begun - 1
        if self._encrypted:
            data = base64.b64encode(self._encrypted).decode()
            yield ThoughtPiece(place, signature=data, redacted=True, pieces=0)
        elif text or self._signature:
            yield ThoughtPiece(place, text, self._signature or None, pieces=0)
        self._block, self._signature, self._encrypted = None, "", b""
