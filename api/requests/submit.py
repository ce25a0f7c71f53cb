"""Admission: hold the credit, then enqueue; if the queue refuses, release the hold."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
import structlog

from api.requests.copies import Copies, Copy
from api.requests.follower import LOST, RequestLost
from api.requests.known_refusals import KnownRefusals
from api.requests.taking_back import TakingBack
from shared import clock
from shared.catalogue.models import Model, output_limit
from shared.errors import (
    UNKNOWN_END,
    EndUnknown,
    InsufficientCredit,
    Overloaded,
    RateLimited,
    RebootError,
    Unavailable,
)
from shared.ids import created_at
from shared.job import Fallback, JobHead, PackedJob
from shared.lanes import Lane
from shared.ledger.api_keys import ApiKey
from shared.ledger.chains import Tried
from shared.ledger.pinned_price import pinned
from shared.ledger.rows import Grant, KeptInput, Repeat, Reservation
from shared.ledger.settlement import Settlement
from shared.queue.admission import QueueFullOfBytes, RateState
from shared.queue.claims import EPOCHS_PER_ENQUEUE
from shared.runtime import traces
from shared.runtime.metrics import STAGE_SECONDS
from shared.stores import keys

if TYPE_CHECKING:
    from api.http.bodies import Bodies
    from api.requests.fallbacks import Chain
    from api.requests.question import Question
    from shared.ledger.ledger import Ledger
    from shared.ledger.settler import Settler
    from shared.queue.queue import Queue
    from shared.settings import Settings

log = structlog.get_logger(__name__)
CREDIT_PAUSE_S = 0.15
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
    keep: bool = False
    """Whether the caller may come back for the answer. If so, it is kept in Postgres, and the caller's leaving cancels
    nothing.
    """
    kept: KeptInput | None = None
    """What is kept in Postgres with the answer."""
    chain: Chain | None = None
    """The chain, if the request names fallback models; `model` is the first of them that is served now."""
    idempotency_key: bytes | None = None
    fingerprint: bytes | None = None


class Admitted(msgspec.Struct, frozen=True):
    """A request that is held for and enqueued."""

    job: JobHead
    copy: Copy
    lane: str
    key_id: str
    rate: RateState
    attended: bool = False
    """Whether the caller's leaving cancels the request although its answer is kept."""

    @property
    def outlives_reader(self) -> bool:
        """Whether the caller may come back for the answer."""
        return self.job.keep_until is not None and not self.attended


class Submitter:
    """`submit` admits one request. Refusals that are known in advance (a key limited until a known time, an account's share
    of a full queue) ask no store.
    """

    def __init__(
        self,
        ledger: Ledger,
        queue: Queue,
        settler: Settler,
        group: asyncio.TaskGroup,
        bodies: Bodies,
        settings: Settings,
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._settler = settler
        self._group = group
        self._bodies = bodies
        self._settings = settings
        self._copies = Copies(settings.copies_bytes_max)
        self._known_refusals = KnownRefusals()
        self._taking_back = TakingBack(queue, settler, group, settings)

    async def submit(self, request: NewRequest, channel: str) -> Admitted | Repeat:
        """Hold credit and enqueue the request; its events go to `channel`. For a repeat of an earlier request, only
        that request's id is returned.

        Raises `IdempotencyMismatch`, `InsufficientCredit`, `PermissionDenied`, `RateLimited`, `RequestTooLarge` (no
        room for what is to be kept), `Overloaded` or `Unavailable`; then nothing is charged and nothing stays held. If
        that is uncertain it raises `EndUnknown`, or `Unavailable` if there is an Idempotency-Key, because a repeat is
        then the same request. The caller must shield this call from cancellation.
        """
        queue_name = keys.queue(request.model.provider, request.lane)
        self._known_refusals.refuse_if_known(request.key.id)
        share = f"{queue_name} {request.key.account_id}"
        if request.chain is None:
            self._known_refusals.refuse_if_known(share)
        reservation = await self._ledger.put_aside(self._reservation(request))
        try:
            with STAGE_SECONDS.labels("reserve").time():
                grant = await self._reserve(reservation)
        except RebootError as error:
            if isinstance(error, Unavailable):  # the hold may have been committed nevertheless
                self._settler.keep(Settlement.uncharged(reservation.id, reservation.account_id, error))
            self._forget_written(reservation)
            raise
        if isinstance(grant, Repeat):
            self._forget_written(reservation)
            return grant
        job = _job(request, reservation, grant)
        try:
            with STAGE_SECONDS.labels("enqueue").time():
                async with self._bodies.turn(job.bytes):
                    job, rate = await self._enqueue(job, request, channel)
        except QueueFullOfBytes as error:  # not remembered, because a smaller request may find room
            self._release(reservation, error)
            raise
        except (RateLimited, Overloaded) as error:
            self._known_refusals.remember(request.key.id if isinstance(error, RateLimited) else share, error)
            self._release(reservation, error)
            raise
        except RebootError as error:
            if await self._take_back_or_know(job, request, reservation, error):
                raise
            rate = UNLIMITED  # the job was enqueued and ended before it could be taken back: the caller gets its result
        return self.admitted(job, request.lane, request.key.id, rate, attended=not request.keep)

    async def _enqueue(self, job: PackedJob, request: NewRequest, channel: str) -> tuple[PackedJob, RateState]:
        """Enqueue the job in the queue of its model, or of the first model of its chain whose queue takes it. Returns the
        job as it was enqueued.
        """
        while True:
            name = keys.queue(job.model.provider, request.lane)
            try:
                rate = await self._queue.enqueue(job, name, channel=channel, key_id=request.key.id, rpm=request.key.rpm)
            except Overloaded as error:
                tried = _not_to_be_had(job, request.chain, error)
                if len(tried) > len(job.fallbacks):
                    raise
                job = job.at_next(tried)
            else:
                return job, rate

    def admitted(self, job: PackedJob, lane: str, key_id: str, rate: RateState, *, attended: bool = False) -> Admitted:
        """The admitted request of a job that is in its queue."""
        return Admitted(head_of(job), self._copies.keep(job), lane, key_id, rate, attended)

    def _release(self, reservation: Reservation, error: RebootError) -> None:
        """Release the hold of a job that the queue has refused, and delete what was kept."""
        self._settler.keep(Settlement.uncharged(reservation.id, reservation.account_id, error))
        self._forget_kept(reservation)

    def _forget_written(self, reservation: Reservation) -> None:
        """Delete a large input that was written before a request that was then not admitted."""
        if reservation.kept and reservation.kept.written_bytes:
            self._forget_kept(reservation)

    def _forget_kept(self, reservation: Reservation) -> None:
        if reservation.kept:
            self._group.create_task(self._forget(reservation))

    async def _forget(self, reservation: Reservation) -> None:
        try:
            await self._ledger.forget(reservation.account_id, reservation.id)
        except Unavailable as error:  # the input then counts until it expires
            log.info("input of a refused request not deleted", request_id=reservation.id, reason=error.message)

    async def _take_back_or_know(
        self, job: JobHead, request: NewRequest, reservation: Reservation, error: RebootError
    ) -> bool:
        """Take the request back. True if the caller may then be told `error`. Raises `EndUnknown` if it is uncertain
        whether the request was taken back and a repeat would cost again.
        """
        try:
            is_void = await self._taking_back.take_back(job, request.lane, error)
        except Unavailable as unknown:
            if request.idempotency_key is None:
                raise EndUnknown(UNKNOWN_END) from unknown
            return True
        if is_void:
            self._forget_kept(reservation)
        return is_void

    async def _reserve(self, reservation: Reservation) -> Grant | Repeat:
        """Reserve credit. A lack of credit is checked twice, because a caller receives an answer just before its
        settlement is committed.
        """
        try:
            return await self._ledger.reserve(reservation)
        except InsufficientCredit:
            await asyncio.sleep(CREDIT_PAUSE_S)
            return await self._ledger.reserve(reservation)

    async def submit_again(self, admitted: Admitted, channel: str) -> None:
        """Enqueue a job that Redis has lost. The hold still stands, so nothing is charged twice.

        The epoch rises with the seconds since the request was made: several front doors may find the same loss, and none of
        them may reuse the epoch of an earlier claim. Raises `RequestLost` if there is no copy of the job, `Unavailable` or
        `Overloaded`.
        """
        job = admitted.copy.job
        if job is None:
            raise RequestLost(LOST)
        name = keys.queue(job.model.provider, admitted.lane)
        age_s = (clock.utc_now() - job.created_at).total_seconds()
        epoch = max(1, int(age_s)) * EPOCHS_PER_ENQUEUE
        async with self._bodies.turn(job.bytes):
            await self._queue.enqueue(job, name, channel=channel, key_id=admitted.key_id, rpm=None, epoch=epoch)
        log.warning("lost request enqueued again", request_id=job.id, epoch=epoch)

    async def bury(self, admitted: Admitted) -> bool:
        """Make sure that the request never runs any more; False if a worker has it. Raises `Unavailable`."""
        return await self._taking_back.bury(admitted.job, admitted.lane)

    async def give_up(self, admitted: Admitted, error: RebootError) -> bool:
        """Make sure, before the caller is told `error`, that nothing is ever charged for the request, and that it does
        not run, as soon as Redis answers. What was streamed of it is free. False if the request had ended before: then
        Postgres says what the caller is told. Raises `Unavailable` if Postgres does not answer; the request is given up
        nevertheless, unless it has ended.
        """
        return await self._taking_back.take_back(admitted.job, admitted.lane, error)

    def _reservation(self, request: NewRequest) -> Reservation:
        settings, model = self._settings, request.model
        created = created_at(request.id)
        deadline = created + timedelta(seconds=settings.deadline_s(model.service_tier))
        chain = request.chain.pinned(request.max_tokens, settings) if request.chain else None
        wanted, floor = output_limit(request.model, request.max_tokens, settings)
        if chain:
            wanted = max(one.output_limit for one in chain)
            floor = min(wanted, settings.output_limit_floor)
        return Reservation(
            id=request.id,
            created_at=created,
            account_id=request.key.account_id,
            key_id=request.key.id,
            model=model.name,
            upstream=model.vendor_model,
            provider=model.provider,
            api=model.api,
            lane=request.lane,
            stream=request.stream,
            **pinned(model.price, model.price_version, request.question.input_bound, request.question.writes),
            input_bound=request.question.input_bound,
            output_limit=wanted,
            output_floor=floor,
            deadline_at=deadline,
            expires_at=deadline + timedelta(seconds=2 * settings.lease_s + settings.hold_grace_s),
            messages=request.question.shown,
            metadata=request.metadata,
            idempotency_key=request.idempotency_key,
            fingerprint=request.fingerprint,
            keep_until=self._keep_until(request),
            kept=request.kept,
            chain=chain,
        )

    def _keep_until(self, request: NewRequest) -> datetime | None:
        """The time until which the answer is kept, counted from the latest possible end of the request; None if it is
        not kept.
        """
        settings = self._settings
        kept_s = settings.deadline_s(request.model.service_tier) + settings.answers_kept_s
        return created_at(request.id) + timedelta(seconds=kept_s) if request.keep or request.kept else None


def _not_to_be_had(job: PackedJob, chain: Chain | None, error: Overloaded) -> tuple[Tried, ...]:
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


def _job(request: NewRequest, reservation: Reservation, grant: Grant) -> PackedJob:
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
        keeps_asked=request.kept is None,
        fallbacks=fallbacks,
        tried=request.chain.passed if request.chain else (),
        traceparent=traces.traceparent(),
    )


def head_of(job: PackedJob) -> JobHead:
    """The job without the question to the vendor."""
    return JobHead(**{name: getattr(job, name) for name in JobHead.__struct_fields__})
