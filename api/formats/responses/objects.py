"""The answers of the Responses API, strictly typed: a response with its items and its usage."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from api.formats.responses.calls import CallStatus, OutputCall
from api.formats.responses.errors import ResponseFailure
from api.formats.responses.offer import Kind

ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
IncompleteReason = Literal["max_output_tokens", "content_filter"]
RawList = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "array", "items": {"type": "object"}})]
RawForm = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
RawChoice = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": ["string", "object"]})]


class OutputText(msgspec.Struct, frozen=True, kw_only=True, tag="output_text", tag_field="type"):
    """A text part of a message that the model wrote."""

    text: str
    """The text of the part."""
    annotations: list[Any] = []
    """Always empty: no sources are given."""
    logprobs: list[Any] = []
    """Always empty: log probabilities are not given."""


class OutputMessage(msgspec.Struct, frozen=True, kw_only=True, tag="message", tag_field="type"):
    """A message that the model wrote."""

    id: str
    """The id of the item."""
    status: CallStatus
    """The state of the item: `in_progress`, `completed` or `incomplete`."""
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]
    """The parts of the message."""


class SummaryText(msgspec.Struct, frozen=True, tag="summary_text", tag_field="type"):
    """A part of the summary of a thought."""

    text: str
    """The text of the part."""


class OutputReasoning(msgspec.Struct, frozen=True, kw_only=True, tag="reasoning", tag_field="type"):
    """A thought of the model, in front of the item that it led to."""

    id: str
    """The id of the item."""
    summary: list[SummaryText]
    """The text that the vendor shows of the thought, if `reasoning.summary` asked for it; else empty."""
    encrypted_content: str | None = None
    """The signature by which the vendor recognises the thought, if `include` asked for it; else left out. Send it back
    unchanged.
    """


OutputItem = OutputMessage | OutputReasoning | OutputCall


class InputDetails(msgspec.Struct, frozen=True):
    """The input tokens that the vendor's cache served or stored."""

    cached_tokens: int
    """Input tokens read from the vendor's cache, at the price of cached input."""
    cache_write_tokens: int
    """Input tokens written to the vendor's cache, at the price of a cache write."""


class OutputDetails(msgspec.Struct, frozen=True):
    """The part of the output tokens that was reasoning."""

    reasoning_tokens: int
    """Output tokens that were reasoning."""


class ResponseUsage(msgspec.Struct, frozen=True, kw_only=True):
    """The billed tokens of the request."""

    input_tokens: int
    """Input tokens, those read from or written to a cache among them."""
    input_tokens_details: InputDetails
    """The part of the input tokens that a cache served or stored."""
    output_tokens: int
    """Output tokens, reasoning among them."""
    output_tokens_details: OutputDetails
    """The part of the output tokens that was reasoning."""
    total_tokens: int
    """The sum of `input_tokens` and `output_tokens`."""


class IncompleteDetails(msgspec.Struct, frozen=True):
    """The reason for which a response is `incomplete`."""

    reason: IncompleteReason
    """`max_output_tokens` (the output limit was reached) or `content_filter`."""


class ReasoningSaid(msgspec.Struct, frozen=True):
    """The reasoning effort and the summary that the request asked for."""

    effort: str | None = None
    """The reasoning effort that the request asked for; null if it asked for none."""
    summary: str | None = None
    """The kind of summary that the request asked for; null if it asked for none."""


class Repeated(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a request that its response repeats. `tools`, `tool_choice` and `text` are JSON in the form in
    which it was sent. Two fields are not part of the response: `kinds` says how calls are written, `encrypted` whether
    thoughts have their signatures.
    """

    background: bool
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: ReasoningSaid
    safety_identifier: str | None
    store: bool
    temperature: float | None
    text: RawForm
    tool_choice: RawChoice
    tools: RawList
    top_p: float | None
    user: str | None
    kinds: dict[str, Kind]
    encrypted: bool = False


class ResponseObject(msgspec.Struct, frozen=True, kw_only=True):
    """A response in its present state; it repeats the fields of its request."""

    id: str
    """The response's id, `resp_` and the 26 characters of the request's id."""
    object: Literal["response"] = "response"
    created_at: int
    """The time at which the request was admitted, in Unix seconds."""
    status: ResponseStatus
    """The state of the response: `queued`, `in_progress`, `completed`, `incomplete`, `failed` or `cancelled`."""
    background: bool
    """True if the response runs on when the caller leaves."""
    error: ResponseFailure | None
    """The reason for which the response failed; null unless `status` is `failed`."""
    incomplete_details: IncompleteDetails | None
    """The reason for which the response is `incomplete`; null otherwise."""
    instructions: str | None
    """The instructions of the request."""
    max_output_tokens: int | None
    """The output limit that the request gave; null if it gave none."""
    max_tool_calls: None = None
    """Always null: no tools are run here."""
    metadata: dict[str, str]
    """The labels of the request."""
    model: str
    """The public name of the model that serves the response."""
    output: list[OutputItem]
    """The items of the output (thoughts, messages and calls), in the order in which the model made them."""
    parallel_tool_calls: bool
    """True if the answer may have several calls."""
    previous_response_id: str | None
    """The id of the response that this one continues; null if there is none."""
    reasoning: ReasoningSaid
    """The effort and the summary that the request asked for."""
    safety_identifier: str | None
    """The `safety_identifier` of the request; null if it gave none."""
    service_tier: str
    """The service tier that served the response; `default` if the request asked for none."""
    store: bool
    """True if the answer and the input are kept."""
    temperature: float | None
    """The temperature of the request; null if it gave none and the vendor's default applies."""
    text: RawForm
    """The form of the answer, unchanged from the request."""
    tool_choice: RawChoice
    """The choice of tools, unchanged from the request."""
    tools: RawList
    """The tools that the model may call, without those that were left out."""
    top_logprobs: Literal[0] = 0
    top_p: float | None
    """The `top_p` of the request; null if it gave none and the vendor's default applies."""
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None
    """The billed tokens; null until the response has ended."""
    user: str | None
    """The `user` of the request; null if it gave none."""


class ResponseDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """The confirmation that a response and its input were deleted."""

    id: str
    """The id of the deleted response."""
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class InputTokens(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate of the input's tokens, made by the front door without asking a vendor."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int
    """The estimated tokens of the input; the vendor's own count is known only once it has answered."""
