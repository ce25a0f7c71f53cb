"""The stream of a response: numbered events of OpenAI's Responses API.

The same events of a request always give the same numbers. So any front door can resume a broken stream by making it again
and leaving out what was sent before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from api.formats.blocks import Begun, Blocks, Closed, Grown, Signed, Step
from api.formats.responses.answers import (
    INCOMPLETE,
    Outcome,
    last_status,
    message_item,
    reasoning_item,
    response_object,
)
from api.formats.responses.calls import CallStatus, OutputCustomCall, OutputFunctionCall, call_item
from api.formats.responses.errors import failure_of
from api.formats.responses.objects import (
    OutputItem,
    OutputMessage,
    OutputReasoning,
    OutputText,
    Repeated,
    ResponseStatus,
    SummaryText,
)
from shared.answers import parts_of
from shared.chat import CallPiece, ToolCall
from shared.errors import Cancelled
from shared.job import AnswerEvent, AnswerPart, Chunk, Done, Failed
from shared.json_lines import json_line
from shared.thoughts import ThoughtPiece

END: dict[ResponseStatus, str] = {"completed": "response.completed", "incomplete": "response.incomplete"}
"""The last event, unless that is `response.failed`."""
PLACE = 9_007_199_254_740_991
"""A placeholder for the number in a template."""

PIECE_BYTES, COPIES = 60, 3
"""Bytes of a piece beside its text, and the number of copies of the text that are in memory at the end: in pieces, as a
whole, and in an event.
"""


class ResponseEvents:
    """Sends `response.created`, `response.in_progress`, the items one after the other, and then `response.completed`,
    `.incomplete` or `.failed` with the whole response. A response in the background, and one that is read again, begins
    at once with `response.queued`; a failure of such a response is an event, too.
    """

    content_type = "text/event-stream"
    keepalive: bytes | None = b": keep-alive\n\n"

    def __init__(
        self, repeated: Repeated, request_id: str, model: str, *, after: int | None = None, anew: bool = False
    ) -> None:
        """If the stream is read again, events up to number `after` are left out; -1 leaves out none. With `anew` the
        pieces differ from those that were sent before, so the numbers of the broken stream mean nothing: whole items
        are sent, whatever the reader has received.
        """
        self._repeated = repeated
        self._request_id = request_id
        self._model = model
        self._begins_at_once = repeated.background or after is not None
        self._after = -1 if after is None else after
        self._anew = anew
        self.held_bytes = 0
        self._number = 0
        """The number of the next event."""
        self._began = self._started = False
        self._blocks = Blocks(signs_calls=repeated.encrypted)
        self._output: list[OutputItem] = []
        """The items that are whole."""
        self._block: CallPiece | ThoughtPiece | None = None
        """The piece with which the open item began."""
        self._signature: str | None = None
        self._open = False
        self._said: list[str] = []
        """All pieces of the open item so far."""
        self._delta = b"", b""
        """The bytes before the number, and those between the number and the text, of an event with a piece of text."""

    def served_by(self, model: str) -> None:
        """Set the model that every later event with the response names."""
        self._model = model

    def opening(self) -> bytes | None:
        """The events that can be sent before the request runs."""
        return b"".join(self._begin()) if self._begins_at_once else None

    def render(self, sequence: int, event: AnswerEvent) -> bytes | Iterator[bytes]:  # noqa: ARG002 - one event is several here
        """The API's events for this event. At the end several events contain the whole answer, so they are made while
        they are written.
        """
        if type(event) is Chunk and self._may_just_grow and event.text:
            return self._grown(event.text)
        return self._events(event) if isinstance(event, Done | Failed) else b"".join(self._events(event))

    def clean_end(self, event: AnswerEvent) -> bool:  # noqa: ARG002 - `response.failed` is an end as good as any
        """Always true: after an error, too, the stream ends cleanly."""
        return True

    def _events(self, event: AnswerEvent) -> Iterator[bytes]:
        yield from self._begin()
        if not self._started:
            self._started = True
            yield self._lifecycle("response.in_progress", Outcome(status="in_progress"))
        match event:
            case Done():
                yield from self._end(event)
            case Failed():
                yield self._failed(event)
            case _:
                yield from self._told(event)

    def _told(self, part: AnswerPart) -> Iterator[bytes]:
        match part:
            case Chunk(text):
                yield from self._steps(self._blocks.said(text))
            case CallPiece():
                yield from self._steps(self._blocks.called(part))
            case ThoughtPiece(text=text):
                if text or self._repeated.encrypted:
                    yield from self._steps(self._blocks.thought(part))

    def _begin(self) -> Iterator[bytes]:
        if self._began:
            return
        self._began = True
        status: ResponseStatus = "queued" if self._repeated.background else "in_progress"
        yield self._lifecycle("response.created", Outcome(status=status))
        if self._repeated.background:
            yield self._lifecycle("response.queued", Outcome(status="queued"))

    def _end(self, done: Done) -> Iterator[bytes]:
        for part in parts_of(done):
            yield from self._told(part)
        *steps, last = [*self._blocks.end()] or [Begun(None), Closed()]
        yield from self._steps(steps)
        only_thought = all(isinstance(item, OutputReasoning) for item in self._output)
        if only_thought and isinstance(self._block, ThoughtPiece):  # an empty message follows
            yield from self._steps([last, Begun(None)])
            last = Closed()
        yield from self._steps([last], last_status(done))
        reason = INCOMPLETE.get(done.finish_reason)
        status: ResponseStatus = "incomplete" if reason else "completed"
        outcome = Outcome(
            status=status, output=self._output, reason=reason, usage=done.usage, served_tier=done.served_tier
        )
        yield self._last(END[status], outcome)

    def _failed(self, failed: Failed) -> bytes:
        body = failed.as_error().body()
        is_cancelled = body.code == Cancelled.code
        items = self._output
        if self._open and self._said:
            items = [*items, self._item("incomplete")]
        outcome = Outcome(
            status="cancelled" if is_cancelled else "failed",
            output=items,
            error=None if is_cancelled else failure_of(body),
            usage=failed.usage,
        )
        return self._last("response.failed", outcome)

    def _steps(self, steps: Iterable[Step], status: CallStatus = "completed") -> Iterator[bytes]:
        """The events of these steps; `status` is the status of an item that is closed now."""
        for step in steps:
            match step:
                case Begun(what):
                    self._block, self._open, self._said, self._signature = what, True, [], None
                    yield from self._item_begins()
                case Grown(text):
                    yield from self._summary_begins()
                    yield self._grown(text)
                case Signed(signature):
                    self._signature = signature
                    self.held_bytes += PIECE_BYTES + COPIES * len(signature)
                case Closed():
                    yield from self._item_ends(status)
                    self._open = False

    def _item_begins(self) -> Iterator[bytes]:
        item = self._item("in_progress")
        self._delta = b"", b""
        match item:
            case OutputMessage(id=identity):
                yield self._event("response.output_item.added", item=msgspec.structs.replace(item, content=[]))
                yield self._part("response.content_part.added", identity, part=OutputText(text=""))
                place = {"item_id": identity, "output_index": self._place, "content_index": 0}
                self._delta = self._template("response.output_text.delta", **place, delta="", logprobs=[])
            case OutputReasoning():
                yield self._event("response.output_item.added", item=item)
            case OutputFunctionCall(id=identity) if self._is_function:
                yield self._event("response.output_item.added", item=item)
                place = {"item_id": identity, "output_index": self._place}
                self._delta = self._template("response.function_call_arguments.delta", **place, delta="")
            case _:
                pass  # the form of the call depends on its complete arguments

    def _summary_begins(self) -> Iterator[bytes]:
        """Begin the summary with the first piece of its text, because some thoughts have no text to show."""
        if not isinstance(self._block, ThoughtPiece) or self._said:
            return
        identity = reasoning_item("", self._place, self._request_id, None).id
        yield self._of_item("response.reasoning_summary_part.added", identity, summary_index=0, part=SummaryText(""))
        place = {"item_id": identity, "output_index": self._place, "summary_index": 0}
        self._delta = self._template("response.reasoning_summary_text.delta", **place, delta="")

    def _item_ends(self, status: CallStatus) -> Iterator[bytes]:
        item = self._item(status)
        self._go_on_if_anew()
        match item:
            case OutputMessage(id=identity, content=[part]):
                yield self._part("response.output_text.done", identity, text=part.text, logprobs=[])
                yield self._part("response.content_part.done", identity, part=part)
            case OutputReasoning(id=identity, summary=[summary]):
                yield self._of_item(
                    "response.reasoning_summary_text.done", identity, summary_index=0, text=summary.text
                )
                yield self._of_item("response.reasoning_summary_part.done", identity, summary_index=0, part=summary)
            case OutputReasoning():
                pass
            case OutputFunctionCall(id=identity, arguments=arguments) if self._is_function:
                yield self._of_item("response.function_call_arguments.done", identity, arguments=arguments)
            case OutputCustomCall(id=identity, input=text):
                begun = msgspec.structs.replace(item, status="in_progress", input="")
                yield self._event("response.output_item.added", item=begun)
                yield self._of_item("response.custom_tool_call_input.delta", identity, delta=text)
                yield self._of_item("response.custom_tool_call_input.done", identity, input=text)
            case _:
                yield self._event(
                    "response.output_item.added", item=msgspec.structs.replace(item, status="in_progress")
                )
        yield self._event("response.output_item.done", item=item)
        self._output.append(item)

    @property
    def _may_just_grow(self) -> bool:
        """True if a text belongs to the message that is open."""
        return self._open and self._block is None and not self._blocks.calls_waiting

    @property
    def _place(self) -> int:
        """The place of the open item in the output."""
        return len(self._output)

    @property
    def _is_function(self) -> bool:
        """True if the open call is sent piece by piece."""
        call = self._block if isinstance(self._block, CallPiece) else None
        kind = self._repeated.kinds.get(call.name or "") if call else None
        return kind is None or kind.type == "function"

    def _item(self, status: CallStatus) -> OutputItem:
        """The open item."""
        said = "".join(self._said)
        if self._block is None:
            return message_item(said, self._place, self._request_id, status)
        if isinstance(self._block, ThoughtPiece):
            encrypted = self._signature if self._repeated.encrypted else None
            return reasoning_item(said, self._place, self._request_id, encrypted)
        call = ToolCall(self._block.id or "", self._block.name or "", said)
        return call_item(call, self._place, self._request_id, self._repeated.kinds, status)

    def _grown(self, text: str) -> bytes:
        """A piece of the open item. All pieces differ only in number and text."""
        self._said.append(text)
        self.held_bytes += PIECE_BYTES + COPIES * len(text)
        head, tail = self._delta
        if not head:
            return b""
        number = self._number
        self._number += 1
        return b"" if number <= self._after else head % number + json_line(text) + tail

    def _template(self, kind: str, **fields: object) -> tuple[bytes, bytes]:
        sample = _sse(kind, {"type": kind, "sequence_number": PLACE, **fields}).replace(b"%", b"%%")
        head, tail = sample.split(b'"delta":""')
        return head.replace(b"%d" % PLACE, b"%d") + b'"delta":', tail.replace(b"%%", b"%")

    def _part(self, kind: str, identity: str, **fields: object) -> bytes:
        return self._of_item(kind, identity, content_index=0, **fields)

    def _of_item(self, kind: str, identity: str, **fields: object) -> bytes:
        return self._event(kind, item_id=identity, **fields)

    def _event(self, kind: str, **fields: object) -> bytes:
        return self._numbered(kind, output_index=self._place, **fields)

    def _lifecycle(self, kind: str, outcome: Outcome) -> bytes:
        if self._number <= self._after:
            self._number += 1
            return b""
        return self._numbered(kind, response=response_object(self._repeated, self._request_id, self._model, outcome))

    def _last(self, kind: str, outcome: Outcome) -> bytes:
        """The last event. A reader that has read beyond the end of this stream has read pieces that are lost, so the
        end is sent again.
        """
        if self._number < self._after:
            self._number = self._after + 1
        self._go_on_if_anew()
        return self._lifecycle(kind, outcome)

    def _go_on_if_anew(self) -> None:
        """Send everything from now on, even if the reader has received it before, if the stream is made anew."""
        if self._anew and self._number <= self._after:
            self._number = self._after + 1

    def _numbered(self, kind: str, **fields: object) -> bytes:
        number = self._number
        self._number += 1
        return b"" if number <= self._after else _sse(kind, {"type": kind, "sequence_number": number, **fields})


def _sse(kind: str, document: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), json_line(document))
