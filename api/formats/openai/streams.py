"""Streams of OpenAI's chat completions: chunks as server-sent events, then `[DONE]`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from api.formats.calls import CallsInOrder
from api.formats.openai.answers import call_json, created_s, finish_reason, usage_of
from api.formats.openai.errors import error_json
from api.formats.openai.thoughts import detail_of, extra_of
from shared.answers import parts_of
from shared.chat import CallPiece
from shared.job import AnswerEvent, Chunk, Done, Failed
from shared.json_lines import json_line
from shared.thoughts import ThoughtPiece

DONE = b"data: [DONE]\n\n"
PLACE = "\0the text"
"""A placeholder for the text. It occurs in no request id and in no model's name, because it begins with NUL."""


class CompletionChunks:
    """Writes chunks: the first one has the role, the last one the finish reason. The usage follows the last one if it
    was asked for.
    """

    content_type = "text/event-stream"
    keepalive: bytes | None = b": keep-alive\n\n"
    held_bytes = 0

    def __init__(self, request_id: str, model: str, *, with_usage: bool) -> None:
        self._request_id = request_id
        self._with_usage = with_usage
        self._head = {
            "id": request_id,
            "object": "chat.completion.chunk",
            "created": created_s(request_id),
            "model": model,
            "system_fingerprint": None,
        }
        self._calls = CallsInOrder()
        self._opened = False
        self._before_text, self._after_text = self._around_text()
        """The JSON of a chunk of text before and after the text: all such chunks differ only in their text."""

    def served_by(self, model: str) -> None:
        """Set the model that every chunk names."""
        self._head["model"] = model
        self._before_text, self._after_text = self._around_text()

    def opening(self) -> None:
        """Send nothing yet: the status waits for the first event."""

    def render(self, sequence: int, event: AnswerEvent) -> bytes:  # noqa: ARG002 - chunks have no numbers
        """The chunks of one event."""
        if isinstance(event, Failed):
            return b"data: " + error_json(event.as_error().body(), self._request_id) + b"\n\n"
        opening = b"" if self._opened else self._delta(_opening(event))
        self._opened = True
        match event:
            case Chunk(text):
                return opening + self._before_text + json_line(text) + self._after_text
            case CallPiece():
                return opening + self._pieces(self._calls.feed(event))
            case ThoughtPiece():
                return opening + self._delta(_thought(event))
            case Done():
                return opening + self._pieces(self._calls.rest()) + self._whole(event) + self._end(event) + DONE

    def clean_end(self, event: AnswerEvent) -> bool:  # noqa: ARG002 - see below
        """Always true. A failure is told by its error event and by the missing `[DONE]`; a broken connection could make a
        client discard unread data, the error included.
        """
        return True

    def _around_text(self) -> tuple[bytes, bytes]:
        before, after = self._delta({"content": PLACE}).split(json_line(PLACE))
        return before, after

    def _pieces(self, pieces: Iterable[CallPiece]) -> bytes:
        return b"".join(self._delta({"tool_calls": [_piece(piece)]}) for piece in pieces)

    def _whole(self, done: Done) -> bytes:
        """All chunks of an answer that was not streamed."""
        thoughts = (_thought(part) for part in parts_of(done) if isinstance(part, ThoughtPiece))
        text = b"".join(map(self._delta, thoughts))
        text += self._delta({"content": done.text}) if done.text else b""
        calls = [{"index": index, **call_json(call)} for index, call in enumerate(done.calls)]
        return text + b"".join(self._delta({"tool_calls": [call]}) for call in calls)

    def _end(self, done: Done) -> bytes:
        if done.served_tier:
            self._head["service_tier"] = done.served_tier
        end = self._delta({}, finish_reason(done))
        return end + self._chunk([], {"usage": usage_of(done.usage)}) if self._with_usage else end

    def _delta(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return self._chunk([choice], {"usage": None} if self._with_usage else {})

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, Any]) -> bytes:
        return b"data: " + json_line({**self._head, "choices": choices, **usage}) + b"\n\n"


def _opening(event: AnswerEvent) -> dict[str, Any]:
    only_calls = isinstance(event, CallPiece | ThoughtPiece) or (
        isinstance(event, Done) and event.calls and not event.text
    )
    return {"role": "assistant", "content": None if only_calls else "", "refusal": None}


def _thought(piece: ThoughtPiece) -> dict[str, Any]:
    """The chunk's fields for a thought: its text, and the entry that clients send back."""
    shown = {"reasoning_content": piece.text} if piece.text else {}
    return {**shown, "reasoning_details": [detail_of(piece)]}


def _piece(piece: CallPiece) -> dict[str, Any]:
    """The chunk's field for a piece of a call. The first piece of a call has its id and name."""
    if piece.id is None and piece.name is None:
        return {"index": piece.index, "function": {"arguments": piece.arguments}}
    function = {"name": piece.name, "arguments": piece.arguments}
    signed = {"extra_content": extra_of(piece.signature)} if piece.signature else {}
    return {"index": piece.index, "id": piece.id, "type": "function", "function": function, **signed}
