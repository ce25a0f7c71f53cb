"""Turns vendors' tool calls into pieces that keep the promises of `protocol.py`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import msgspec

from shared.chat import CallPiece
from shared.errors import AnswerTooLong
from workers.providers.protocol import Thinking
from workers.providers.wire import vendor_errors
from workers.providers.wire.text import SurrogateJoiner, whole_characters

BEGINNINGS_BYTES_MAX, BYTES_PER_CALL = 1_000_000, 64
"""The most bytes of all ids and names of an answer's calls and of arguments before a name, and the bytes that a call
counts beside these; no model makes so many calls.
"""


class _Call(msgspec.Struct):
    """A call in progress; `place` is its index among the calls, whatever else the vendor counts."""

    place: int
    id: str
    said: SurrogateJoiner
    empty: bool = True


class _Nameless(msgspec.Struct):
    """A call whose name has not arrived; it cannot be passed on yet."""

    id: str | None = None
    arguments: list[str] = []

    def hear(self, call_id: str | None, arguments: str) -> None:
        """Add a piece. Raises `ProviderError` for a piece of another call."""
        if self.id and call_id and call_id != self.id:
            raise vendor_errors.no_answer()
        self.id = call_id or self.id
        self.arguments.append(arguments)


class ToolCalls:
    """The calls of one answer. The vendor's own index may count other things, too (Converse counts every block), or be
    missing.
    """

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}
        self._nameless: dict[int, _Nameless] = {}
        self._begun = 0
        self._beginnings_bytes = 0

    def feed(
        self, index: int, arguments: str, *, call_id: str | None = None, name: str | None = None
    ) -> Iterator[CallPiece | Thinking]:
        """The pieces of the vendor's call `index`. A call begins with its name; arguments that arrive before the name
        are held back, and count as a sign of life. Raises `AnswerTooLong` if too much is held back, or if there are too
        many calls.
        """
        call_id = call_id and whole_characters(call_id)
        call = self._calls.get(index)
        if call is None or (name and call_id and call_id != call.id):
            yield self._begin(index, call_id, name, arguments) if name else self._hold(index, call_id, arguments)
        elif text := call.said.feed(arguments):
            call.empty = False
            yield CallPiece(call.place, text)

    def end(self, reason: str) -> Iterator[CallPiece]:
        """The pieces at the end of an answer that ended for `reason`. Raises `ProviderError` if a call has no name, unless
        the answer was cut off before it; then the call is left out. A call without arguments (Claude's, of a tool that
        takes none) gets `{}`.
        """
        if self._nameless and reason == "stop":
            raise vendor_errors.no_answer()
        for call in self._calls.values():
            rest = call.said.finish()
            if call.empty and not rest and self.reason(reason) == "tool_calls":
                rest = "{}"
            if rest:
                yield CallPiece(call.place, rest)

    def reason(self, reason: str) -> str:
        """The finish reason: a stopped answer with calls has `tool_calls`, whatever the vendor says. Gemini says STOP,
        OpenAI `stop` if the tool was named in the request; `tool_calls` without a call becomes `stop`.
        """
        return "tool_calls" if reason == "stop" and self._begun else reason

    def _begin(self, index: int, call_id: str | None, name: str, arguments: str) -> CallPiece:
        held = self._nameless.pop(index, _Nameless())
        held.hear(call_id, arguments)
        self._count(len(held.id or "") + len(name))
        call = _Call(self._begun, held.id or f"call_{secrets.token_hex(12)}", SurrogateJoiner())
        self._begun += 1
        self._calls[index] = call
        text = call.said.feed("".join(held.arguments))
        call.empty = not text
        return CallPiece(call.place, text, call.id, whole_characters(name))

    def _hold(self, index: int, call_id: str | None, arguments: str) -> Thinking:
        self._count(len(call_id or "") + len(arguments))
        self._nameless.setdefault(index, _Nameless()).hear(call_id, arguments)
        return Thinking()

    def _count(self, size: int) -> None:
        self._beginnings_bytes += BYTES_PER_CALL + size
        if self._beginnings_bytes > BEGINNINGS_BYTES_MAX:
            raise AnswerTooLong("The vendor did not stop to call tools: ask for another model.")
