"""Follows a request to its end: one that this call made, or an earlier one; also when Redis is emptied meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import asyncpg
import structlog

from api.requests.log import find_answer, find_request
from api.requests.relay import DoorClosed, Follower, RequestLost, RequestOverdue
from shared.chat import CallPiece
from shared.errors import Cancelled, Gone, RebootError, error_body
from shared.job import AnswerPart, Chunk, Done, Event, Failed
from shared.ledger.ended_keys import KeyEnded, ended_since
from shared.runtime.metrics import STAGE_SECONDS
from shared.stores.postgres import UNREACHABLE

if TYPE_CHECKING:
    from api.requests.log import LoggedRequest
    from api.requests.submit import Admitted, Submitter
    from shared.settings import Settings

log = structlog.get_logger(__name__)
RESUBMISSIONS_MAX = 3


class FollowUp:
    """Follows requests to their ends, on the channel of this front door."""

    def __init__(self, pool: asyncpg.Pool, submitter: Submitter, channel: str, settings: Settings) -> None:
        self._pool = pool
        self._submitter = submitter
        self._channel = channel
        self._settings = settings

    async def events_of(self, admitted: Admitted, follower: Follower) -> AsyncIterator[Event]:
        """The request's events, ending in `Done` or `Failed`; never raises a `RebootError`.

        A job that Redis has lost is enqueued again as long as nothing was relayed. After that nobody can go on with it: it
        ends with `unavailable` and its hold is released. A job that nobody has taken by its deadline ends with `expired`.
        """
        lost, started = 0, time.monotonic()
        follower.overdue_at = admitted.job.deadline_ms / 1000 + self._settings.lease_s
        while True:
            try:
                async for event in follower:
                    _observe(event, follower, started)
                    yield await self._explained(event, follower) if isinstance(event, Failed) else event
            except RequestLost as error:
                lost += 1
                refusal = await self._run_again(admitted, follower, lost, error)
            except RequestOverdue as error:
                refusal = await self._expire(admitted, follower, error)
            except (DoorClosed, KeyEnded) as error:
                refusal = error  # the request runs on, or a worker cancels it; either way it is settled by its worker
            except RebootError as error:
                if not admitted.job.keep_until:  # who can come back for the answer is not promised that it is free
                    self._submitter.give_up(admitted, error)
                refusal = error
            else:
                return
            if refusal:
                yield Failed(refusal.body())
                return

    async def events_again(
        self, logged: LoggedRequest, follower: Follower, admitted: Admitted | None = None
    ) -> AsyncIterator[Event]:
        """The events of an earlier request from the follower's place on, ending in `Done` or `Failed`; never raises a
        `RebootError`. When Redis knows nothing of it any more, Postgres says how it ended. One that has not ended is
        enqueued again, if the caller sent its body once more (`admitted`) and nothing was relayed.
        """
        lost = 0
        while True:
            try:
                async for event in follower:
                    yield await self._explained(event, follower) if isinstance(event, Failed) else event
            except RequestLost as error:
                lost += 1
                try:
                    logged = await find_request(self._pool, logged.account_id, logged.id)
                    if logged.state != "pending":
                        for event in await self._ended(logged, follower):
                            yield event
                        return
                    refusal = await self._wait_or_run_again(admitted, follower, lost, error)
                except RebootError as unavailable:
                    refusal = unavailable
            except RebootError as error:
                refusal = error
            else:
                return
            if refusal:
                yield Failed(refusal.body())
                return

    async def _explained(self, event: Failed, follower: Follower) -> Failed:
        """A request that was cancelled because its reader's key has ended says so."""
        if event.error.code != Cancelled.code or follower.asked_with is None:
            return event
        try:
            reasons = await ended_since(self._pool, [follower.asked_with])
        except (*UNREACHABLE, asyncpg.PostgresError):
            return event
        return Failed(KeyEnded.because(*reasons.values()).body(), event.charged_nano, event.usage) if reasons else event

    async def _wait_or_run_again(
        self, admitted: Admitted | None, follower: Follower, lost: int, error: RequestLost
    ) -> RebootError | None:
        """Whoever asked first may just be enqueueing it, so that the first time is waited for."""
        if lost == 1 and not follower.sequence:
            await asyncio.sleep(self._settings.relay_silence_s)
            return None
        if admitted is None:
            return error
        return await self._run_again(admitted, follower, lost - 1, error)

    async def _ended(self, logged: LoggedRequest, follower: Follower) -> Iterator[Event]:
        """The end of a request whose journal is gone. Raises `Gone` when its answer is not kept either."""
        if logged.state != "succeeded":
            return await self._failed(logged, follower)
        kept = await find_answer(self._pool, logged.id)
        if kept is None or follower.sequence:
            raise Gone("The stream of this request is not kept any more: GET /api/requests/{id} says how it ended.")
        return _as_streamed(kept.done) if logged.stream else iter([kept.done])

    async def _failed(self, logged: LoggedRequest, follower: Follower) -> Iterator[Event]:
        """What had come before it failed, when that is kept, and why it failed."""
        failed = Failed(error_body(logged.error_code or "", logged.error_message or ""), logged.charged_nano)
        kept = await find_answer(self._pool, logged.id) if logged.stream and not follower.sequence else None
        parts = list(_parts_of(kept.done)) if kept else []
        return iter([*parts, failed])

    async def _run_again(
        self, admitted: Admitted, follower: Follower, lost: int, error: RequestLost
    ) -> RebootError | None:
        """Enqueue it again, or say why not."""
        refusal: RebootError = error
        if not follower.sequence and lost <= RESUBMISSIONS_MAX:
            try:
                await self._submitter.submit_again(admitted, self._channel)
            except RebootError as refused:
                refusal = refused
            else:
                return None
        self._submitter.give_up(admitted, refusal)
        return refusal

    async def _expire(self, admitted: Admitted, follower: Follower, error: RequestOverdue) -> RebootError | None:
        """End it, unless a worker has it after all: then that worker ends it soon."""
        try:
            if await self._submitter.bury(admitted):
                self._submitter.release(admitted, error)
                return error
        except RebootError as unavailable:
            log.info("overdue request not buried yet", request_id=admitted.job.id, reason=unavailable.message)
        follower.overdue_at = time.time() + self._settings.lease_s
        return None


def _observe(event: Event, follower: Follower, started: float) -> None:
    if follower.sequence == 1:
        STAGE_SECONDS.labels("first_event").observe(time.monotonic() - started)
    if isinstance(event, Done | Failed):
        STAGE_SECONDS.labels("whole").observe(time.monotonic() - started)


def _parts_of(done: Done) -> Iterator[AnswerPart]:
    if done.text:
        yield Chunk(done.text)
    for index, call in enumerate(done.calls):
        yield CallPiece(index, call.arguments, call.id, call.name)


def _as_streamed(done: Done) -> Iterator[Event]:
    yield from _parts_of(done)
    yield Done(done.finish_reason, done.usage, done.charged_nano)
