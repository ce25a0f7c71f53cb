"""Messages as Anthropic's API gives them: content blocks, stop reasons and usage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from shared.chat import ToolCall
from shared.job import Done
from shared.money import Usage

StopReason = Literal["end_turn", "max_tokens", "tool_use", "refusal"]
STOP_REASONS: dict[str, StopReason] = {"length": "max_tokens", "content_filter": "refusal"}
"""Those that say more than that the model has finished. Which stop sequence it met is not known: that is `end_turn` too."""
INVALID_ARGUMENTS = "INVALID_JSON"
"""Anthropic's own key for arguments that are no JSON object (platform.claude.com/docs, fine-grained tool streaming, read
2026-11). An empty object would be a lie that a tool might act on.
"""


class TextContent(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """What the model said."""

    text: str


class ToolUseContent(msgspec.Struct, frozen=True, tag_field="type", tag="tool_use"):
    """What it asks for."""

    id: str
    name: str
    input: msgspec.Raw


class MessageUsage(msgspec.Struct, frozen=True):
    """Billed tokens: `input_tokens` are those that were not read from a cache."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


class AnthropicMessage(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, or, without a reason, the beginning of one; its `id` is the request's, `model` the public name."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[TextContent | ToolUseContent]
    stop_reason: StopReason | None
    stop_sequence: None = None
    usage: MessageUsage


def content_blocks(text: str | None, calls: Iterable[ToolCall]) -> list[TextContent | ToolUseContent]:
    """What the model said, then what it asks for."""
    said: list[TextContent | ToolUseContent] = [TextContent(text)] if text else []
    return said + [ToolUseContent(call.id, call.name, tool_input(call.arguments)) for call in calls]


def tool_input(arguments: str) -> msgspec.Raw:
    """The arguments exactly as the model wrote them; none at all are an empty object."""
    if not arguments.strip():
        return msgspec.Raw(b"{}")
    try:
        msgspec.json.decode(arguments, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return msgspec.Raw(msgspec.json.encode({INVALID_ARGUMENTS: arguments}))
    return msgspec.Raw(arguments.encode())


def stop_reason(done: Done, *, has_calls: bool) -> StopReason:
    """Vendors name it differently when a tool is asked for, so the calls themselves decide."""
    return STOP_REASONS.get(done.finish_reason, "tool_use" if has_calls else "end_turn")


def usage_of(usage: Usage) -> MessageUsage:
    """In Anthropic's counting."""
    return MessageUsage(max(0, usage.input - usage.cached), 0, usage.cached, usage.output)
