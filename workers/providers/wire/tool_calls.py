"""Tool calls as vendors write them, made into pieces that keep the promises of this folder."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import msgspec

from shared.chat import CallPiece
from shared.errors import AnswerTooLong
from workers.providers.wire import vendor_errors
from workers.providers.wire.text import SurrogateJoiner, whole_characters

BEGINNINGS_BYTES_MAX, BYTES_PER_CALL = 1_000_000, 64
"""Of the ids and names of all calls of an answer, and what each call takes besides: no model makes so many calls."""


class _Call(msgspec.Struct):
    """One call under way; `place` is its index among the calls, whatever the vendor counts."""

    place: int
    id: str
    said: SurrogateJoiner
    empty: bool = True


class ToolCalls:
    """The calls of one answer. The vendor's own index may count other things too (Converse: every block), or be missing."""

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}
        self._begun = 0
        self._beginnings_bytes = 0

    def feed(
        self, index: int, arguments: str, *, call_id: str | None = None, name: str | None = None
    ) -> Iterator[CallPiece]:
        """What the vendor said of its call `index`, which begins with a name. Raises `ProviderError` when it does not, and
        `AnswerTooLong` when there are more calls than any answer has.
        """
        call_id = call_id and whole_characters(call_id)
        call = self._calls.get(index)
        if call is None or (name and call_id and call_id != call.id):
            yield self._begin(index, call_id, name, arguments)
        elif text := call.said.feed(arguments):
            call.empty = False
            yield CallPiece(call.place, text)

    def end(self, reason: str) -> Iterator[CallPiece]:
        """What is left at the end of an answer that ended for `reason`.

        A whole call without a word of arguments (Claude's, of a tool that takes none) gets `{}`, which is what it means.
        """
        for call in self._calls.values():
            rest = call.said.finish()
            if call.empty and not rest and self.reason(reason) == "tool_calls":
                rest = "{}"
            if rest:
                yield CallPiece(call.place, rest)

    def reason(self, reason: str) -> str:
        """The finish reason: an answer that stopped with calls stopped for them, whatever the vendor's word for it.

        Gemini says STOP, OpenAI `stop` when the tool was named in the request; `tool_calls` without a call is a `stop`.
        """
        return "tool_calls" if reason == "stop" and self._begun else reason

    def _begin(self, index: int, call_id: str | None, name: str | None, arguments: str) -> CallPiece:
        if not name:
            raise vendor_errors.no_answer()
        self._beginnings_bytes += BYTES_PER_CALL + len(call_id or "") + len(name)
        if self._beginnings_bytes > BEGINNINGS_BYTES_MAX:
            raise AnswerTooLong("The vendor did not stop to call tools: ask for another model.")
        call = _Call(self._begun, call_id or f"call_{secrets.token_hex(12)}", SurrogateJoiner())
        self._begun += 1
        self._calls[index] = call
        text = call.said.feed(arguments)
        call.empty = not text
        return CallPiece(call.place, text, call.id, whole_characters(name))
