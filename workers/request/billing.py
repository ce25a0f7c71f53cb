"""The cost of a request, whatever way it ended: pure functions that make event and settlement of what was received.

succeeded                                   what the vendor reported, else an estimate marked as such
failed before output reached the caller     nothing; a JSON answer reaches nobody before its end
failed on the way                           what the vendor reported, else the input and what was received, estimated
cancelled while no vendor has the call      nothing
cancelled while a vendor has it             what the vendor reported, else the input and what was received, estimated

The vendor takes its own price times the factor of the upstream that was called. A call is lost if the vendor bills it and
nobody is charged for it; the operator pays it. The vendor bills a failed call if it had answered with success before, or if
it had the call and was silent until the end of its time. Refusals, failures by status and failed connections cost nothing.

The page `/docs/billing` tells callers the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from shared.answers import whole
from shared.errors import OperatorCredentials, ProviderBusy, ProviderTimeout, RebootError, Unavailable
from shared.input_tokens import BYTES_PER_TOKEN, estimated_input, input_bound
from shared.job import AnswerPart, Done, Failed, Job, KeptAnswer, pack
from shared.ledger.chains import Tried
from shared.ledger.settlement import EndState, LostCall, Settlement
from shared.money import BIGINT_MAX, NanoUsd, Usage, divide_up

if TYPE_CHECKING:
    from workers.request.past import CallOfClaim

WORKER_LOST = "worker_lost"
ABSURD_FACTOR = 10
"""A vendor's count of more than this many context windows is considered wrong."""


class Received(msgspec.Struct):
    """The answer that the vendor has sent so far, in `pieces` pieces. `called` is true if the vendor has the call, because
    it was sent and not refused; `accepted` is true if the vendor answered with success. `reported` are the vendor's own
    counts. Of the `calls`, `refused` found no capacity, and after `rerouted` of them the next call went to another
    upstream at once. `served_tier` is the tier that the vendor names. `upstream` was called last; `lost` are
    calls that nobody is charged for.
    """

    called: bool = False
    accepted: bool = False
    text_bytes: int = 0
    pieces: int = 0
    reported: Usage | None = None
    calls: int = 0
    refused: int = 0
    rerouted: int = 0
    served_tier: str | None = None
    upstream: str | None = None
    cost_factor: Decimal = Decimal(1)
    """The cost factor of that upstream."""
    lost: list[LostCall] = []
    waits_since_ms: int = 0
    """The time since which no upstream has been open for the request, in Unix milliseconds; 0 if one is open."""

    def forget_call(self) -> None:
        """Drop everything of a call that failed before any output."""
        self.called = self.accepted = False
        self.reported = self.served_tier = None
        self.pieces = 0


def succeeded(
    job: Job, received: Received, reason: str, answer: list[AnswerPart], now: datetime, *, asked_bytes_max: int = 0
) -> tuple[Done, Settlement]:
    """The last event and the settlement of a successful request. `answer` is the whole answer, or empty if it was streamed
    and need not be kept; messages of at most `asked_bytes_max` are kept with it.
    """
    usage = billed_usage(job, received)
    done = Done(reason, usage, min(job.price.cost(usage), job.hold_nano), served_tier=received.served_tier)
    settlement = _settlement(job, received, usage, "succeeded", now, finish_reason=reason)
    all_of_it = whole(done, answer)
    return done if job.stream else all_of_it, _kept(settlement, job, all_of_it, asked_bytes_max)


def failed(
    job: Job,
    received: Received,
    error: RebootError,
    now: datetime,
    *,
    cancelled: bool = False,
    answer: Sequence[AnswerPart] = (),
    asked_bytes_max: int = 0,
) -> tuple[Failed, Settlement]:
    """The last event and the settlement of a failed request. Its partial `answer` is kept if that is wanted and the request
    was charged.
    """
    usage = None
    begun = received.text_bytes > 0 and (job.stream or cancelled)
    if begun or (cancelled and received.called):
        usage = billed_usage(job, received)
    elif received.text_bytes:
        lose(job, received, error)
    charge = min(job.price.cost(usage), job.hold_nano) if usage else 0
    state: EndState = "cancelled" if cancelled else "failed"
    body = error.body()
    settlement = _settlement(job, received, usage, state, now, error_code=body.code, error_message=body.message)
    if answer and usage and job.batch_line is None:
        settlement = _kept(settlement, job, whole(Done("", usage, charge), answer), asked_bytes_max)
    return Failed(body, charge, usage), settlement


def void(job: Job, received: Received, now: datetime) -> tuple[Failed, Settlement]:
    """The end of a request whose caller was told that it did not run: nothing is charged, whatever was received."""
    error = Unavailable("The service could not take the request in time; it is not charged: try again.")
    lose(job, received, error)
    nothing = Received(calls=received.calls, upstream=received.upstream, lost=received.lost)
    event, settlement = failed(job, nothing, error, now)
    return event, msgspec.structs.replace(settlement, void=True)


def lose(job: Job, received: Received, error: RebootError) -> None:
    """Record that nobody is charged for the last call, if its vendor bills it."""
    was_heard = bool(received.text_bytes or received.pieces or received.reported)
    refused = isinstance(error, ProviderBusy | OperatorCredentials)
    timed_out = received.called and isinstance(error, ProviderTimeout)
    if was_heard or timed_out or (received.accepted and not refused):
        _lose(job, received, received.calls, error.code)


def lose_with_worker(job: Job, received: Received, call: CallOfClaim, cost_factor: Decimal) -> None:
    """Record a call of a worker that died: the outcome of the call is unknown, but its vendor had the input."""
    unheard = Received(upstream=call.upstream, cost_factor=cost_factor, lost=received.lost)
    _lose(job, unheard, call.number, WORKER_LOST)


def _lose(job: Job, received: Received, number: int, reason: str) -> None:
    usage = billed_usage(job, received)
    cost_nano = _costs(job, received, usage)["vendor_cost_nano"]
    if cost_nano and all(number != call.number for call in received.lost):
        received.lost.append(
            LostCall(number, received.upstream, job.model.name, reason, cost_nano, estimated=usage.estimated)
        )


def _kept(settlement: Settlement, job: Job, answer: Done, asked_bytes_max: int) -> Settlement:
    """The settlement with the answer that Postgres keeps, if the caller may come back."""
    if job.keep_until is None:
        return settlement
    is_wanted = job.batch_line is None and job.keeps_asked  # a batch keeps its lines
    asked = job.messages if is_wanted and len(msgspec.msgpack.encode(job.messages)) <= asked_bytes_max else None
    return msgspec.structs.replace(
        settlement,
        answer=pack(KeptAnswer(answer, asked, job.model.name if job.tried else None)),
        keep_until=job.keep_until,
        batch_line=job.batch_line,
    )


def billed_usage(job: Job, received: Received) -> Usage:
    """The vendor's counts if they are plausible, otherwise an estimate that never exceeds the request's bounds."""
    reported = received.reported
    if reported and _plausible(reported, received, job):
        return reported
    return estimate(job, received.text_bytes, received.pieces)


def estimate(job: Job, text_bytes: int, pieces: int = 0) -> Usage:
    """Estimated tokens of the messages and of an answer of `text_bytes` in `pieces` pieces, rounded up. Most vendors send
    one token per piece, even if it is a single byte.
    """
    asked = (job.chat, job.model.image_tokens)
    output = min(max(divide_up(text_bytes, BYTES_PER_TOKEN), pieces), job.output_limit)
    return Usage(min(estimated_input(*asked), input_bound(*asked), job.model.context_window), output, estimated=True)


def _plausible(usage: Usage, received: Received, job: Job) -> bool:
    """True if the counts are neither negative nor absurd, consistent, and not zero if there was text."""
    most = ABSURD_FACTOR * (job.model.context_window + job.model.max_output_tokens)
    in_range = 0 < usage.input <= most and 0 <= usage.output <= most and usage.adds_up()
    return in_range and (usage.output > 0 or not received.text_bytes)


def _settlement(
    job: Job,
    received: Received,
    usage: Usage | None,
    state: EndState,
    now: datetime,
    *,
    finish_reason: str | None = None,
    error_code: str | None = None,
    error_message: str | None = None,
) -> Settlement:
    return Settlement(
        id=job.id,
        created_at=job.created_at,
        account_id=job.account_id,
        state=state,
        hold_state="settled" if usage else "released",
        ended_at=now,
        charge_nano=_countable(job.price.cost(usage)) if usage else 0,
        **(_costs(job, received, usage) if usage else {"vendor_cost_nano": 0}),
        tokens_input=usage.input if usage else None,
        tokens_output=usage.output if usage else None,
        tokens_cached=usage.cached if usage else None,
        tokens_cache_written=usage.written if usage else None,
        tokens_cache_written_long=usage.written_long if usage else None,
        tokens_reasoning=usage.reasoning if usage else None,
        usage_estimated=usage.estimated if usage else None,
        finish_reason=finish_reason,
        error_code=error_code,
        error_message=error_message,
        calls=received.calls,
        upstream=received.upstream,
        lost_calls=tuple(received.lost) or None,
        **_of_chain(job, received, error_code or "succeeded"),
    )


def _of_chain(job: Job, received: Received, code: str) -> dict[str, Any]:
    """The model of a chain that served, and the outcomes of all that were tried."""
    if not job.has_chain:
        return {}
    own = Tried(model=job.model.name, code=code, calls=max(0, received.calls - job.calls_before))
    return {"served": job.model.name, "tried": (*job.tried, own)}


def _costs(job: Job, received: Received, usage: Usage) -> dict[str, Any]:
    """The vendor's price of the request. If the vendor serves at another tier than was sold, that is its default price,
    as far as it is known; the difference is the operator's loss. The charge does not depend on this.
    """
    sold_at = _times(job.model.vendor_price.cost(usage), received.cost_factor)
    default = job.model.at_default
    if default is None:
        return {"vendor_cost_nano": sold_at}
    saved = max(0, _countable(default.price.cost(usage)) - min(job.price.cost(usage), job.hold_nano))
    costs = {"served_tier": received.served_tier, "saved_nano": saved}
    if received.served_tier in {None, job.model.service_tier}:
        return {"vendor_cost_nano": sold_at, **costs}
    cost = _times(default.vendor_price.cost(usage), received.cost_factor)
    return {"vendor_cost_nano": cost, "tier_loss_nano": max(0, cost - sold_at), **costs}


def _times(cost: NanoUsd, factor: Decimal) -> int:
    """The cost times the factor, rounded up."""
    numerator, denominator = factor.as_integer_ratio()
    return _countable(NanoUsd(divide_up(cost * numerator, denominator)))


def _countable(cost: NanoUsd) -> int:
    """The cost, limited to what Postgres can store, which is far beyond any hold."""
    return min(cost, BIGINT_MAX)
