"""Thoughts of the Responses API: the summary piece by piece, and at the end of each thought the whole thought,
encrypted.
"""

from __future__ import annotations

from shared.thoughts import ThoughtPiece
from workers.providers.protocol import Thinking
from workers.providers.wire.text import SurrogateJoiner

PARAGRAPH = "\n\n"
"""The text between two parts of a summary."""


class _Thought:
    """A thought in progress; `part` is the part of its summary that was written last."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.part: int | None = None
        self.text = SurrogateJoiner()


class Thoughts:
    """The thoughts of one answer, by their places among its items. If they are not `handed_on`, they
    become signs of life.
    """

    def __init__(self, *, handed_on: bool) -> None:
        self._handed_on = handed_on
        self._thoughts: dict[int, _Thought] = {}

    def said(self, place: int, part: int, delta: str) -> ThoughtPiece | Thinking:
        """A piece of a part of the summary."""
        thought = self._at(place)
        text = thought.text.feed(delta)
        if not (text and self._handed_on):
            return Thinking()
        begins = thought.part is not None and part != thought.part
        thought.part = part
        return ThoughtPiece(thought.index, PARAGRAPH + text if begins else text)

    def ended(self, place: int, item_id: str | None, encrypted: str | None) -> ThoughtPiece | Thinking:
        """The end of a thought."""
        thought = self._at(place)
        rest = thought.text.finish()
        if not (self._handed_on and (rest or encrypted)):
            return Thinking(0)
        return ThoughtPiece(thought.index, rest, encrypted, id=item_id, pieces=0)

    def _at(self, place: int) -> _Thought:
        return self._thoughts.setdefault(place, _Thought(len(self._thoughts)))
