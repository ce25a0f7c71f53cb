"""Makes a response in the form of OpenAI's API: its status, its items and its usage."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from api.formats.blocks import signed_apart
from api.formats.openai.answers import created_s
from api.formats.responses.calls import CallStatus, call_item
from api.formats.responses.errors import ResponseFailure
from api.formats.responses.ids import item_id, response_id
from api.formats.responses.objects import (
    IncompleteDetails,
    IncompleteReason,
    InputDetails,
    OutputDetails,
    OutputItem,
    OutputMessage,
    OutputReasoning,
    OutputText,
    Repeated,
    ResponseObject,
    ResponseStatus,
    ResponseUsage,
    SummaryText,
)
from api.formats.responses.offer import Kind
from shared.chat import ToolCall
from shared.job import Done
from shared.money import Usage
from shared.thoughts import Thought, in_order

INCOMPLETE: Mapping[str, IncompleteReason] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""The reason for which a response is incomplete, by finish reason."""
_REPEATED = tuple(name for name in Repeated.__struct_fields__ if name not in {"kinds", "encrypted"})


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a response."""

    status: ResponseStatus
    output: list[OutputItem] = []
    error: ResponseFailure | None = None
    reason: IncompleteReason | None = None
    usage: Usage | None = None
    served_tier: str | None = None


def response_object(repeated: Repeated, request_id: str, model: str, outcome: Outcome) -> ResponseObject:
    """The whole response in its present state."""
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
    """The outcome of a successful request; `done` has the whole answer."""
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
    """The items of an answer (thoughts, messages and calls) in the order in which the model made them. `last` is the status
    of the last one. An answer without content is one empty message, unless it was `broken_off`. Thoughts that show nothing
    are left out.
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
    """The item of a thought at `place` of the output."""
    summary = [SummaryText(text)] if text else []
    return OutputReasoning(id=item_id("rs", request_id, place), summary=summary, encrypted_content=encrypted)


def last_status(done: Done) -> CallStatus:
    """The status of the last item of an answer."""
    return "incomplete" if done.finish_reason in INCOMPLETE else "completed"


def message_item(text: str, place: int, request_id: str, status: CallStatus) -> OutputMessage:
    """The item of a message at `place` of the output."""
    return OutputMessage(id=item_id("msg", request_id, place), status=status, content=[OutputText(text=text)])


def usage_of(usage: Usage) -> ResponseUsage:
    """The billed tokens. Tokens of caches are part of the input tokens, reasoning of the output tokens."""
    return ResponseUsage(
        input_tokens=usage.input,
        input_tokens_details=InputDetails(usage.cached, usage.written),
        output_tokens=usage.output,
        output_tokens_details=OutputDetails(usage.reasoning),
        total_tokens=usage.input + usage.output,
    )
