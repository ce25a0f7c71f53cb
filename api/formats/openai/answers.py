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
    """The function that the model calls, with its arguments."""

    name: str
    """The function's name, as it was offered."""
    arguments: str
    """The arguments, as the JSON text that the model wrote; it may be invalid."""


class CompletionToolCall(msgspec.Struct, frozen=True):
    """A complete tool call."""

    id: str
    """The id of the call; the `tool` message with the result repeats it."""
    function: FunctionCall
    """The function that is called."""
    type: Literal["function"] = "function"
    extra_content: ExtraContent | msgspec.UnsetType = msgspec.UNSET
    """Data that the vendor wants back with the call (Gemini only); send it back unchanged. Left out if there is
    none.
    """


class CompletionMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The message that the model answered with."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    """The text of the answer; null if the model only called tools."""
    refusal: None = None
    """Always null: a refusal comes as text, with the finish reason `content_filter` if the vendor reports one."""
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    """The model's thoughts as text, if the request asked for them with `reasoning`, `include_reasoning` or `thinking`;
    else left out.
    """
    reasoning_details: list[ReasoningDetail] | msgspec.UnsetType = msgspec.UNSET
    """The signed thoughts, if the request asked for thoughts; else left out. In a loop of tool calls, send them back
    unchanged.
    """
    tool_calls: list[CompletionToolCall] | msgspec.UnsetType = msgspec.UNSET
    """The tool calls of the answer; left out if there are none."""


class CompletionChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The only choice, because `n` is always 1."""

    index: Literal[0] = 0
    message: CompletionMessage
    """The message that the model answered with."""
    logprobs: None = None
    """Always null: log probabilities are not given."""
    finish_reason: FinishReason
    """`stop`, `length` (the output limit), `tool_calls` or `content_filter`."""


class PromptDetails(msgspec.Struct, frozen=True):
    """The prompt tokens that the vendor's cache served or stored."""

    cached_tokens: int
    """Prompt tokens read from the vendor's cache, at the price of cached input."""
    cache_write_tokens: int
    """Prompt tokens written to the vendor's cache, at the price of a cache write."""


class CompletionDetails(msgspec.Struct, frozen=True):
    """The part of the output tokens that was reasoning."""

    reasoning_tokens: int
    """Output tokens that were reasoning."""


class CompletionUsage(msgspec.Struct, frozen=True):
    """The billed tokens of the request."""

    prompt_tokens: int
    """Input tokens, those read from or written to a cache among them."""
    completion_tokens: int
    """Output tokens, reasoning among them."""
    total_tokens: int
    """The sum of `prompt_tokens` and `completion_tokens`."""
    prompt_tokens_details: PromptDetails
    """The part of the prompt tokens that a cache served or stored."""
    completion_tokens_details: CompletionDetails
    """The part of the completion tokens that was reasoning."""


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `POST /v1/chat/completions`."""

    id: str
    """The request's id, `req_…`, as in `x-request-id`."""
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    """The time at which the request was admitted, in Unix seconds."""
    model: str
    """The public name of the model that served the request."""
    choices: list[CompletionChoice]
    """A list of exactly one choice."""
    usage: CompletionUsage
    """The billed tokens."""
    service_tier: str | msgspec.UnsetType = msgspec.UNSET
    """The service tier that served the request, if it asked for `flex`; left out otherwise."""
    system_fingerprint: None = None
    """Always null: vendors' fingerprints are not passed on."""


def completion(done: Done, request_id: str, model: str) -> bytes:
    """The whole answer as JSON."""
    return json_bytes(completion_of(done, request_id, model))


def completion_of(done: Done, request_id: str, model: str) -> Completion:
    """The whole answer before it is encoded."""
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
        service_tier=done.served_tier or msgspec.UNSET,
    )


def created_s(request_id: str) -> int:
    """Unix seconds, from the time in the id."""
    return int(created_at(request_id).timestamp())


def finish_reason(done: Done) -> FinishReason:
    """The finish reason, as one of the four that clients know."""
    return cast("FinishReason", done.finish_reason) if done.finish_reason in FINISH_REASONS else "stop"


def call_of(call: ToolCall) -> CompletionToolCall:
    """The whole tool call."""
    function = FunctionCall(call.name, call.arguments)
    return CompletionToolCall(call.id, function, extra_content=extra_of(call.signature))


def call_json(call: ToolCall) -> dict[str, Any]:
    """The whole tool call as plain JSON values, for a chunk."""
    return msgspec.to_builtins(call_of(call))  # type: ignore[no-any-return]


def usage_of(usage: Usage) -> CompletionUsage:
    """The billed tokens. Cached and written tokens are part of `prompt_tokens`, reasoning is part of
    `completion_tokens`.
    """
    return CompletionUsage(
        usage.input,
        usage.output,
        usage.input + usage.output,
        PromptDetails(usage.cached, usage.written),
        CompletionDetails(usage.reasoning),
    )
