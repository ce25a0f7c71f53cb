"""Messages as Anthropic's API gives them: content blocks, stop reasons and usage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from shared.chat import ToolCall
from shared.job import Done
from shared.money import Usage

STOP_REASONS = {"length": "max_tokens", "content_filter": "refusal"}
"""Those that say more than that the model has finished. Which stop sequence it met is not known: that is `end_turn` too."""
INVALID_ARGUMENTS = "INVALID_JSON"
"""Anthropic's own key for arguments that are no JSON object (platform.claude.com/docs, fine-grained tool streaming, read
2026-11). An empty object would be a lie that a tool might act on.
"""


def message(
    request_id: str, model: str, content: list[dict[str, Any]], reason: str | None, usage: Usage
) -> dict[str, Any]:
    """A whole message, or, without a reason, the beginning of one."""
    return {
        "id": request_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage_json(usage),
    }


def content_blocks(text: str | None, calls: Iterable[ToolCall]) -> list[dict[str, Any]]:
    """What the model said, then what it asks for."""
    said = [{"type": "text", "text": text}] if text else []
    return said + [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": tool_input(call.arguments)} for call in calls
    ]


def tool_input(arguments: str) -> msgspec.Raw | dict[str, str]:
    """The arguments exactly as the model wrote them; none at all are an empty object."""
    if not arguments.strip():
        return {}
    try:
        msgspec.json.decode(arguments, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return {INVALID_ARGUMENTS: arguments}
    return msgspec.Raw(arguments.encode())


def stop_reason(done: Done, *, has_calls: bool) -> str:
    """Vendors name it differently when a tool is asked for, so the calls themselves decide."""
    return STOP_REASONS.get(done.finish_reason, "tool_use" if has_calls else "end_turn")


def usage_json(usage: Usage) -> dict[str, int]:
    """Billed tokens: here `input_tokens` are those that were not read from a cache."""
    return {
        "input_tokens": max(0, usage.input - usage.cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
    }
