"""Runs one request under one claim: calls the vendor, journals the answer, and ends the request exactly once.

    look back ──► call the vendor ──► journal the text ──► end: last event + settle record in one step ──► settle

The end is written under the claim's fence. A worker that lost its lease writes nothing more and settles nothing. The
worker that took over looks back at the journal first, and never calls the vendor again for a stream that has begun.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog
from arq.worker import Retry

from shared import clock
from shared.catalogue.thinking import bills_to_the_end
from shared.errors import Cancelled, Expired, ProviderError, RebootError, Unavailable
from shared.job import Served
from shared.lanes import lane_of, provider_of
from shared.queue.journal import Journal, LeaseLost
from shared.queue.queue import BATCH_RUN_KEPT_S
from shared.runtime.last_minute import LAST_MINUTE
from shared.runtime.metrics import STAGE_SECONDS
from workers.request.billing import Received
from workers.request.end_writer import EndWriter
from workers.request.fallbacks import may_go_on, next_is_well, told_with_chain, tried_now, with_its_marks
from workers.request.joined_parts import WholeAnswer
from workers.request.journal_writer import JournalWriter
from workers.request.past import Past, look_back, packed_lost
from workers.request.reporting import alert_operator, report_fallback
from workers.request.resuming import resume_calls
from workers.request.too_long import with_numbers
from workers.request.vendor_calls import VendorCalls

if TYPE_CHECKING:
    from shared.job import AnswerPart, Job
    from shared.runtime.growing_room import Growth
    from workers.loop.lease import Lease
    from workers.request.runner import Runner

log = structlog.get_logger(__name__)


class Attempt:
    """One claim's run of a request."""

    def __init__(self, runner: Runner, job: Job, lease: Lease, room: Growth) -> None:
        settings = runner.settings
        self._runner = runner
        self._given = job
        """The job as it was enqueued; with a chain it has all cache marks."""
        self._job = with_its_marks(job)
        self._lease = lease
        self._claim = claim = lease.claim
        self._received = Received()
        self._answer = WholeAnswer()
        """The whole answer, kept only for JSON replies and stored answers."""
        keep_s = settings.journal_ttl_s if job.batch_line is None else BATCH_RUN_KEPT_S
        live_s = max(job.left_s(), 0) + keep_s
        ending = runner.queue.ending(claim, of_batch=job.batch_line is not None)
        self._journal = Journal(claim, live_s=live_s, keep_s=keep_s, ending=ending)
        served = Served(job.model.name) if job.tried else None
        self._writer = JournalWriter(
            runner.flusher, self._journal, patience_s=settings.redis_patience_s, opening=served
        )
        self._room = room
        self._end = EndWriter(
            self._job,
            lease,
            self._writer,
            runner.settler,
            received=self._received,
            answer=self._answer,
            asked_bytes_max=settings.asked_bytes_max,
        )

    async def run(self) -> None:
        """Run the request. Every way out ends the request, returns it to the queue, or leaves it to its new owner."""
        self._note_wait()
        try:
            past = await self._look_back() if self._claim.attempt > 1 else Past()
            self._settle_again(past)
            if await self._has_ended(past):
                return
            self._resume(past)
            self._refuse_what_must_not_run(past)
            reason = await self._call_vendor()
            if reason is None:
                return
        except (LeaseLost, Retry):
            raise
        except Cancelled:
            await self._end.cancelled()
        except RebootError as error:
            await self._end.failed(told_with_chain(with_numbers(error, self._job), self._job))
        except asyncio.CancelledError:
            await self._end_interrupted()
        except Exception:
            log.exception("unexpected error", alert=True)
            await self._end.failed(ProviderError("The call to the vendor failed in an unexpected way."))
        else:
            await self._end.succeeded(reason)

    async def cancel_unstarted(self) -> None:
        """End the request as cancelled. Output that an earlier attempt had sent to the caller is charged. Raises
        `LeaseLost` or `Unavailable`.
        """
        past = await look_back(self._runner.redis, self._job.id)
        self._settle_again(past)
        if not await self._has_ended(past):
            self._resume(past)
            await self._end.cancelled()

    def _note_wait(self) -> None:
        waited_s = max(0.0, clock.now_s() - self._claim.due_ms / 1000)
        STAGE_SECONDS.labels("queued").observe(waited_s)
        if lane_of(self._claim.queue) == "interactive":
            LAST_MINUTE.waited(provider_of(self._claim.queue), waited_s)

    async def _look_back(self) -> Past:
        try:
            return await look_back(self._runner.redis, self._job.id)
        except Unavailable as error:
            raise Retry(defer=self._runner.settings.settle_retry_s) from error

    def _settle_again(self, past: Past) -> None:
        """Send the settlement of an earlier attempt again, in case its worker died before."""
        if past.end and past.settlement:
            self._runner.settler.settle_soon(past.settlement)

    async def _has_ended(self, past: Past) -> bool:
        """True if an earlier attempt has ended the request."""
        return past.end is not None or await self._has_ended_long_ago()

    async def _has_ended_long_ago(self) -> bool:
        """True if the request has ended according to Postgres. Redis may have lost the request's end, or the fact that
        its caller was told that it does not run. In that case the vendor is not called again, and nobody is told
        another end. If Postgres does not answer, the request runs; the ledger lets it end only once anyway.
        """
        if not self._runner.queue.is_doubtful(self._claim):
            return False
        try:
            ended = await self._runner.endings.has_ended(self._job.id)
        except Unavailable as error:
            log.info("not known whether the request has ended", reason=error.message)
            return False
        if ended:
            log.warning("job of an ended request dropped")
        return ended

    def _resume(self, past: Past) -> None:
        self._journal.length, self._journal.bytes = past.length, past.bytes
        self._received.text_bytes = past.text_bytes
        self._received.pieces = past.pieces
        self._received.refused, self._received.rerouted = past.refused, past.rerouted
        self._received.lost = list(past.lost)
        # if every claim ended in a wait, no worker died that may have called an upstream
        has_waited = past.waits >= self._claim.attempt - 1
        self._received.waits_since_ms = past.waits_since_ms if has_waited else 0
        resume_calls(self._received, self._job, past, self._claim.epoch - 1, self._runner.routes.cost_factor)
        if self._job.keep_until:
            self._answer.parts.extend(past.parts)

    def _refuse_what_must_not_run(self, past: Past) -> None:
        if past.events:
            raise ProviderError("The service lost the worker that was answering: what you received is all there is.")
        if self._job.left_s() <= 0:
            raise Expired("The request waited in the queue until its deadline: try again later.")
        if self._claim.attempt - past.waits > self._runner.settings.attempts_max:
            raise ProviderError("The service lost several workers on this request and gave it up.")

    async def _call_vendor(self) -> str | None:
        """The finish reason of the call that succeeded; None if the next model of the chain has its turn."""
        try:
            return await self._vendor_calls().until_one_works()
        except RebootError as error:
            if not may_go_on(self._job, self._received, error):
                raise
            if not await self._move_to_next_model(error):
                raise
            return None

    def _vendor_calls(self) -> VendorCalls:
        """The calls of this attempt. The object is not stored, because it references the attempt, and a cycle would
        keep the answer in memory until the next garbage collection.
        """
        run = self._runner
        return VendorCalls(
            self._job,
            run.routes,
            run.redis,
            run.settings,
            received=self._received,
            take=self._take,
            forget=self._answer.forget,
            on_vendor_has_call=self._note_vendor_has_call,
            room=self._room,
            next_is_well=partial(next_is_well, run.redis, run.routes, self._job, self._claim.queue),
        )

    async def _take(self, part: AnswerPart) -> None:
        if not self._job.stream or self._job.keep_until:
            self._answer.add(part)
        if self._job.stream:
            self._journal.upstream = self._received.upstream or ""
            await self._writer.write(part)

    def _note_vendor_has_call(self, with_vendor: bool) -> None:  # noqa: FBT001 - what `VendorCalls` tells
        """Note whether a vendor has the call. While a vendor bills all of a call, an abort would only waste the
        answer.
        """
        self._lease.vendor_call = f"{self._received.calls} {self._received.upstream}" if with_vendor else ""
        if bills_to_the_end(self._job.model, self._job.sampling.reasoning_effort):
            self._lease.is_unstoppable = with_vendor

    async def _move_to_next_model(self, error: RebootError) -> bool:
        """Put the job into the queue of the next model of the chain; false if nobody can call one, or the queue cannot
        be reached.
        """
        job, calls = self._job, self._received.calls
        tried = await tried_now(self._runner.redis, job, self._claim.queue, error.code, calls - job.calls_before)
        if tried is None:
            return False
        alert_operator(job, error)
        moved = self._given.at_next(tried)
        lost = packed_lost(self._received)
        self._lease.is_writing_end = True
        try:
            still_ours = await self._runner.queue.move(self._claim, moved, calls=calls, lost=lost)
        except Unavailable:  # the job may have been moved nevertheless
            return False
        self._lease.end()
        if not still_ours:
            raise LeaseLost(job.id)
        report_fallback(job, moved, error)
        return True

    async def _end_interrupted(self) -> None:
        """Handle a cancellation of this task. If the lease was lost, the request is not ours any more. If the worker
        drains and nothing was sent, return the request to the queue. Otherwise tell the caller and charge.
        """
        reason = self._lease.cancelled_for
        await self._writer.wait_until_written()
        if reason == "abort":
            await self._end.cancelled()
        elif reason == "drain" and self._journal.length:
            await self._end.failed(
                Unavailable("The service was restarted while it answered: what you received is all there is.")
            )
        else:
            raise asyncio.CancelledError
