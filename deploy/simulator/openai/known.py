"""The fields that OpenAI's chat completions know; DeepSeek ignores unknown ones.

Sources: OpenAI's API reference (2025-2026), and its errors as users report them: "Unrecognized request argument
supplied: …" for the body, "Unknown parameter: 'messages[0].…'." within it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deploy.simulator.exchange import Refusal
from deploy.simulator.openai.values import INVALID

BODY = {
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
}
MESSAGE = {"role", "content", "name", "refusal", "audio", "tool_calls", "function_call", "tool_call_id"}
TOOL = {"type", "function", "custom"}
FUNCTION = {"name", "description", "parameters", "strict"}


def check_known(body: dict[str, Any]) -> None:
    """Raise `Refusal` for the first field that OpenAI does not know."""
    for name in body:
        if name not in BODY:
            raise Refusal(400, None, f"Unrecognized request argument supplied: {name}", INVALID)
    for where in _unknown(body):
        raise Refusal(400, "unknown_parameter", f"Unknown parameter: '{where}'.", INVALID, where)


def _unknown(body: dict[str, Any]) -> Iterator[str]:
    for i, message in enumerate(_objects(body.get("messages"))):
        yield from (f"messages[{i}].{name}" for name in message if name not in MESSAGE)
    for i, tool in enumerate(_objects(body.get("tools"))):
        yield from (f"tools[{i}].{name}" for name in tool if name not in TOOL)
        function = tool.get("function")
        yield from (f"tools[{i}].function.{name}" for name in function or () if name not in FUNCTION)


def _objects(value: object) -> list[dict[str, Any]]:
    """The value if it is a list of objects; other values are refused later for their type."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
