"""The server events of one Realtime turn, GA names and order; one event is one line of JSON.

Source: OpenAI's Realtime API reference (GA, 2025).
"""

from __future__ import annotations

from typing import Any

import msgspec

from deploy.simulator.answer import CallText, Usage, usage_of
from deploy.simulator.exchange import Refusal, Told

_STATUS = {"stop": "completed", "stop_sequence": "completed", "length": "incomplete"}


class RealtimeWire:
    """The events of one response: created, item, part and deltas, then the ends of part, item and response;
    `response.done` has the usage.
    """

    def __init__(self, told: Told, refusal: Refusal, *, audio: bool, limit: int | str) -> None:
        self.finished = False
        self._told = told
        self._refusal = refusal
        self._limit = limit
        self._modality = "audio" if audio else "text"
        self._channel = "output_audio_transcript" if audio else "output_text"
        self._ids = {"response_id": f"resp_{told.ordinal:024d}", "item_id": f"item_{told.ordinal:024d}"}
        self._place = {**self._ids, "output_index": 0, "content_index": 0}
        delta = event(f"response.{self._channel}.delta", **self._place, delta="")
        self._delta_start = delta.removesuffix(b'""}\n')

    def opening(self) -> bytes:
        """Say that the response, its item and its part begin."""
        return (
            event("response.created", response=self._response("in_progress"))
            + event("rate_limits.updated", rate_limits=[])
            + event("response.output_item.added", **self._item_place(), item=self._item("in_progress", ""))
            + event("response.content_part.added", **self._place, part=self._part(""))
        )

    def thought(self, text: bytes) -> bytes:
        """Nothing: these models do not reason."""
        del text
        return b""

    def token(self, text: bytes) -> bytes:
        """A delta."""
        return self._delta_start + text + b"}\n"

    def call(self, piece: CallText, text: bytes) -> bytes:
        """Nothing: no request can offer tools here."""
        del piece, text
        return b""

    def finish(self) -> bytes:
        """Say that the part and the item end."""
        text = self._told.reply.text
        key = "transcript" if self._modality == "audio" else "text"
        status = "completed" if self._told.reply.ending == "stop" else "incomplete"
        return (
            event(f"response.{self._channel}.done", **self._place, **{key: text})
            + event("response.content_part.done", **self._place, part=self._part(text))
            + event("response.output_item.done", **self._item_place(), item=self._item(status, text))
        )

    def done(self) -> bytes:
        """Say that the response ended, with its usage."""
        script, reply = self._told.script, self._told.reply
        status, details = _STATUS[reply.ending], None
        if script.finish:
            status, details = "incomplete", {"type": "incomplete", "reason": script.finish}
        elif status == "incomplete":
            details = {"type": "incomplete", "reason": "max_output_tokens"}
        return self._done(status, details, self._told.usage, reply.text)

    def cancelled(self, tokens_sent: int) -> bytes:
        """Say that the client cancelled the response after so many tokens."""
        pieces = self._told.reply.pieces[:tokens_sent]
        sent = msgspec.structs.replace(self._told.reply, pieces=pieces)
        details = {"type": "cancelled", "reason": "client_cancelled"}
        return self._done("cancelled", details, usage_of(sent, self._told.script), sent.text)

    def error(self) -> bytes:
        """An error, and that it made the response fail."""
        refusal = self._refusal
        details = {
            "type": "failed",
            "error": {"type": refusal.kind, "code": refusal.code, "message": refusal.message},
        }
        return error_event(refusal) + self._done("failed", details, None, "")

    def comment(self) -> bytes:
        """An event that means nothing to a text client."""
        return event("rate_limits.updated", rate_limits=[])

    def garbage(self) -> bytes:
        """An event whose JSON stops in the middle."""
        return b'{"type":"response.output_te\n'

    def _done(self, status: str, details: dict[str, Any] | None, usage: Usage | None, text: str) -> bytes:
        self.finished = True
        output = [self._item("completed" if status == "completed" else "incomplete", text)]
        extra = {"output": output, "status_details": details, "usage": usage and _usage_json(usage)}
        return event("response.done", response={**self._response(status), **extra})

    def _response(self, status: str) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self._ids["response_id"],
            "status": status,
            "status_details": None,
            "output": [],
            "conversation_id": f"conv_{self._told.ordinal:024d}",
            "output_modalities": [self._modality],
            "max_output_tokens": self._limit,
            "usage": None,
            "metadata": None,
        }

    def _item(self, status: str, text: str) -> dict[str, Any]:
        content = [{**self._part(text), "type": f"output_{self._modality}"}] if text else []
        item = {"id": self._ids["item_id"], "object": "realtime.item", "type": "message", "status": status}
        return {**item, "role": "assistant", "content": content}

    def _part(self, text: str) -> dict[str, str]:
        return {"type": self._modality, "transcript" if self._modality == "audio" else "text": text}

    def _item_place(self) -> dict[str, Any]:
        return {"response_id": self._ids["response_id"], "output_index": 0}


def event(kind: str, **fields: object) -> bytes:
    """Render one event as a line."""
    return msgspec.json.encode({"type": kind, "event_id": "event_simulated", **fields}) + b"\n"


def error_event(refusal: Refusal) -> bytes:
    """Render an `error` event."""
    error = {
        "type": refusal.kind,
        "code": refusal.code,
        "message": refusal.message,
        "param": refusal.param,
        "event_id": None,
    }
    return event("error", error=error)


def _usage_json(usage: Usage) -> dict[str, Any]:
    return {
        "total_tokens": usage.total,
        "input_tokens": usage.prompt,
        "output_tokens": usage.output,
        "input_token_details": {
            "text_tokens": usage.prompt,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": usage.cached,
            "cached_tokens_details": {"text_tokens": usage.cached, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": usage.output, "audio_tokens": 0},
    }
