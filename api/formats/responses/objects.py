"""What the Responses API answers: a response with its items and its usage, strictly typed."""

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
    """A part of a message with the text that the model said."""

    text: str
    """The text."""
    annotations: list[Any] = []
    """Always empty: no sources are given."""
    logprobs: list[Any] = []
    """Always empty: log probabilities are not given."""


class OutputMessage(msgspec.Struct, frozen=True, kw_only=True, tag="message", tag_field="type"):
    """A message that the model wrote."""

    id: str
    """The item's id."""
    status: CallStatus
    """How far the item has come."""
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]
    """The parts of the message."""


class SummaryText(msgspec.Struct, frozen=True, tag="summary_text", tag_field="type"):
    """A part of the summary of a thought."""

    text: str
    """The text."""


class OutputReasoning(msgspec.Struct, frozen=True, kw_only=True, tag="reasoning", tag_field="type"):
    """What the model thought before the item that follows."""

    id: str
    """The item's id."""
    summary: list[SummaryText]
    """What the vendor shows of the thought, where `reasoning.summary` asked for it; else empty."""
    encrypted_content: str | None = None
    """What the vendor needs to recognise the thought, where `include` asked for it; send it back unchanged."""


OutputItem = OutputMessage | OutputReasoning | OutputCall


class InputDetails(msgspec.Struct, frozen=True):
    """The input's tokens that the vendor's cache served or kept."""

    cached_tokens: int
    """Input tokens read from the vendor's cache, at the price of cached input."""
    cache_write_tokens: int
    """Input tokens written to the vendor's cache, at the price of a cache write."""


class OutputDetails(msgspec.Struct, frozen=True):
    """The part of the output's tokens that was thinking."""

    reasoning_tokens: int
    """Output tokens that were thinking."""


class ResponseUsage(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens that were billed."""

    input_tokens: int
    """Input tokens, those read from or written to a cache among them."""
    input_tokens_details: InputDetails
    """What of the input a cache served or kept."""
    output_tokens: int
    """Output tokens, reasoning among them."""
    output_tokens_details: OutputDetails
    """What of the output was reasoning."""
    total_tokens: int
    """The sum of both."""


class IncompleteDetails(msgspec.Struct, frozen=True):
    """Why an `incomplete` response has no more text."""

    reason: IncompleteReason
    """`max_output_tokens` (the output limit) or `content_filter`."""


class ReasoningSaid(msgspec.Struct, frozen=True):
    """The effort that the caller asked for, and whether it asked for a summary of what the model thought."""

    effort: str | None = None
    """The effort that was asked for; null for none."""
    summary: str | None = None
    """The kind of summary that was asked for; null for none."""


class Repeated(msgspec.Struct, frozen=True, kw_only=True):
    """What a response repeats of its request. `tools`, `tool_choice` and `text` are JSON as it was sent. Two fields are not
    sent: `kinds` says how calls are written, `encrypted` whether thoughts come with their signatures.
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
    """A response as it stands; it repeats the fields of its request."""

    id: str
    """The response's id, `resp_` and the 26 characters of the request's id."""
    object: Literal["response"] = "response"
    created_at: int
    """When the request was admitted, in Unix seconds."""
    status: ResponseStatus
    """How far the response has come."""
    background: bool
    """Whether it runs on when the caller leaves."""
    error: ResponseFailure | None
    """Why it failed; null unless its status is `failed`."""
    incomplete_details: IncompleteDetails | None
    """Why it is `incomplete`; else null."""
    instructions: str | None
    """The instructions of the request."""
    max_output_tokens: int | None
    """The output limit that the request gave; null for none."""
    max_tool_calls: None = None
    """Always null: no tools are run here."""
    metadata: dict[str, str]
    """The labels of the request."""
    model: str
    """The public name of the model that serves it."""
    output: list[OutputItem]
    """Thoughts, messages and calls, in the order in which the model made them."""
    parallel_tool_calls: bool
    """Whether the answer may have several calls."""
    previous_response_id: str | None
    """The response that this one goes on from; null for none."""
    reasoning: ReasoningSaid
    """The effort and the summary that the request asked for."""
    safety_identifier: str | None
    """The user that the request named."""
    service_tier: str
    """The tier that served; `default` where none was asked for."""
    store: bool
    """Whether answer and input are kept."""
    temperature: float | None
    """The temperature of the request; null where the vendor's default holds."""
    text: RawForm
    """The form of the answer, as the request gave it."""
    tool_choice: RawChoice
    """The choice of tools, as the request gave it."""
    tools: RawList
    """The tools on offer, without those that were left out."""
    top_logprobs: Literal[0] = 0
    top_p: float | None
    """The `top_p` of the request; null where the vendor's default holds."""
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None
    """The tokens that were billed; null until it has ended."""
    user: str | None
    """The user that the request named."""


class ResponseDeleted(msgspec.Struct, frozen=True, kw_only=True):
    """A response and its input are not kept any more."""

    id: str
    """The id of the deleted response."""
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class InputTokens(msgspec.Struct, frozen=True, kw_only=True):
    """How many tokens the input has, estimated in the front door."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int
    """An estimate; what the vendor counts is known only once it has answered."""
