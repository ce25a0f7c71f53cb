"""The SSE events of one chat completion, and the fields that the JSON answer has too.

Source: OpenAI's API reference (2025).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from deploy.simulator.answer import CallText
from deploy.simulator.exchange import Told, fault_refusal

if TYPE_CHECKING:
    from deploy.simulator.openai.chat import OpenAIChat

_FINISH = {"stop": "stop", "stop_sequence": "stop", "length": "length", "tool_calls": "tool_calls"}


class ChatWire:
    """The SSE events of one answer; the part that is the same in every event is rendered once."""

    def __init__(self, dialect: OpenAIChat, told: Told) -> None:
        self.told = told
        self._dialect = dialect
        self._head = msgspec.json.encode(dialect.head(told, "chat.completion.chunk"))[:-1]
        asked = told.question.include_usage
        self._start = b"data: " + self._head + b',"choices":[{"index":0,"delta":{'
        self._end = b'},"logprobs":null,"finish_reason":null}]' + (b',"usage":null' if asked else b"") + b"}\n\n"
        self._token_start = self._start + b'"content":'
        self._late_names: dict[int, str] = {}
        """Names of calls that have not ended."""

    def opening(self) -> bytes:
        """The role; the content is null if the answer consists of tool calls only."""
        content = b"null" if self.told.reply.calls and not self.told.reply.text else b'""'
        return self.delta(b'"role":"assistant","content":' + content + b',"refusal":null')

    def delta(self, fields: bytes) -> bytes:
        """A chunk with these fields in its delta."""
        return self._start + fields + self._end

    def thought(self, text: bytes) -> bytes:
        """Nothing: OpenAI hides reasoning."""
        del text
        return b""

    def token(self, text: bytes) -> bytes:
        """A content delta."""
        return self._token_start + text + self._end

    def call(self, piece: CallText, text: bytes) -> bytes:
        """A delta of a tool call; the first one has its id and name, or the last one the name."""
        begins, name = bool(piece.name), self._name_in(piece)
        said = b'"name":%s,' % msgspec.json.encode(name) if name else b""
        id_and_type = {"id": call_id(self.told, piece.index), "type": "function"} if begins else {}
        head = msgspec.json.encode({"index": piece.index, **id_and_type})[:-1]
        return self.delta(b'"tool_calls":[' + head + b',"function":{' + said + b'"arguments":' + text + b"}}]")

    def _name_in(self, piece: CallText) -> str:
        if not self.told.script.late_names:
            return piece.name
        if piece.name:
            self._late_names[piece.index] = piece.name
        return self._late_names.pop(piece.index) if piece.ends else ""

    def finish(self) -> bytes:
        """The finish reason in a chunk of its own."""
        reason = msgspec.json.encode(finish_reason(self.told))
        return self._start + self._end.replace(b'"finish_reason":null', b'"finish_reason":' + reason)

    def done(self) -> bytes:
        """The usage in a chunk without choices, if asked for, and `[DONE]`."""
        if self.told.usage is None or not self.told.question.include_usage:
            return b"data: [DONE]\n\n"
        return b"data: " + self._head + b',"choices":[],"usage":' + self.counts() + b"}\n\ndata: [DONE]\n\n"

    def counts(self) -> bytes:
        """Render the usage object, `null` where it is missing."""
        return msgspec.json.encode(self.told.usage and self._dialect.usage(self.told.usage))

    def error(self) -> bytes:
        """An error object in an event."""
        refusal = fault_refusal(self._dialect, self.told.script)
        return b"data: " + self._dialect.complaint(refusal) + b"\n\n"

    def comment(self) -> bytes:
        """A keep-alive comment."""
        return b": keep-alive\n\n"

    def garbage(self) -> bytes:
        """An event whose JSON stops in the middle."""
        return b"data: " + self._head + b',"choices":[{"ind\n\n'


def spoken(told: Told) -> dict[str, Any]:
    """The assistant's message: text, tool calls, or both."""
    calls = [
        {"id": call_id(told, i), "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for i, call in enumerate(told.reply.calls)
    ]
    content = told.reply.text or ("" if not calls else None)
    return {"role": "assistant", "content": content} | ({"tool_calls": calls} if calls else {})


def call_id(told: Told, index: int) -> str:
    """Name a tool call."""
    return f"call_{told.ordinal:020d}{index:04d}"


def finish_reason(told: Told) -> str:
    """The scripted finish reason, or OpenAI's word for the true one: `stop` if the request named the tool."""
    ending = "stop" if told.question.asked.only and told.reply.ending == "tool_calls" else told.reply.ending
    return told.script.finish or _FINISH[ending]
