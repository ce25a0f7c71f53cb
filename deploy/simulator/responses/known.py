"""The fields that `POST /v1/responses` knows, and those that it requires.

Source: openai-python 3.54, and OpenAI's errors as users report them, such as "Unknown parameter: 'seed'." (read
2026-11).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deploy.simulator.exchange import Refusal
from deploy.simulator.openai.values import INVALID

BODY = {
    *("access_programs", "background", "background_options", "context_management", "conversation", "image"),
    *("include", "input", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model"),
    *("moderation", "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key"),
    *("prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier"),
    *("store", "stream", "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs"),
    *("top_p", "truncation", "user"),
}
ITEMS = {
    "message": {"type", "id", "role", "content", "status", "phase"},
    "function_call": {"type", "id", "call_id", "name", "arguments", "status", "namespace", "caller", "async"},
    "function_call_output": {"type", "id", "call_id", "output", "status", "name", "namespace", "caller"},
    "reasoning": {"type", "id", "summary", "content", "encrypted_content", "status"},
}
"""The types of items that the simulator knows, with their fields."""
FUNCTION = {
    "type",
    "name",
    "description",
    "parameters",
    "strict",
    "async",
    "allowed_callers",
    "defer_loading",
    "output_schema",
}
PART = {
    "type",
    "text",
    "refusal",
    "annotations",
    "logprobs",
    "image_url",
    "file_id",
    "detail",
    "prompt_cache_breakpoint",
}
REASONING = {"context", "effort", "generate_summary", "mode", "summary"}


def check_known(body: dict[str, Any]) -> None:
    """Raise `Refusal` for the first field that is missing or unknown."""
    for where in _missing(body):
        raise Refusal(400, "missing_required_parameter", f"Missing required parameter: '{where}'.", INVALID, where)
    for where in _unknown(body):
        raise Refusal(400, "unknown_parameter", f"Unknown parameter: '{where}'.", INVALID, where)


def _unknown(body: dict[str, Any]) -> Iterator[str]:
    yield from (name for name in body if name not in BODY)
    for i, item in enumerate(_objects(body.get("input"))):
        known = ITEMS.get(item.get("type", "message"))
        yield from (f"input[{i}].{name}" for name in item if known is not None and name not in known)
        for field in ("content", "output", "summary"):
            for j, part in enumerate(_objects(item.get(field))):
                known_of_part = PART - {"prompt_cache_breakpoint"} if item.get("role") == "assistant" else PART
                yield from (f"input[{i}].{field}[{j}].{name}" for name in part if name not in known_of_part)
    for i, tool in enumerate(_functions(body)):
        yield from (f"tools[{i}].{name}" for name in tool if name not in FUNCTION)
    reasoning = body.get("reasoning")
    yield from (
        f"reasoning.{name}" for name in (reasoning if isinstance(reasoning, dict) else ()) if name not in REASONING
    )


def _missing(body: dict[str, Any]) -> Iterator[str]:
    """The required fields that are missing in calls or reasoning. A function in the form of chat completions has no
    name here.
    """
    wanted = {
        "function_call": ("call_id", "name", "arguments"),
        "function_call_output": ("call_id", "output"),
        "reasoning": ("summary",),
    }
    for i, item in enumerate(_objects(body.get("input"))):
        yield from (f"input[{i}].{name}" for name in wanted.get(item.get("type", ""), ()) if item.get(name) is None)
    for i, tool in enumerate(_functions(body)):
        yield from (f"tools[{i}].{name}" for name in ("name", "parameters") if name not in tool)


def _functions(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The functions among the tools; other tools are refused elsewhere."""
    return [tool for tool in _objects(body.get("tools")) if tool.get("type") == "function"]


def _objects(value: object) -> list[dict[str, Any]]:
    """The value if it is a list of objects; other values are refused later for their type."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
