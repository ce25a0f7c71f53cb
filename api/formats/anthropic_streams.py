"""A stream as Anthropic's API sends it: a message that grows block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from api.formats.anthropic_answers import AnthropicMessage, stop_reason, usage_of
from api.formats.anthropic_errors import failure
from api.formats.event_data import event_data
from shared.chat import CallPiece
from shared.job import Chunk, Done, Event, Failed
from shared.money import Usage

NOTHING_YET = Usage(0, 0)


class MessageEvents:
    """`message_start`, the blocks one after the other, `message_delta`, `message_stop`; or `error`, and no `message_stop`.

    The usage is known at the end only: `message_delta` has all of it. Arguments of tools are sent as the model writes them.
    """

    content_type = "text/event-stream"
    keepalive: bytes | None = b'event: ping\ndata: {"type":"ping"}\n\n'

    def __init__(self, model: str, request_id: str) -> None:
        self._model = model
        self._request_id = request_id
        self._started = False
        self._blocks = 0
        self._open: str | None = None  # the kind of the last block, while it is open
        self._call_blocks: dict[int, int] = {}

    def render(self, sequence: int, event: Event) -> bytes:  # noqa: ARG002 - these events have no numbers
        """The events that tell of this one; none for an empty text."""
        return b"".join(_sse(document) for document in self._documents(event))

    def clean_end(self, event: Event) -> bool:  # noqa: ARG002 - an error event is an end as good as any
        """Always."""
        return True

    def _documents(self, event: Event) -> Iterator[dict[str, Any]]:
        if isinstance(event, Failed):
            yield msgspec.to_builtins(failure(event.as_error().body(), self._request_id))
            return
        if not self._started:
            self._started = True
            beginning = AnthropicMessage(
                id=self._request_id, model=self._model, content=[], stop_reason=None, usage=usage_of(NOTHING_YET)
            )
            yield {"type": "message_start", "message": beginning}
        match event:
            case Chunk(text):
                yield from self._text(text)
            case CallPiece():
                yield from self._piece(event)
            case Done():
                yield from self._end(event)

    def _text(self, text: str) -> Iterator[dict[str, Any]]:
        if not text:
            return
        if self._open != "text":
            yield from self._begin({"type": "text", "text": ""})
        yield _delta(self._blocks - 1, {"type": "text_delta", "text": text})

    def _piece(self, piece: CallPiece) -> Iterator[dict[str, Any]]:
        if piece.index not in self._call_blocks:
            yield from self._begin({"type": "tool_use", "id": piece.id or "", "name": piece.name or "", "input": {}})
            self._call_blocks[piece.index] = self._blocks - 1
        if piece.arguments:
            delta = {"type": "input_json_delta", "partial_json": piece.arguments}
            yield _delta(self._call_blocks[piece.index], delta)

    def _end(self, done: Done) -> Iterator[dict[str, Any]]:
        yield from self._text(done.text or "")
        for index, call in enumerate(done.calls):
            yield from self._piece(CallPiece(index, call.arguments, call.id, call.name))
        yield from self._close()
        reason = stop_reason(done, has_calls=bool(self._call_blocks))
        delta = {"stop_reason": reason, "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": usage_of(done.usage)}
        yield {"type": "message_stop"}

    def _begin(self, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from self._close()
        yield {"type": "content_block_start", "index": self._blocks, "content_block": block}
        self._blocks += 1
        self._open = block["type"]

    def _close(self) -> Iterator[dict[str, Any]]:
        if self._open:
            self._open = None
            yield {"type": "content_block_stop", "index": self._blocks - 1}


def _delta(block: int, delta: dict[str, str]) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": block, "delta": delta}


def _sse(document: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (document["type"].encode(), event_data(document))
