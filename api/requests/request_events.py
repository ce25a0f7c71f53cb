"""Follows a request to its end, whether this call made it or an earlier one, and even if Redis loses it meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING

import asyncpg
import structlog

from api.requests.follower import DoorClosed, Follower, RequestLost, RequestOverdue
from api.requests.log import find_answer, find_request
from shared import clock
from shared.answers import parts_of
from shared.errors import UNKNOWN_END, Cancelled, EndUnknown, Gone, RebootError, error_body
from shared.job import Done, Event, Failed, Served
from shared.ledger.ended_keys import KeyEnded, ended_since
from shared.runtime.metrics import STAGE_SECONDS
from shared.stores.postgres import UNREACHABLE

if TYPE_CHECKING:
    from api.requests.log import LoggedRequest
    from api.requests.new_request import Admitted
    from api.requests.submit import Submitter
    from shared.settings import Settings

log = structlog.get_logger(__name__)
RESUBMISSIONS_MAX = 3
LOST_END = (
    "The queue has lost the rest of the answer. What is kept of it, and what it cost, is in GET /api/requests/{id}."
)


class RequestEvents:
    """Follows requests to their ends, on the channel of this front door."""

    def __init__(self, pool: asyncpg.Pool, submitter: Submitter, channel: str, settings: Settings) -> None:
        self._pool = pool
        self._submitter = submitter
        self._channel = channel
        self._settings = settings

    async def of(self, admitted: Admitted, follower: Follower) -> AsyncIterator[Event]:
        """The request's events, ending with `Done` or `Failed`; never raises a `RebootError`.

        If Redis has lost the request, Postgres is asked whether it has ended. If not, it is enqueued again, unless
        something was relayed already: then nobody can continue it, its hold is released, and it ends with `unavailable`. A
        job that nobody has taken by its deadline ends with `expired`.
        """
        lost, started = 0, time.monotonic()
        follower.overdue_at = admitted.job.deadline_ms / 1000 + self._settings.lease_s
        while True:
            try:
                async for event in follower:
                    admitted.copy.drop()  # a request that has begun is never started again
                    _observe(event, follower, started)
                    yield await self._explained(event, follower) if isinstance(event, Failed) else event
            except RebootError as error:
                lost += isinstance(error, RequestLost)
                ending = await self._after(error, admitted, follower, lost)
            else:
                return
            for event in ending:
                yield event
            if ending:
                return

    async def of_earlier(
        self, logged: LoggedRequest, follower: Follower, admitted: Admitted | None = None
    ) -> AsyncIterator[Event]:
        """The events of an earlier request from the follower's place on, ending with `Done` or `Failed`; never raises a
        `RebootError`.

        If Redis no longer knows the request, Postgres says how it ended. A request that has not ended is enqueued again if
        the caller sent its body once more (`admitted`) and nothing was relayed.
        """
        lost = 0
        while True:
            try:
                async for event in follower:
                    yield (
                        await self._explained(event, follower) if isinstance(event, Failed) else _booked(event, logged)
                    )
            except RequestLost as error:
                lost += 1
                ending = await self._after_later_loss(error, logged, admitted, follower, lost)
            except RebootError as error:
                ending = [Failed(error.body())]
            else:
                return
            for event in ending:
                yield event
            if ending:
                return

    async def _explained(self, event: Failed, follower: Follower) -> Failed:
        """Give the reason if a request was cancelled because its reader's key has ended."""
        if event.error.code != Cancelled.code or follower.asked_with is None:
            return event
        try:
            reasons = await ended_since(self._pool, [follower.asked_with])
        except (*UNREACHABLE, asyncpg.PostgresError):
            return event
        return Failed(KeyEnded.because(*reasons.values()).body(), event.charged_nano, event.usage) if reasons else event

    async def _after(self, error: RebootError, admitted: Admitted, follower: Follower, lost: int) -> Sequence[Event]:
        """The events that tell the caller of an error; empty if the follower should go on."""
        match error:
            case RequestLost():
                return await self._after_loss(error, admitted, follower, lost)
            case RequestOverdue():
                return await self._expire(error, admitted, follower)
            case DoorClosed() if not admitted.outlives_reader:
                # this request goes on, and a repeat would be another request
                return [Failed(EndUnknown(error.message).body())]
            case DoorClosed() | KeyEnded():  # only this reader is sent away; a worker settles the request
                return [Failed(error.body())]
            case _ if admitted.outlives_reader:
                # the caller can come back for the answer, so it is not promised to be free
                return [Failed(error.body())]
        return await self._give_up(error, admitted, follower)

    async def _after_loss(
        self, error: RequestLost, admitted: Admitted, follower: Follower, lost: int
    ) -> Sequence[Event]:
        """The events with which the request ended, according to Postgres; empty if it has not ended and runs again."""
        try:
            logged = await find_request(self._pool, admitted.job.account_id, admitted.job.id)
        except RebootError as unknown:
            log.warning("lost request not looked up", request_id=admitted.job.id, reason=unknown.message)
        else:
            if logged.state != "pending":
                return await self._as_logged(logged, follower)
        return await self._run_again(error, admitted, follower, lost)

    async def _after_later_loss(
        self, error: RequestLost, logged: LoggedRequest, admitted: Admitted | None, follower: Follower, lost: int
    ) -> Sequence[Event]:
        """Like `_after_loss`, for a request that the caller follows again."""
        try:
            logged = await find_request(self._pool, logged.account_id, logged.id)
            if logged.state != "pending":
                return await self._ended(logged, follower)
        except RebootError as unavailable:
            return [Failed(unavailable.body())]
        if lost == 1 and not follower.sequence:  # the first caller may be enqueueing it right now
            await asyncio.sleep(self._settings.relay_silence_s)
            return ()
        if admitted is None:
            return [Failed(EndUnknown(UNKNOWN_END).body())]
        return await self._run_again(error, admitted, follower, lost - 1)

    async def _run_again(
        self, error: RequestLost, admitted: Admitted, follower: Follower, lost: int
    ) -> Sequence[Event]:
        """Enqueue the request again, or return an error that says why that is impossible."""
        if follower.sequence or lost > RESUBMISSIONS_MAX:
            return await self._give_up(error, admitted, follower)
        try:
            await self._submitter.submit_again(admitted, self._channel)
        except RebootError as refused:
            return await self._give_up(refused, admitted, follower)
        return ()

    async def _give_up(self, error: RebootError, admitted: Admitted, follower: Follower) -> Sequence[Event]:
        """The error, once it is certain that nothing is charged; otherwise the events with which the request ended."""
        job = admitted.job
        try:
            if await self._submitter.take_back(admitted, error):
                return [Failed(error.body())]
            return await self._as_logged(await find_request(self._pool, job.account_id, job.id), follower)
        except RebootError as unknown:
            log.warning("request given up without the ledger's word", request_id=job.id, reason=unknown.message)
            return [Failed(EndUnknown(UNKNOWN_END).body())]

    async def _expire(self, error: RequestOverdue, admitted: Admitted, follower: Follower) -> Sequence[Event]:
        """End an overdue request. If a worker has it after all, that worker ends it soon."""
        try:
            if await self._submitter.bury(admitted):
                return await self._give_up(error, admitted, follower)
        except RebootError as unavailable:
            log.info("overdue request not buried yet", request_id=admitted.job.id, reason=unavailable.message)
        follower.overdue_at = clock.now_s() + self._settings.lease_s
        return ()

    async def _as_logged(self, logged: LoggedRequest, follower: Follower) -> Sequence[Event]:
        """The events with which the request ended, for a caller that has waited; an error if the answer is gone or
        cannot be looked up.
        """
        try:
            return await self._ended(logged, follower)
        except RebootError:
            return [Failed(Gone(LOST_END).body(), logged.charged_nano)]

    async def _ended(self, logged: LoggedRequest, follower: Follower) -> list[Event]:
        """The end of a request whose journal is gone. Raises `Gone` if its answer is not kept either, or `Unavailable`."""
        if logged.state != "succeeded":
            return await self._failed(logged, follower)
        kept = None if follower.sequence else await find_answer(self._pool, logged.id)
        if kept is None:
            raise Gone("The stream of this request is not kept any more: GET /api/requests/{id} says how it ended.")
        return [*_served(logged), *(_as_streamed(kept.done) if logged.stream else [kept.done])]

    async def _failed(self, logged: LoggedRequest, follower: Follower) -> list[Event]:
        """The events of a failed request: what had been answered before the failure, if that is kept, and the error."""
        kept = await find_answer(self._pool, logged.id) if logged.stream and not follower.sequence else None
        parts = list(parts_of(kept.done)) if kept else []
        return [*(_served(logged) if parts else ()), *parts, _failure(logged)]


def _booked(event: Event, logged: LoggedRequest) -> Event:
    """Correct a success that the books do not have, because the request was void when it arrived."""
    if isinstance(event, Done) and logged.state in {"failed", "cancelled"}:
        return _failure(logged)
    return event


def _failure(logged: LoggedRequest) -> Failed:
    return Failed(error_body(logged.error_code or "", logged.error_message or ""), logged.charged_nano)


def _served(logged: LoggedRequest) -> Sequence[Served]:
    """The event with which the request's journal began, if another model served it."""
    return [Served(logged.model)] if logged.fell_back else []


def _observe(event: Event, follower: Follower, started: float) -> None:
    if follower.sequence == 1:
        STAGE_SECONDS.labels("first_event").observe(time.monotonic() - started)
    if isinstance(event, Done | Failed):
        STAGE_SECONDS.labels("whole").observe(time.monotonic() - started)


def _as_streamed(done: Done) -> Iterator[Event]:
    yield from parts_of(done)
    yield Done(done.finish_reason, done.usage, done.charged_nano, served_tier=done.served_tier)
