"""The body of a chat completion that OpenAI and DeepSeek read.

Source: OpenAI's API reference (2025).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Breakpoint(msgspec.Struct, forbid_unknown_fields=True):
    """A mark: the cache keeps everything up to it."""

    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] | None = None


class CacheOptions(msgspec.Struct, forbid_unknown_fields=True):
    """The cache options: whether the cache keeps anything that is not marked."""

    mode: Literal["implicit", "explicit"] = "implicit"
    ttl: Literal["30m"] | None = None


class Part(msgspec.Struct):
    """One part of a message."""

    type: str
    text: str = ""
    image_url: Any = None
    refusal: str = ""
    prompt_cache_breakpoint: Breakpoint | None = None


class CalledFunction(msgspec.Struct):
    """The function that a call is for, and its arguments as JSON text, valid or not."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct):
    """A call that the model made in an earlier answer."""

    id: str
    type: Literal["function"]
    function: CalledFunction


class Message(msgspec.Struct):
    """One message."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class Function(msgspec.Struct, omit_defaults=True):
    """A tool's definition."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct):
    """A tool on offer."""

    type: Literal["function"]
    function: Function


class FunctionName(msgspec.Struct):
    """The function that must be called."""

    name: str


class Named(msgspec.Struct):
    """A tool choice that names a function."""

    type: Literal["function"]
    function: FunctionName


class NamedSchema(msgspec.Struct):
    """The schema of an answer."""

    name: str
    schema: dict[str, Any] = {}
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class StreamOptions(msgspec.Struct):
    """The contents of a stream that are asked for."""

    include_usage: bool = False


class Thinking(msgspec.Struct):
    """DeepSeek's switch for thinking."""

    type: Literal["enabled", "disabled"]


class ChatRequest(msgspec.Struct):
    """The fields that the simulator reads; the others are in `known.py`."""

    model: str
    messages: list[Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["auto", "none", "required"] | Named | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    top_logprobs: int | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    thinking: Thinking | None = None
    seed: int | None = None
    service_tier: str | None = None
    user: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: CacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None


def text_of(message: Message) -> str:
    """Join the text parts of a message."""
    if isinstance(message.content, list):
        return "".join(part.text for part in message.content)
    return message.content or ""
