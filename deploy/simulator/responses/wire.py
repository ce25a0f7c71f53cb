"""The server-sent events of one response, numbered, in the documented order.

Source: OpenAI's API reference, "Streaming events", and openai-python 3.54 (read 2026-11).
"""

from __future__ import annotations

from typing import Any

import msgspec

from deploy.simulator.answer import CallText
from deploy.simulator.exchange import Refusal, Told
from deploy.simulator.responses.answers import Items, Json, response

EMPTY = b'""'
SERVERS_FAULT = 500
TEXT_DELTA = "response.output_text.delta"


class ResponsesWire:
    """The events of one answer. An item is opened by its first piece, and closed when something else follows. `refusal`
    is the error that a script may ask for.
    """

    def __init__(self, told: Told, refusal: Refusal) -> None:
        self._items = Items(told)
        self._refusal = refusal
        self._number = 0
        """The number of the next event."""
        self._place = -1
        self._open: list[tuple[str, Json]] = []
        """The events that will close the open item."""
        self._speaks = False
        self._after_number = b""
        """The part of a text delta between its number and the text."""

    def opening(self) -> bytes:
        """Say that the response has begun, and that the model thinks."""
        begun = response(self._items, begun=True)
        said = self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)
        return said + (self._open_reasoning() if self._items.thinks else b"")

    def thought(self, text: bytes) -> bytes:
        """A piece of the summary; nothing if none is asked for."""
        if not (self._items.thinks and self._items.body.summarises):
            return b""
        where = self._where(self._items.reasoning(), summary_index=0)
        return self._event("response.reasoning_summary_text.delta", delta=msgspec.Raw(text), **where)

    def token(self, text: bytes) -> bytes:
        """A delta of the message."""
        opened = b"" if self._speaks else self._open_message()
        head = f'event: {TEXT_DELTA}\ndata: {{"type":"{TEXT_DELTA}","sequence_number":{self._number},'
        self._number += 1
        return opened + head.encode() + self._after_number + text + b',"logprobs":[]}\n\n'

    def call(self, piece: CallText, text: bytes) -> bytes:
        """Open a call where it begins, and say a delta of its arguments."""
        opened = self._open_call(piece.index) if piece.name else b""
        if text == EMPTY:
            return opened
        where = self._where(self._items.call(piece.index))
        return opened + self._event("response.function_call_arguments.delta", delta=msgspec.Raw(text), **where)

    def finish(self) -> bytes:
        """Close what is open, and say the whole response with its status and tokens."""
        silent = self._items.speaks and not self._speaks and not self._items.calls
        said = self._open_message() if silent else b""
        whole = response(self._items)
        return said + self._close() + self._event(f"response.{whole['status']}", response=whole)

    def done(self) -> bytes:
        """Nothing: the response's own end is the last event."""
        return b""

    def error(self) -> bytes:
        """Say that the response failed: as its end if the server is to blame, otherwise as an error."""
        code, message = self._refusal.code, self._refusal.message
        if self._refusal.status < SERVERS_FAULT:
            return self._event("error", code=code, message=message, param=self._refusal.param)
        why = {"code": code or "server_error", "message": message}
        failed = response(self._items, begun=True) | {"status": "failed", "error": why}
        return self._event("response.failed", response=failed)

    def comment(self) -> bytes:
        """Say that the connection is alive; that is no event of the response."""
        return b'event: keepalive\ndata: {"type":"keepalive"}\n\n'

    def garbage(self) -> bytes:
        """An event whose JSON stops in the middle."""
        return f'event: {TEXT_DELTA}\ndata: {{"type":"{TEXT_DELTA}","del\n\n'.encode()

    def _open_reasoning(self) -> bytes:
        items = self._items
        whole, begun = items.reasoning(), items.reasoning(begun=True)
        said = self._opened(begun)
        self._open = [("response.output_item.done", {"output_index": self._place, "item": whole})]
        if not whole["summary"]:
            return said
        where, part = self._where(whole, summary_index=0), whole["summary"][0]
        self._open = [
            ("response.reasoning_summary_text.done", {**where, "text": part["text"]}),
            ("response.reasoning_summary_part.done", {**where, "part": part}),
            *self._open,
        ]
        return said + self._event("response.reasoning_summary_part.added", part={**part, "text": ""}, **where)

    def _open_message(self) -> bytes:
        items = self._items
        whole = items.message()
        said = self._opened(items.message(begun=True))
        self._speaks = True
        where, (part,) = self._where(whole, content_index=0), whole["content"]
        self._after_number = msgspec.json.encode(where)[1:-1] + b',"delta":'
        self._open = [
            ("response.output_text.done", {**where, "text": part["text"], "logprobs": []}),
            ("response.content_part.done", {**where, "part": part}),
            ("response.output_item.done", {"output_index": self._place, "item": whole}),
        ]
        return said + self._event("response.content_part.added", part=items.text(""), **where)

    def _open_call(self, index: int) -> bytes:
        whole = self._items.call(index)
        said = self._opened(self._items.call(index, begun=True))
        where = self._where(whole)
        self._open = [
            (
                "response.function_call_arguments.done",
                {**where, "name": whole["name"], "arguments": whole["arguments"]},
            ),
            ("response.output_item.done", {"output_index": self._place, "item": whole}),
        ]
        return said

    def _opened(self, begun: Json) -> bytes:
        """Close what is open, and say that an item has begun at the next place."""
        closed = self._close()
        self._place += 1
        return closed + self._event("response.output_item.added", output_index=self._place, item=begun)

    def _close(self) -> bytes:
        events, self._open = self._open, []
        return b"".join(self._event(kind, **fields) for kind, fields in events)

    def _where(self, item: Json, **index: int) -> Json:
        """The place of the item that an event is about."""
        return {"item_id": item["id"], "output_index": self._place, **index}

    def _event(self, kind: str, **fields: Any) -> bytes:  # noqa: ANN401 - any JSON
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)
