"""A stream in the form of Anthropic's API: a message that grows block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from api.formats.anthropic.answers import (
    NO_ARGUMENTS,
    AnswerBlock,
    CallBlock,
    MessageAnswer,
    SaidBlock,
    stop_reason,
    thought_block,
    usage_of,
)
from api.formats.anthropic.errors import failure
from api.formats.blocks import Begun, Blocks, Closed, Grown, Signed, Step
from shared.answers import parts_of
from shared.chat import CallPiece
from shared.job import AnswerEvent, AnswerPart, Chunk, Done, Failed
from shared.json_lines import json_line
from shared.money import Usage
from shared.thoughts import ThoughtPiece


class MessageEvents:
    """Sends `message_start`, the blocks one after the other, `message_delta`, `message_stop`; or `error` without a
    `message_stop`. Usage is known only at the end, so `message_delta` has all of it. Arguments of tools are sent as the
    model writes them.
    """

    content_type = "text/event-stream"
    keepalive: bytes | None = b'event: ping\ndata: {"type":"ping"}\n\n'
    held_bytes = 0

    def __init__(self, model: str, request_id: str, *, tells_model: bool = False) -> None:
        self._model = model
        self._tells_model = tells_model
        self._request_id = request_id
        self._started = False
        self._blocks = Blocks(signs_calls=True)
        self._begun = 0
        """The number of blocks that have begun."""
        self._last: CallPiece | ThoughtPiece | None = None
        """The piece with which the last block began."""

    def served_by(self, model: str) -> None:
        """Set the model that `message_start` names."""
        self._model = model

    def opening(self) -> None:
        """Send nothing yet: the status waits for the first event or ping (`SSE_KEEPALIVE_S`), whichever is sooner."""

    def render(self, sequence: int, event: AnswerEvent) -> bytes:  # noqa: ARG002 - these events have no numbers
        """Anthropic's events for this event; none for an empty text."""
        return b"".join(self._events(event))

    def clean_end(self, event: AnswerEvent) -> bool:  # noqa: ARG002 - an error event is an end as good as any
        """Always true: after an error, too, the stream ends cleanly."""
        return True

    def _events(self, event: AnswerEvent) -> Iterator[bytes]:
        if isinstance(event, Failed):
            yield _sse("error", failure(event.as_error().body(), self._request_id))
            return
        if not self._started:
            self._started = True
            yield _event("message_start", message=self._beginning())
        yield from self._end(event) if isinstance(event, Done) else self._part(event)

    def _part(self, part: AnswerPart) -> Iterator[bytes]:
        match part:
            case Chunk(text):
                yield from self._steps(self._blocks.said(text))
            case CallPiece():
                yield from self._steps(self._blocks.called(part))
            case ThoughtPiece():
                yield from self._steps(self._blocks.thought(part))

    def _beginning(self) -> MessageAnswer:
        usage = msgspec.structs.replace(usage_of(Usage(0, 0)), cache_creation=None)
        return MessageAnswer(id=self._request_id, model=self._model, content=[], stop_reason=None, usage=usage)

    def _end(self, done: Done) -> Iterator[bytes]:
        for part in parts_of(done):
            yield from self._part(part)
        yield from self._steps(self._blocks.end())
        reason = stop_reason(done, has_calls=self._blocks.has_calls)
        delta = {"stop_reason": reason, "stop_sequence": None}
        served = {"model": self._model} if self._tells_model else {}
        yield _event("message_delta", delta=delta, usage=usage_of(done.usage), **served)
        yield _event("message_stop")

    def _steps(self, steps: Iterable[Step]) -> Iterator[bytes]:
        for step in steps:
            match step:
                case Begun(what):
                    self._begun, self._last = self._begun + 1, what
                    yield _event("content_block_start", index=self._begun - 1, content_block=_block(what))
                case Grown(text):
                    yield self._delta(_grown(self._last, text))
                case Signed(signature):
                    if isinstance(self._last, ThoughtPiece) and not self._last.redacted:
                        yield self._delta({"type": "signature_delta", "signature": signature})
                case Closed():
                    yield _event("content_block_stop", index=self._begun - 1)

    def _delta(self, delta: dict[str, str]) -> bytes:
        return _event("content_block_delta", index=self._begun - 1, delta=delta)


def _block(what: CallPiece | ThoughtPiece | None) -> AnswerBlock:
    match what:
        case CallPiece(id=call_id, name=name):
            return CallBlock(call_id or "", name or "", NO_ARGUMENTS)
        case ThoughtPiece(redacted=True):
            return thought_block(what)
        case ThoughtPiece(index):
            return thought_block(ThoughtPiece(index))
        case None:
            return SaidBlock("")


def _grown(what: CallPiece | ThoughtPiece | None, text: str) -> dict[str, str]:
    match what:
        case CallPiece():
            return {"type": "input_json_delta", "partial_json": text}
        case ThoughtPiece():
            return {"type": "thinking_delta", "thinking": text}
        case None:
            return {"type": "text_delta", "text": text}


def _event(kind: str, **fields: object) -> bytes:
    return _sse(kind, {"type": kind, **fields})


def _sse(kind: str, document: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), json_line(document))
