"""A new request, the reservation and the job that are made of it, and the part that is still needed once it is enqueued."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from api.requests.copies import Copy
from shared.catalogue.models import Model, output_limit
from shared.errors import Overloaded
from shared.ids import created_at
from shared.job import Fallback, JobHead, PackedJob
from shared.lanes import Lane
from shared.ledger.api_keys import ApiKey
from shared.ledger.chains import Tried
from shared.ledger.pinned_price import pinned
from shared.ledger.rows import Grant, Reservation, StoredInput
from shared.money import BIGINT_MAX
from shared.queue.admission import RateState
from shared.runtime import traces

if TYPE_CHECKING:
    from api.requests.fallbacks import Chain
    from api.requests.log import LoggedRequest
    from api.requests.question import Question
    from shared.settings import Settings

UNLIMITED = RateState(0, 0.0)


class NewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A valid request for an existing model. `max_tokens` is None if the caller left it out. `idempotency_key` and
    `fingerprint` (of the parsed body) are SHA-256, and are given together.
    """

    id: str
    key: ApiKey
    model: Model
    question: Question
    stream: bool
    max_tokens: int | None
    metadata: dict[str, str] | None = None
    lane: Lane = "interactive"
    outlives_reader: bool = False
    """True if the caller may come back for the answer: Postgres keeps it, and the request runs on when the caller leaves."""
    stored_input: StoredInput | None = None
    """The part of the request that Postgres stores with the answer; None if the response is not stored."""
    chain: Chain | None = None
    """The chain, if the request names fallback models; `model` is the first of them that is served now."""
    idempotency_key: bytes | None = None
    fingerprint: bytes | None = None


class Admitted(msgspec.Struct, frozen=True):
    """A request that is held for and was enqueued, by this process or, for a repeat, by an earlier one."""

    job: JobHead
    copy: Copy
    lane: str
    key_id: str
    rate: RateState
    outlives_reader: bool
    """True if the request runs on when its caller leaves, who may come back for the answer. A stored response alone does
    not.
    """


def reservation_of(request: NewRequest, settings: Settings) -> Reservation:
    """The reservation of the most that the request can cost."""
    model = request.model
    created = created_at(request.id)
    deadline = created + timedelta(seconds=settings.deadline_s(model.service_tier))
    chain = request.chain.pinned(request.max_tokens, settings) if request.chain else None
    limit, floor = output_limit(request.model, request.max_tokens, settings)
    if chain:
        limit = max(one.output_limit for one in chain)
        floor = min(limit, settings.output_limit_floor)
    return Reservation(
        id=request.id,
        created_at=created,
        account_id=request.key.account_id,
        key_id=request.key.id,
        model=model.name,
        vendor_model=model.vendor_model,
        provider=model.provider,
        api=model.api,
        lane=request.lane,
        stream=request.stream,
        **pinned(model.price, model.price_version, request.question.input_bound, request.question.writes),
        input_bound=request.question.input_bound,
        output_limit=limit,
        output_floor=floor,
        deadline_at=deadline,
        expires_at=deadline + timedelta(seconds=2 * settings.lease_s + settings.hold_grace_s),
        messages=request.question.shown,
        metadata=request.metadata,
        idempotency_key=request.idempotency_key,
        fingerprint=request.fingerprint,
        keep_until=deadline + timedelta(seconds=settings.answers_kept_s)
        if request.outlives_reader or request.stored_input
        else None,
        stored_input=request.stored_input,
        chain=chain,
    )


def in_vain(job: PackedJob, chain: Chain | None, error: Overloaded) -> tuple[Tried, ...]:
    """The models that were tried in vain: the job's own model, whose queue is full, and those behind it that no worker
    serves.
    """
    absent = chain.absent if chain else {}
    tried = [Tried(model=job.model.name, code=error.code, calls=0)]
    for one in job.fallbacks:
        if one.model.name not in absent:
            break
        tried.append(Tried(model=one.model.name, code=absent[one.model.name], calls=0))
    return tuple(tried)


def job_of(request: NewRequest, reservation: Reservation, grant: Grant) -> PackedJob:
    """The job of a request that the ledger has admitted."""
    fallbacks: tuple[Fallback, ...] = ()
    limit = grant.output_limit
    if request.chain and reservation.chain:
        fallbacks = request.chain.fallbacks(reservation.chain, grant.output_limit)
        own = next(one for one in reservation.chain if one.model == request.model.name)
        limit = min(limit, own.output_limit)
    return PackedJob(
        id=request.id,
        account_id=request.key.account_id,
        model=request.model,
        price=request.model.price,
        messages=request.question.messages,
        sampling=request.question.sampling,
        tools=request.question.tools,
        stream=request.stream,
        output_limit=limit,
        hold_nano=grant.hold_nano,
        deadline_ms=int(reservation.deadline_at.timestamp() * 1000),
        keep_until=reservation.keep_until,
        footprint=request.question.footprint,
        keeps_asked=request.stored_input is None,
        fallbacks=fallbacks,
        tried=request.chain.passed if request.chain else (),
        traceparent=traces.traceparent(),
    )


def job_again(
    logged: LoggedRequest, question: Question, model: Model, chain: Chain | None, *, keeps_asked: bool, kept_s: float
) -> PackedJob:
    """The job of a request that was admitted before, made from its row and from the equal body that was sent again. It
    begins with `model`, at the price and limit that were promised. Its answer is kept for `kept_s` after its deadline.
    """
    promised = {one.model: one for one in logged.chain or ()}.get(model.name)
    chain = chain if promised else None
    return PackedJob(
        id=logged.id,
        account_id=logged.account_id,
        model=model,
        price=promised.price if promised else logged.price,
        messages=question.messages,
        sampling=question.sampling,
        tools=question.tools,
        stream=logged.stream,
        output_limit=promised.output_limit if promised else logged.output_limit,
        hold_nano=logged.hold_nano,
        deadline_ms=int(logged.deadline_at.timestamp() * 1000),
        keep_until=logged.deadline_at + timedelta(seconds=kept_s),
        footprint=question.footprint,
        keeps_asked=keeps_asked,
        fallbacks=chain.fallbacks(logged.chain or (), BIGINT_MAX) if chain else (),
        tried=chain.passed if chain else (),
        traceparent=traces.traceparent(),
    )


def head_of(job: PackedJob) -> JobHead:
    """The job without the question to the vendor."""
    return JobHead(**{name: getattr(job, name) for name in JobHead.__struct_fields__})
