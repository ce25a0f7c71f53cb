"""Responses as OpenAI's API gives them: how far one has come, its items and its usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from api.formats.blocks import signed_apart
from api.formats.openai.answers import created_s
from api.formats.responses.calls import CallStatus, OutputCall, call_item
from api.formats.responses.errors import ResponseFailure
from api.formats.responses.ids import item_id, response_id
from api.formats.responses.offer import Kind
from shared.chat import ToolCall
from shared.job import Done
from shared.money import Usage
from shared.thoughts import Thought, in_order

ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
IncompleteReason = Literal["max_output_tokens", "content_filter"]
INCOMPLETE: Mapping[str, IncompleteReason] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""By finish reasons: those of answers that are not whole."""
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
    """What a response repeats of its request. `tools`, `tool_choice` and `text` are JSON as it is sent; `kinds` is how calls
    are told and `encrypted` whether thoughts come with what they are known by, which is not sent.
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


_REPEATED = tuple(name for name in Repeated.__struct_fields__ if name not in {"kinds", "encrypted"})


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How far a response has come."""

    status: ResponseStatus
    output: list[OutputItem] = []
    error: ResponseFailure | None = None
    reason: IncompleteReason | None = None
    usage: Usage | None = None
    served_tier: str | None = None


def response_object(repeated: Repeated, request_id: str, model: str, outcome: Outcome) -> ResponseObject:
    """The whole response as it stands."""
    return ResponseObject(
        id=response_id(request_id),
        created_at=created_s(request_id),
        status=outcome.status,
        error=outcome.error,
        incomplete_details=IncompleteDetails(outcome.reason) if outcome.reason else None,
        model=model,
        output=outcome.output,
        usage=usage_of(outcome.usage) if outcome.usage else None,
        service_tier=outcome.served_tier or "default",
        **{name: getattr(repeated, name) for name in _REPEATED},
    )


def outcome_of(done: Done, request_id: str, repeated: Repeated) -> Outcome:
    """The outcome of a request that has an answer: `done` has all of it."""
    output = output_of(done, request_id, repeated.kinds, encrypted=repeated.encrypted, last=last_status(done))
    reason = INCOMPLETE.get(done.finish_reason)
    status: ResponseStatus = "incomplete" if reason else "completed"
    return Outcome(status=status, output=output, reason=reason, usage=done.usage, served_tier=done.served_tier)


def output_of(
    done: Done,
    request_id: str,
    kinds: Mapping[str, Kind],
    *,
    encrypted: bool,
    last: CallStatus,
    broken_off: bool = False,
) -> list[OutputItem]:
    """The items of an answer, thoughts, messages and calls as the model made them. `last` is the status of the last one. An
    answer that says nothing is an empty message, unless it was `broken_off`. Thoughts that show nothing are left out.
    """
    thoughts = [thought for thought in done.thoughts if thought.text or encrypted]
    blocks = in_order(done.text or "", done.calls, thoughts, done.call_places)
    said = [*(signed_apart(blocks) if encrypted else blocks)]
    says_nothing = all(isinstance(one, Thought) for one in said)
    said = [*said, ""] if says_nothing and not broken_off else said
    output: list[OutputItem] = []
    for place, one in enumerate(said):
        status: CallStatus = last if place == len(said) - 1 else "completed"
        match one:
            case str():
                output.append(message_item(one, place, request_id, status))
            case ToolCall():
                output.append(call_item(one, place, request_id, kinds, status))
            case Thought(text, signature):
                output.append(reasoning_item(text, place, request_id, signature if encrypted else None))
    return output


def reasoning_item(text: str, place: int, request_id: str, encrypted: str | None) -> OutputReasoning:
    """A thought that stands at `place` of the output."""
    summary = [SummaryText(text)] if text else []
    return OutputReasoning(id=item_id("rs", request_id, place), summary=summary, encrypted_content=encrypted)


def last_status(done: Done) -> CallStatus:
    """The status of the last item of an answer."""
    return "incomplete" if done.finish_reason in INCOMPLETE else "completed"


def message_item(text: str, place: int, request_id: str, status: CallStatus) -> OutputMessage:
    """A message that stands at `place` of the output."""
    return OutputMessage(id=item_id("msg", request_id, place), status=status, content=[OutputText(text=text)])


def usage_of(usage: Usage) -> ResponseUsage:
    """Tokens of caches are inside the input's, reasoning inside the output's."""
    return ResponseUsage(
        input_tokens=usage.input,
        input_tokens_details=InputDetails(usage.cached, usage.written),
        output_tokens=usage.output,
        output_tokens_details=OutputDetails(usage.reasoning),
        total_tokens=usage.input + usage.output,
    )
