"""Answers in the form of Anthropic's Messages API: content blocks, stop reasons and usage."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from api.formats.blocks import signed_apart
from api.formats.native.answers import json_bytes
from shared.chat import ToolCall
from shared.job import Done
from shared.money import Usage
from shared.thoughts import Thought, ThoughtPiece, in_order

StopReason = Literal["end_turn", "max_tokens", "tool_use", "refusal"]
STOP_REASONS: dict[str, StopReason] = {"length": "max_tokens", "content_filter": "refusal"}
"""Stop reasons other than `end_turn`. It is unknown which stop sequence was met, so that is `end_turn` as well."""
INVALID_ARGUMENTS = "INVALID_JSON"
"""Anthropic's own key for arguments that are no JSON object (platform.claude.com/docs, fine-grained tool streaming,
read 2026-11). An empty object instead would be wrong, and a tool might act on it.
"""
NO_ARGUMENTS = msgspec.Raw(b"{}")
RawObject = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]


class SaidBlock(msgspec.Struct, frozen=True, tag="text", tag_field="type"):
    """A block of text that the model wrote."""

    text: str
    """The text of the block."""


class CallBlock(msgspec.Struct, frozen=True, tag="tool_use", tag_field="type"):
    """A call of one of the caller's tools."""

    id: str
    """The id of the call; the `tool_result` repeats it."""
    name: str
    """The name of the tool, as it was offered."""
    input: RawObject
    """The arguments of the call; `{"INVALID_JSON": "…"}` if the model wrote no JSON object."""


class CacheCreation(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that were written to the vendor's cache, by the time for which it keeps them."""

    ephemeral_5m_input_tokens: int
    """Tokens that the cache keeps for some minutes."""
    ephemeral_1h_input_tokens: int
    """Tokens that the cache keeps for an hour or more."""


class ThoughtBlock(msgspec.Struct, frozen=True, tag="thinking", tag_field="type"):
    """A thought of the model, or a summary of it."""

    thinking: str
    """The text of the thought; empty if the thought is not shown."""
    signature: str
    """The signature by which the vendor recognises the thought; send it back unchanged."""


class RedactedBlock(msgspec.Struct, frozen=True, tag="redacted_thinking", tag_field="type"):
    """A thought that the vendor gives only encrypted."""

    data: str
    """The encrypted thought; send it back unchanged."""


AnswerBlock = SaidBlock | CallBlock | ThoughtBlock | RedactedBlock


class MessageUsage(msgspec.Struct, frozen=True, kw_only=True):
    """The billed tokens of the request."""

    input_tokens: int
    """Input tokens that were neither read from a cache nor written to one."""
    cache_creation: CacheCreation | None
    """The tokens written to a cache, by the time for which it keeps them; null in `message_start`, before the vendor
    has reported any.
    """
    cache_creation_input_tokens: int
    """Input tokens written to the vendor's cache."""
    cache_read_input_tokens: int
    """Input tokens read from the vendor's cache."""
    output_tokens: int
    """Output tokens, thinking among them."""


class MessageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `POST /v1/messages`."""

    id: str
    """The request's id, `req_…`, as in `x-request-id`."""
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    """The public name of the model that served the request."""
    content: list[AnswerBlock]
    """The blocks of the answer, in the order in which the model made them."""
    stop_reason: StopReason | None
    """The reason for which the model stopped: `end_turn` (also if a stop sequence was met), `max_tokens`, `tool_use` or
    `refusal`. Null in `message_start`.
    """
    stop_sequence: None = None
    """Always null: vendors do not say which stop sequence was met."""
    usage: MessageUsage
    """The billed tokens."""


def message(done: Done, request_id: str, model: str) -> bytes:
    """The whole answer as JSON."""
    said = in_order(done.text or "", done.calls, done.thoughts, done.call_places)
    answer = MessageAnswer(
        id=request_id,
        model=model,
        content=[_block(one) for one in signed_apart(said)],
        stop_reason=stop_reason(done, has_calls=bool(done.calls)),
        usage=usage_of(done.usage),
    )
    return json_bytes(answer)


def thought_block(thought: Thought | ThoughtPiece) -> ThoughtBlock | RedactedBlock:
    """The block of a whole thought, or of the beginning of one. A redacted thought always comes whole."""
    signature = thought.signature or ""
    return RedactedBlock(signature) if thought.redacted else ThoughtBlock(thought.text, signature)


def _block(one: str | ToolCall | Thought) -> AnswerBlock:
    match one:
        case str():
            return SaidBlock(one)
        case ToolCall(id, name, arguments):
            return CallBlock(id, name, tool_input(arguments))
        case Thought():
            return thought_block(one)


def tool_input(arguments: str) -> msgspec.Raw:
    """The arguments exactly as the model wrote them; an empty object if there are none."""
    if not arguments.strip():
        return NO_ARGUMENTS
    try:
        msgspec.json.decode(arguments, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return msgspec.Raw(json_bytes({INVALID_ARGUMENTS: arguments}))
    return msgspec.Raw(arguments.encode())


def stop_reason(done: Done, *, has_calls: bool) -> StopReason:
    """The stop reason. Vendors use different words for the end of an answer that calls a tool, so `has_calls`
    decides.
    """
    return STOP_REASONS.get(done.finish_reason, "tool_use" if has_calls else "end_turn")


def usage_of(usage: Usage) -> MessageUsage:
    """The billed tokens; never negative, whatever a vendor reports."""
    return MessageUsage(
        input_tokens=max(0, usage.uncached),
        cache_creation=CacheCreation(
            ephemeral_5m_input_tokens=max(0, usage.written - usage.written_long),
            ephemeral_1h_input_tokens=usage.written_long,
        ),
        cache_creation_input_tokens=usage.written,
        cache_read_input_tokens=usage.cached,
        output_tokens=usage.output,
    )
