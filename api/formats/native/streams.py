"""The two forms of the native API's streams: raw text, and server-sent events."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from api.formats.native import answers as native_answers
from shared.chat import CallPiece, ToolCall
from shared.job import AnswerEvent, Chunk, Done, Failed
from shared.thoughts import ThoughtPiece


class RawText:
    """A stream of raw text. Statistics and errors come after the text as a record, behind the byte 0x1E."""

    content_type = "text/plain"
    keepalive: bytes | None = None
    held_bytes = 0

    def __init__(self, request_id: str, *, with_stats: bool, model: str | None = None) -> None:
        """`model` is the name that the statistics have; None for none."""
        self._request_id = request_id
        self._with_stats = with_stats
        self._model = model

    def served_by(self, model: str) -> None:
        """Set the model that the statistics name."""
        self._model = model

    def opening(self) -> None:
        """Send nothing yet: the status waits for the first event."""

    def render(self, sequence: int, event: AnswerEvent) -> bytes:  # noqa: ARG002 - raw text has no numbers
        """The bytes of the event: its text, or the record at the end."""
        match event:
            case Chunk(text):
                return native_answers.raw_text(text)
            case CallPiece() | ThoughtPiece():
                return b""  # raw text cannot carry tool calls and thoughts, and no native request asks for them
            case Done():
                stats = native_answers.stats_record(event, self._model) if self._with_stats else b""
                return native_answers.raw_text(event.text or "") + stats
            case Failed():
                return native_answers.error_record(event, self._request_id)

    def clean_end(self, event: AnswerEvent) -> bool:
        """False for a failure: a client that ignores the record must still see a broken transfer."""
        return isinstance(event, Done)


class ServerSentEvents:
    """A stream of server-sent events: `chunk`, then `done` or `error`. `id` is the sequence number."""

    content_type = "text/event-stream"
    keepalive: bytes | None = b": keep-alive\n\n"
    held_bytes = 0

    def __init__(self, request_id: str, model: str | None = None) -> None:
        """`model` is the name that the last event has; None for none."""
        self._request_id = request_id
        self._model = model

    def served_by(self, model: str) -> None:
        """Set the model that the last event names."""
        self._model = model

    def opening(self) -> None:
        """Send nothing yet: the status waits for the first event."""

    def render(self, sequence: int, event: AnswerEvent) -> bytes:
        """The bytes of the event."""
        match event:
            case Chunk(text):
                return native_answers.sse_event(sequence, "chunk", {"text": text})
            case CallPiece():
                return native_answers.sse_event(sequence, "tool_call", _unsigned(event))
            case ThoughtPiece(text=text):
                return native_answers.sse_event(sequence, "thought", {"text": text})
            case Done():
                return self._whole(event) + native_answers.sse_event(sequence, "done", _end(event, self._model))
            case Failed():
                return native_answers.sse_error(sequence, event.as_error().body(), self._request_id)

    def clean_end(self, event: AnswerEvent) -> bool:  # noqa: ARG002 - an error event is an end as good as any
        """Always true: after an error, too, the stream ends cleanly."""
        return True

    @staticmethod
    def _whole(done: Done) -> bytes:
        """The whole text of an answer that was not streamed, as an event without a number: a reader that resumes gets
        it again.
        """
        thoughts = b"".join(native_answers.sse_event(None, "thought", {"text": one.text}) for one in done.thoughts)
        text = native_answers.sse_event(None, "chunk", {"text": done.text}) if done.text else b""
        calls = [{"index": index, **_unsigned(call)} for index, call in enumerate(done.calls)]
        return thoughts + text + b"".join(native_answers.sse_event(None, "tool_call", call) for call in calls)


def _unsigned(call: CallPiece | ToolCall) -> dict[str, Any]:
    """The call without its signature, which has no use in the native API: callers send no calls back."""
    return {name: value for name, value in asdict(call).items() if name != "signature"}


def _end(done: Done, model: str | None) -> native_answers.StreamEnd:
    return native_answers.StreamEnd(**asdict(native_answers.stats(done, model)), finish_reason=done.finish_reason)
