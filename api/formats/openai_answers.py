"""Answers of OpenAI's chat completions, and what chunks of a stream share with them."""

from __future__ import annotations

from typing import Any

from api.formats.native_answers import json_bytes
from shared.chat import ToolCall
from shared.ids import created_at
from shared.job import Done
from shared.money import Usage

FINISH_REASONS = {"stop", "length", "tool_calls", "content_filter"}


def completion(done: Done, request_id: str, model: str) -> bytes:
    """`{"object": "chat.completion", …}`; its id is the request's."""
    message: dict[str, Any] = {"role": "assistant", "content": _content(done), "refusal": None}
    if done.calls:
        message["tool_calls"] = [call_json(call) for call in done.calls]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(done)}
    return json_bytes(
        {
            "id": request_id,
            "object": "chat.completion",
            "created": created_s(request_id),
            "model": model,
            "choices": [choice],
            "usage": usage_json(done.usage),
            "system_fingerprint": None,
        }
    )


def created_s(request_id: str) -> int:
    """Unix seconds, from the time in the id."""
    return int(created_at(request_id).timestamp())


def finish_reason(done: Done) -> str:
    """One of the four that clients know."""
    return done.finish_reason if done.finish_reason in FINISH_REASONS else "stop"


def call_json(call: ToolCall) -> dict[str, Any]:
    """A whole tool call."""
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def usage_json(usage: Usage) -> dict[str, Any]:
    """Billed tokens: cached ones are inside the prompt's, reasoning inside the completion's."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _content(done: Done) -> str | None:
    return done.text or (None if done.calls else "")
