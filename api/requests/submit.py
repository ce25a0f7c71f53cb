"""Admission: hold the credit, then enqueue; if the queue refuses, release the hold."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from api.requests.copies import Copies
from api.requests.follower import LOST, RequestLost
from api.requests.known_refusals import KnownRefusals
from api.requests.new_request import UNLIMITED, Admitted, NewRequest, head_of, in_vain, job_of, reservation_of
from api.requests.taking_back import TakingBack
from shared.errors import (
    UNKNOWN_END,
    EndUnknown,
    InsufficientCredit,
    Overloaded,
    RateLimited,
    RebootError,
    Unavailable,
)
from shared.job import JobHead, PackedJob
from shared.ledger.rows import Grant, Repeat, Reservation
from shared.ledger.settlement import Settlement
from shared.queue.admission import QueueFullOfBytes, RateState
from shared.queue.claims import epoch_when_lost
from shared.runtime.metrics import STAGE_SECONDS
from shared.stores import keys

if TYPE_CHECKING:
    from api.http.bodies import Bodies
    from shared.ledger.ledger import Ledger
    from shared.ledger.settler import Settler
    from shared.queue.queue import Queue
    from shared.settings import Settings

log = structlog.get_logger(__name__)
CREDIT_PAUSE_S = 0.15


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
        room for what is to be stored), `Overloaded` or `Unavailable`; then nothing is charged and nothing stays held. If
        that is uncertain it raises `EndUnknown`, or `Unavailable` if there is an Idempotency-Key, because a repeat is
        then the same request. The caller must shield this call from cancellation.
        """
        self._refuse_if_known(request)
        reservation = await self._ledger.write_large_input(reservation_of(request, self._settings))
        grant = await self._hold(reservation)
        if isinstance(grant, Repeat):
            return grant
        job, rate = await self._enqueue_or_release(job_of(request, reservation, grant), request, reservation, channel)
        return self.admitted(job, request.lane, request.key.id, rate, outlives_reader=request.outlives_reader)

    def _refuse_if_known(self, request: NewRequest) -> None:
        """Raise a refusal that is known in advance. A chain may go on with another model if the first queue is full."""
        self._known_refusals.refuse_if_known(request.key.id)
        if request.chain is None:
            self._known_refusals.refuse_if_known(_share(request))

    async def _hold(self, reservation: Reservation) -> Grant | Repeat:
        """Hold the credit. If nothing is held, a large input that was written before is deleted."""
        try:
            with STAGE_SECONDS.labels("reserve").time():
                grant = await self._reserve(reservation)
        except RebootError as error:
            if isinstance(error, Unavailable):  # the hold may have been committed nevertheless
                self._settler.settle_soon(Settlement.uncharged(reservation.id, reservation.account_id, error))
            self._forget_written(reservation)
            raise
        if isinstance(grant, Repeat):
            self._forget_written(reservation)
        return grant

    async def _enqueue_or_release(
        self, job: PackedJob, request: NewRequest, reservation: Reservation, channel: str
    ) -> tuple[PackedJob, RateState]:
        """Enqueue the job. If the queue refuses it, its hold is released; if nobody knows, the request is taken back."""
        try:
            with STAGE_SECONDS.labels("enqueue").time():
                async with self._bodies.turn(job.bytes):
                    return await self._enqueue(job, request, channel)
        except (RateLimited, Overloaded) as error:
            self._remember(request, error)
            self._release(reservation, error)
            raise
        except RebootError as error:
            if await self._take_back(job, request, reservation, error):
                raise
            return job, UNLIMITED  # it was enqueued and ended before it could be taken back: the caller gets its result

    def _remember(self, request: NewRequest, error: RateLimited | Overloaded) -> None:
        """Refuse the next requests of this kind without asking the queue."""
        if not isinstance(error, QueueFullOfBytes):  # a smaller request may find room
            self._known_refusals.remember(request.key.id if isinstance(error, RateLimited) else _share(request), error)

    async def _enqueue(self, job: PackedJob, request: NewRequest, channel: str) -> tuple[PackedJob, RateState]:
        """Enqueue the job in the queue of its model, or of the first model of its chain whose queue takes it. Returns the
        job as it was enqueued.
        """
        while True:
            name = keys.queue(job.model.provider, request.lane)
            try:
                rate = await self._queue.enqueue(job, name, channel=channel, key_id=request.key.id, rpm=request.key.rpm)
            except Overloaded as error:
                tried = in_vain(job, request.chain, error)
                if len(tried) > len(job.fallbacks):
                    raise
                job = job.at_next(tried)
            else:
                return job, rate

    def admitted(self, job: PackedJob, lane: str, key_id: str, rate: RateState, *, outlives_reader: bool) -> Admitted:
        """The admitted request of a job that is in its queue."""
        return Admitted(head_of(job), self._copies.keep(job), lane, key_id, rate, outlives_reader)

    def _release(self, reservation: Reservation, error: RebootError) -> None:
        """Release the hold of a job that the queue has refused, and delete its stored input."""
        self._settler.settle_soon(Settlement.uncharged(reservation.id, reservation.account_id, error))
        self._forget_input(reservation)

    def _forget_written(self, reservation: Reservation) -> None:
        """Delete a large input that was written before a request that was then not admitted."""
        if reservation.stored_input and reservation.stored_input.written_bytes:
            self._forget_input(reservation)

    def _forget_input(self, reservation: Reservation) -> None:
        if reservation.stored_input:
            self._group.create_task(self._forget(reservation))

    async def _forget(self, reservation: Reservation) -> None:
        try:
            await self._ledger.forget(reservation.account_id, reservation.id)
        except Unavailable as error:  # the input then counts until it expires
            log.info("input of a refused request not deleted", request_id=reservation.id, reason=error.message)

    async def _take_back(self, job: JobHead, request: NewRequest, reservation: Reservation, error: RebootError) -> bool:
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
            self._forget_input(reservation)
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
        """Enqueue a job that Redis has lost. The hold still stands, so nothing is charged twice. Raises `RequestLost`
        if there is no copy of the job, `Unavailable` or `Overloaded`.
        """
        job = admitted.copy.job
        if job is None:
            raise RequestLost(LOST)
        name = keys.queue(job.model.provider, admitted.lane)
        epoch = epoch_when_lost(job.id)
        async with self._bodies.turn(job.bytes):
            await self._queue.enqueue(job, name, channel=channel, key_id=admitted.key_id, rpm=None, epoch=epoch)
        log.warning("lost request enqueued again", request_id=job.id, epoch=epoch)

    async def bury(self, admitted: Admitted) -> bool:
        """Make sure that the request never runs any more; False if a worker has it. Raises `Unavailable`."""
        return await self._taking_back.bury(admitted.job, admitted.lane)

    async def take_back(self, admitted: Admitted, error: RebootError) -> bool:
        """Make sure, before the caller is told `error`, that nothing is ever charged for the request, and that it does
        not run, as soon as Redis answers. What was streamed of it is free. False if the request had ended before: then
        Postgres says what the caller is told. Raises `Unavailable` if Postgres does not answer; the request is given up
        nevertheless, unless it has ended.
        """
        return await self._taking_back.take_back(admitted.job, admitted.lane, error)


def _share(request: NewRequest) -> str:
    """The name under which the account's share of its queue is remembered."""
    return f"{keys.queue(request.model.provider, request.lane)} {request.key.account_id}"
