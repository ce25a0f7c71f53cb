"""The event-stream frames of one ConverseStream answer, and the fields that the JSON answer has too.

Source: the Bedrock runtime API reference.
"""

from __future__ import annotations

from typing import Any

import msgspec

from deploy.simulator.answer import CallText, Usage
from deploy.simulator.bedrock import eventstream, rules
from deploy.simulator.bedrock.thoughts import content_json, shown
from deploy.simulator.exchange import Refusal, Told

_STOP_REASONS = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_calls": "tool_use",
}


class ConverseWire:
    """The frames of one answer. `p` is padding that hides the length of a token from observers of the connection."""

    def __init__(self, told: Told, refusal: Refusal) -> None:
        self._refusal = refusal
        self._told = told
        self._spoke = bool(told.reply.text) or not told.reply.calls
        self._first = int(shows_thoughts(told))
        """Index of the block of the text, or of the first call, after the thoughts."""
        self._shows_text = bool(self._first and shown(told, rules.find_model(told.question.model)))
        self._open: int | None = 0 if self._spoke or self._first else None

    def opening(self) -> bytes:
        """The role."""
        return eventstream.event("messageStart", b'{"p":"abcdefghij","role":"assistant"}')

    def thought(self, text: bytes) -> bytes:
        """A delta of a block of its own; a model that does not think, or hides it, says nothing."""
        if not self._shows_text:
            return b""
        return eventstream.event(
            "contentBlockDelta",
            b'{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":' + text + b'}},"p":"abcdefgh"}',
        )

    def token(self, text: bytes) -> bytes:
        """A text delta."""
        said = b"" if self._open in {None, self._first} else self._stop()
        self._open = self._first
        payload = b'{"contentBlockIndex":%d,"delta":{"text":' % self._first + text + b'},"p":"abcdefghijklmnop"}'
        return said + eventstream.event("contentBlockDelta", payload)

    def call(self, piece: CallText, text: bytes) -> bytes:
        """A piece of a tool's block; only such a block has an event that begins it."""
        block = piece.index + self._spoke + self._first
        said = b""
        if piece.name:
            use = {"toolUseId": tool_use_id(self._told, piece.index), "name": piece.name}
            start = msgspec.json.encode({"contentBlockIndex": block, "p": "abcd", "start": {"toolUse": use}})
            said = self._stop() + eventstream.event("contentBlockStart", start)
            self._open = block
        if piece.text:
            delta = b'{"contentBlockIndex":%d,"delta":{"toolUse":{"input":' % block + text + b'}},"p":"abcdefghijk"}'
            said += eventstream.event("contentBlockDelta", delta)
        return said + (self._stop() if piece.ends else b"")

    def finish(self) -> bytes:
        """The end of the block and the stop reason."""
        stop = msgspec.json.encode({"p": "abc", "stopReason": stop_reason(self._told)})
        return self._stop() + eventstream.event("messageStop", stop)

    def done(self) -> bytes:
        """The usage; it comes after `messageStop`."""
        usage = {"usage": usage_json(self._told.usage)} if self._told.usage else {}
        return eventstream.event("metadata", msgspec.json.encode({"metrics": {"latencyMs": 1}, "p": "abcd", **usage}))

    def error(self) -> bytes:
        """An exception frame."""
        return eventstream.exception(rules.exception_kind(self._refusal), rules.complaint(self._refusal))

    def comment(self) -> bytes:
        """An event of an unknown type, which clients skip."""
        return eventstream.event("keepAlive", b"{}")

    def garbage(self) -> bytes:
        """A frame whose checksum does not fit."""
        return eventstream.corrupted(self.opening())

    def _proof(self) -> bytes:
        """The data of the block that ends which the model wants back: the signature of the text, or encrypted data."""
        content = content_json(self._told, rules.find_model(self._told.question.model))
        said = content.get("reasoningText", content)
        delta = {name: value for name, value in said.items() if name != "text"}
        payload = {"contentBlockIndex": 0, "delta": {"reasoningContent": delta}, "p": "abcd"}
        return eventstream.event("contentBlockDelta", msgspec.json.encode(payload)) if delta else b""

    def _stop(self) -> bytes:
        block, self._open = self._open, None
        if block is None:
            return b""
        proof = self._proof() if self._first and block == 0 else b""
        return proof + eventstream.event("contentBlockStop", b'{"contentBlockIndex":%d,"p":"ab"}' % block)


def shows_thoughts(told: Told) -> bool:
    """True if the answer has a block of thoughts."""
    return told.question.thinks and told.reply.reasoning > 0


def tool_use_id(told: Told, index: int) -> str:
    """Name a tool call."""
    return f"tooluse_{told.ordinal:018d}{index:04d}"


def usage_json(usage: Usage) -> dict[str, Any]:
    """The usage object. Cached and written tokens are not part of `inputTokens`. `cacheDetails` says how long written
    tokens are kept, longest first.
    """
    beside = usage.cached + usage.written
    counts = {"inputTokens": usage.prompt - beside, "outputTokens": usage.output, "totalTokens": usage.total}
    cached = {"cacheReadInputTokens": usage.cached} if usage.cached else {}
    by_ttl = {"1h": usage.written_long, "5m": usage.written - usage.written_long}
    details = [{"ttl": ttl, "inputTokens": tokens} for ttl, tokens in by_ttl.items() if tokens]
    written = {"cacheWriteInputTokens": usage.written, "cacheDetails": details} if usage.written else {}
    return {**counts, **cached, **written}


def stop_reason(told: Told) -> str:
    """The scripted stop reason, otherwise Bedrock's word for the true one."""
    if told.script.fault == "blocked":
        return "guardrail_intervened"
    return told.script.finish or _STOP_REASONS[told.reply.ending]
