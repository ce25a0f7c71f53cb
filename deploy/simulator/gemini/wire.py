"""The chunks of a Gemini answer, framed as SSE or as the elements of one JSON array.

Source: the Gemini API reference (v1beta).
"""

from __future__ import annotations

from typing import Any

import msgspec

from deploy.simulator import answer
from deploy.simulator.answer import CallText, Usage
from deploy.simulator.exchange import Told
from deploy.simulator.gemini.models import MODELS
from deploy.simulator.gemini.signatures import signature_of
from deploy.simulator.tools import read_arguments

_FINISH = {"stop": "STOP", "stop_sequence": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
_LINE_ENDS = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"})


class GeminiWire:
    """The chunks of one answer; each has the usage of the answer so far."""

    def __init__(self, told: Told, error: bytes, *, sse: bool) -> None:
        self._error = error
        self._sse = sse
        self._told = told
        self._sent = 0
        self._chunks = 0
        self._tail = msgspec.json.encode(tail_json(told))[1:]

    def opening(self) -> bytes:
        """Nothing, or the event that says that the prompt was blocked."""
        blocked = self._told.script.fault == "blocked"
        return self._chunk(msgspec.json.encode(blocked_json(self._told))) if blocked else b""

    def thought(self, text: bytes) -> bytes:
        """A part that is a thought; those are hidden unless asked for."""
        return self._candidate(b'{"thought":true,"text":' + text + b"}", b"") if shows_thoughts(self._told) else b""

    def token(self, text: bytes) -> bytes:
        """A text part."""
        self._sent += 1
        return self._candidate(b'{"text":' + text + b"}", b"")

    def call(self, piece: CallText, text: bytes) -> bytes:
        """A call as a whole, as soon as it is whole: Gemini streams no arguments."""
        del text
        self._sent += 1
        if not piece.ends:
            return b""
        return self._candidate(msgspec.json.encode(call_json(self._told, piece.index)), b"")

    def finish(self) -> bytes:
        """The finish reason with an empty text. A model that thinks signs that text if it called nothing."""
        if self._told.script.fault == "blocked":
            return b""
        last = msgspec.json.encode({"text": "", **proof_of_text(self._told)})
        return self._candidate(last, b',"finishReason":' + msgspec.json.encode(finish_reason(self._told)))

    def done(self) -> bytes:
        """End the array; SSE has no last marker."""
        return b"" if self._sse else b"]"

    def error(self) -> bytes:
        """An error object in place of a chunk."""
        return self._chunk(self._error)

    def comment(self) -> bytes:
        """A blank line: google-genai 3.4 takes an SSE comment for broken JSON, and Google sends none."""
        return b"\r\n"

    def garbage(self) -> bytes:
        """A chunk whose JSON stops in the middle."""
        return self._chunk(b'{"candidates":[{"conte')

    def _candidate(self, part: bytes, reason: bytes) -> bytes:
        part = part.decode().translate(_LINE_ENDS).encode()  # Google escapes JavaScript's line ends
        start = b'{"candidates":[{"content":{"parts":[' + part + b'],"role":"model"}'
        return self._chunk(start + reason + b',"index":0}],' + self._usage() + self._tail)

    def _usage(self) -> bytes:
        usage, reply = self._told.usage, self._told.reply
        if usage is None:
            return b""
        if not self._told.script.usage:
            usage = Usage(usage.prompt, usage.cached, self._sent + reply.reasoning, reply.reasoning)
        return b'"usageMetadata":' + msgspec.json.encode(usage_json(usage) | tier_json(self._told)) + b","

    def _chunk(self, payload: bytes) -> bytes:
        self._chunks += 1
        if self._sse:
            return b"data: " + payload + b"\r\n\r\n"
        return (b"[" if self._chunks == 1 else b",\r\n") + payload


def tier_json(told: Told) -> dict[str, str]:
    """The service tier as the usage says it, where one was asked for (github.com/vercel/ai/pull/15488)."""
    served = "standard" if told.tier == "default" else told.tier
    return {"serviceTier": served} if told.question.tier else {}


def usage_json(usage: Usage) -> dict[str, Any]:
    """The usage object: tokens of thoughts are not part of the candidates' tokens, cached tokens are part of the
    prompt's.
    """
    counts = {
        "promptTokenCount": usage.prompt,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "totalTokenCount": usage.total,
    }
    cached = {"cachedContentTokenCount": usage.cached} if usage.cached else {}
    thoughts = {"thoughtsTokenCount": usage.reasoning} if usage.reasoning else {}
    return {**counts, **cached, **thoughts}


def shows_thoughts(told: Told) -> bool:
    """True if the answer has parts that are thoughts: they were asked for, and there are some."""
    config = told.question.body.generation_config.thinking_config
    return config is not None and config.includes_thoughts and told.question.thinks and told.reply.reasoning > 0


def thoughts_json(told: Told) -> list[dict[str, Any]]:
    """The thoughts of a JSON answer as parts."""
    return [{"thought": True, "text": "".join(answer.thoughts(told.reply.reasoning))}] if shows_thoughts(told) else []


def proof_of_text(told: Told) -> dict[str, str]:
    """The signature of an answer's last text: from Gemini 3 on, if no call has one."""
    model = MODELS.get(told.question.model)
    signed = model is not None and model.is_new and told.question.thinks and not told.reply.calls
    return {"thoughtSignature": signature_of(model)} if model and signed else {}


def call_json(told: Told, place: int) -> dict[str, Any]:
    """The part with the call at that place. Models up to 2.5 give it no id; newer ones sign the first call, too."""
    call = told.reply.calls[place]
    said = {"name": call.name, "args": read_arguments(call.arguments)}
    model = MODELS.get(told.question.model)
    if model is None or not model.is_new:
        return {"functionCall": said}
    signature = {} if place else {"thoughtSignature": signature_of(model)}
    return {"functionCall": {"id": f"sim{told.ordinal}-{place}", **said}, **signature}


def finish_reason(told: Told) -> str:
    """The scripted finish reason, else Gemini's word for the true one."""
    return told.script.finish or _FINISH[told.reply.ending]


def tail_json(told: Told) -> dict[str, str]:
    """The fields that every chunk and every answer end with."""
    return {"modelVersion": told.question.model, "responseId": f"sim-{told.ordinal}"}


def blocked_json(told: Told) -> dict[str, Any]:
    """The answer to a prompt that is blocked: no candidates."""
    usage = {"promptTokenCount": told.reply.prompt_tokens, "totalTokenCount": told.reply.prompt_tokens}
    return {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage, **tail_json(told)}
