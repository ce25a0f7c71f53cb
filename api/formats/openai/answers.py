"""Answers of OpenAI's chat completions, and what chunks of a stream share with them."""

from __future__ import annotations

from typing import Any, Literal, cast

import msgspec

from api.formats.native.answers import json_bytes
from api.formats.openai.thoughts import ExtraContent, ReasoningDetail, details_of, extra_of
from shared.chat import ToolCall
from shared.ids import created_at
from shared.job import Done
from shared.money import Usage

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
FINISH_REASONS = {"stop", "length", "tool_calls", "content_filter"}


class FunctionCall(msgspec.Struct, frozen=True):
    """`arguments` is JSON text as the model wrote it."""

    name: str
    arguments: str


class CompletionToolCall(msgspec.Struct, frozen=True):
    """A whole tool call."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"
    extra_content: ExtraContent | msgspec.UnsetType = msgspec.UNSET


class CompletionMessage(msgspec.Struct, frozen=True, kw_only=True):
    """`content` is null when the model only calls tools. `reasoning_content` and `reasoning_details` come where they are
    asked for by `reasoning`, `include_reasoning` or `thinking`.
    """

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    reasoning_details: list[ReasoningDetail] | msgspec.UnsetType = msgspec.UNSET
    tool_calls: list[CompletionToolCall] | msgspec.UnsetType = msgspec.UNSET


class CompletionChoice(msgspec.Struct, frozen=True, kw_only=True):
    """There is one."""

    index: Literal[0] = 0
    message: CompletionMessage
    logprobs: None = None
    finish_reason: FinishReason


class PromptDetails(msgspec.Struct, frozen=True):
    """Inside the prompt's tokens: read from a cache, and written to one."""

    cached_tokens: int
    cache_write_tokens: int


class CompletionDetails(msgspec.Struct, frozen=True):
    """Inside the completion's tokens."""

    reasoning_tokens: int


class CompletionUsage(msgspec.Struct, frozen=True):
    """Billed tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """An answer; its `id` is the request's, `created` the time in it in Unix seconds, `model` the public name."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage
    system_fingerprint: None = None


def completion(done: Done, request_id: str, model: str) -> bytes:
    """A whole answer."""
    return json_bytes(completion_of(done, request_id, model))


def completion_of(done: Done, request_id: str, model: str) -> Completion:
    """A whole answer, to be encoded."""
    message = CompletionMessage(
        content=done.text or (None if done.calls else ""),
        reasoning_content="".join(thought.text for thought in done.thoughts) or msgspec.UNSET,
        reasoning_details=details_of(done.thoughts) or msgspec.UNSET,
        tool_calls=[call_of(call) for call in done.calls] or msgspec.UNSET,
    )
    return Completion(
        id=request_id,
        created=created_s(request_id),
        model=model,
        choices=[CompletionChoice(message=message, finish_reason=finish_reason(done))],
        usage=usage_of(done.usage),
    )


def created_s(request_id: str) -> int:
    """Unix seconds, from the time in the id."""
    return int(created_at(request_id).timestamp())


def finish_reason(done: Done) -> FinishReason:
    """One of the four that clients know."""
    return cast("FinishReason", done.finish_reason) if done.finish_reason in FINISH_REASONS else "stop"


def call_of(call: ToolCall) -> CompletionToolCall:
    """A whole tool call."""
    function = FunctionCall(call.name, call.arguments)
    return CompletionToolCall(call.id, function, extra_content=extra_of(call.signature))


def call_json(call: ToolCall) -> dict[str, Any]:
    """The same as part of a chunk."""
    return msgspec.to_builtins(call_of(call))  # type: ignore[no-any-return]


def usage_of(usage: Usage) -> CompletionUsage:
    """Cached and written tokens are inside the prompt's, reasoning inside the completion's."""
    return CompletionUsage(
        usage.input,
        usage.output,
        usage.input + usage.output,
        PromptDetails(usage.cached, usage.written),
        CompletionDetails(usage.reasoning),
    )
