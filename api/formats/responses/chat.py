"""OpenAI's Responses API: parses `POST /v1/responses` and forms its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import msgspec

from api.formats.asked import Asked, Continuation, Earlier, StreamForm
from api.formats.known_fields import KnownFields
from api.formats.native.answers import json_bytes
from api.formats.responses.answers import Outcome, outcome_of, response_object
from api.formats.responses.body import ReasoningConfig, ResponseRequest, TextConfig, check
from api.formats.responses.errors import failure_of
from api.formats.responses.history import named_in, previous_of, resolved, said_in
from api.formats.responses.items import AnyItem, MessageItem, ReasoningItem
from api.formats.responses.objects import ReasoningSaid, Repeated
from api.formats.responses.offer import Offer, OfferedResponseTool, is_left_out, offer_of
from api.formats.responses.streams import ResponseEvents
from api.formats.responses.traces import TRACES
from api.formats.responses.turns import entries_of, marks_in, put_together, traces_in, unmarked
from shared.chat import Message
from shared.errors import Cancelled, InvalidRequest
from shared.job import Done, Failed
from shared.ledger.rows import StoredInput

NAMES = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "json_answer": "text.format",
    "json_schema": "text.format",
    "reasoning_effort": "reasoning.effort",
}
"""OpenAI's names of options that differ from ours."""
HINT = (
    "It takes model, input (text, or items: messages of text and images, calls of tools and their outputs) and what OpenAI's "
    "responses take besides"
)
THOUGHTS = ("input[].reasoning",)
TEXT: dict[str, Any] = {"format": {"type": "text"}}
_known = KnownFields(
    ResponseRequest,
    HINT,
    {OfferedResponseTool: is_left_out, **{kind: lambda _: True for kind in TRACES}},
    untagged=MessageItem,
)


class ResponseForm:
    """Forms the answer as a response, or as its events."""

    def __init__(self, repeated: Repeated) -> None:
        self._repeated = repeated
        self.held_bytes = len(json_bytes(repeated))

    def answer(self, done: Done, request_id: str, model: str) -> bytes:
        """The whole response."""
        return rendered(self._repeated, request_id, model, outcome_of(done, request_id, self._repeated))

    def stream(self, accept: str, request_id: str, model: str) -> StreamForm:  # noqa: ARG002 - there is only one form
        """Server-sent events."""
        return ResponseEvents(self._repeated, request_id, model)

    def repeated_elsewhere(self) -> bytes:
        """The fields that the response repeats of its request, for a response that is not stored."""
        return json_bytes(msgspec.structs.replace(self._repeated, store=False))

    def failed(self, failed: Failed, request_id: str, model: str) -> bytes:
        """The answer about a response that did not succeed, for callers that look it up."""
        body = failed.as_error().body()
        is_cancelled = body.code == Cancelled.code
        outcome = Outcome(
            status="cancelled" if is_cancelled else "failed",
            error=None if is_cancelled else failure_of(body),
            usage=failed.usage,
        )
        return rendered(self._repeated, request_id, model, outcome)

    def queued(self, request_id: str, model: str) -> bytes:
        """The answer about a response that has not ended, for a caller that does not wait for its end."""
        return rendered(self._repeated, request_id, model, Outcome(status="queued"))


def rendered(repeated: Repeated, request_id: str, model: str, outcome: Outcome) -> bytes:
    """The response as JSON."""
    return json_bytes(response_object(repeated, request_id, model, outcome))


def parse_response(body: bytes) -> Asked:
    """Parse a body; unknown fields are named in the result. A request that continues earlier responses is not complete yet.
    Raises `InvalidRequest`, which names the field, and `NotFound` for a text that is no response id.
    """
    request, unknown = _known.decode(body)
    check(request)
    offer = offer_of(request.tools or (), request.tool_choice, parallel=request.parallel_tool_calls)
    previous, others = previous_of(request.previous_response_id), named_in(request.items)
    if previous is None and not others:
        return _saying(_asked(request, unknown, offer, (), request.items))
    continues = Continuation(previous=previous, others=others, whole=partial(_whole, request, unknown, offer))
    return msgspec.structs.replace(_asked(request, unknown, offer, (), ()), continues=continues)


def parse_response_line(body: bytes) -> Asked:
    """Like `parse_response`, for a line of a batch. Its answer is stored with the batch only, so it cannot continue earlier
    responses.
    """
    asked = parse_response(body)
    if asked.continues:
        raise InvalidRequest("`previous_response_id` and `item_reference` are not possible in a batch: send all items.")
    if asked.background:
        raise InvalidRequest(
            "`background` is not possible in a batch, which is in the background anyway: leave it out."
        )
    form = asked.form
    repeated = form.repeated_elsewhere() if isinstance(form, ResponseForm) else b""
    return msgspec.structs.replace(asked, stored_input=StoredInput(repeated=repeated, input=b""))


def _whole(
    request: ResponseRequest,
    unknown: list[str],
    offer: Offer,
    earlier: Sequence[Earlier],
    others: Mapping[str, Earlier],
) -> Asked:
    """The complete request, together with the earlier responses that it continues."""
    history = list(chain.from_iterable(map(said_in, earlier)))
    return _saying(_asked(request, unknown, offer, history, resolved(request.items, others)))


def _saying(asked: Asked) -> Asked:
    """The request; raises `InvalidRequest` if it says nothing."""
    if not asked.messages:
        raise InvalidRequest("`input` is empty: it needs a text or an item that says something.", param="input")
    return asked


def _asked(
    request: ResponseRequest,
    unknown: list[str],
    offer: Offer,
    history: Sequence[AnyItem],
    items: Sequence[AnyItem],
) -> Asked:
    said = _said(request, items)
    messages = _messages(request, offer, history, said)
    led_to_nothing = not history and not _has_all_thoughts(messages, said)
    left_out = [*unknown, *offer.left_out, *traces_in(items), *(THOUGHTS if led_to_nothing else ())]
    wishes = request.wishes(left_out, marks_in(items), strict_tools=offer.tools.are_strict())
    repeated = _repeats(request, offer)
    form = ResponseForm(repeated)
    in_background = request.background and not request.stream
    return Asked(
        model=request.model,
        messages=messages,
        sampling=request.sampling(wishes),
        tools=offer.tools,
        stream=bool(request.stream),
        max_tokens=request.max_output_tokens,
        metadata=request.labels or None,
        service_tier=request.tier,
        models=tuple(request.models or ()),
        form=form,
        names=NAMES,
        body=request,
        tolerant=True,
        wishes=wishes.fields,
        ignored=wishes.ignored,
        thoughts=THOUGHTS,
        stored_input=_stored_input(request, repeated, said) if request.is_stored else None,
        background=bool(request.background),
        at_once=form.queued if in_background else None,
        failed=form.failed if in_background else None,
    )


def _said(request: ResponseRequest, items: Sequence[AnyItem]) -> Sequence[AnyItem]:
    """The items of this request itself."""
    return [MessageItem(role="user", content=request.input)] if isinstance(request.input, str) else items


def _messages(
    request: ResponseRequest, offer: Offer, history: Sequence[AnyItem], said: Sequence[AnyItem]
) -> list[Message]:
    """All messages. Instructions hold for one response only, so those of earlier responses are not included."""
    instructions = [Message("system", request.instructions)] if request.instructions else []
    return [*instructions, *put_together([*entries_of(history, offer), *entries_of(said, offer)])]


def _has_all_thoughts(messages: Sequence[Message], said: Sequence[AnyItem]) -> bool:
    """True if no thought stands alone. An answer that was cut off before its text is left out."""
    return sum(len(message.thoughts) for message in messages) == sum(isinstance(one, ReasoningItem) for one in said)


def _repeats(request: ResponseRequest, offer: Offer) -> Repeated:
    reasoning = request.reasoning or ReasoningConfig()
    return Repeated(
        background=bool(request.background),
        instructions=request.instructions,
        max_output_tokens=request.max_output_tokens,
        metadata=request.labels,
        parallel_tool_calls=request.parallel_tool_calls is not False,
        previous_response_id=request.previous_response_id or None,
        reasoning=ReasoningSaid(reasoning.effort, request.summary),
        safety_identifier=request.safety_identifier,
        store=request.is_stored,
        temperature=request.temperature,
        text=msgspec.Raw(json_bytes(_text(request.text))),
        tool_choice=msgspec.Raw(json_bytes(request.tool_choice or "auto")),
        tools=msgspec.Raw(json_bytes(offer.shown)),
        top_p=request.top_p,
        user=request.user,
        kinds=dict(offer.kinds),
        encrypted=request.wants_encrypted,
    )


def _text(wanted: TextConfig | None) -> dict[str, Any]:
    return TEXT if wanted is None or wanted.format is None else {"format": wanted.format}


def _stored_input(request: ResponseRequest, repeated: Repeated, said: Sequence[AnyItem]) -> StoredInput:
    return StoredInput(
        repeated=json_bytes(repeated),
        input=json_bytes(unmarked(said)),
        previous_id=previous_of(request.previous_response_id),
    )
