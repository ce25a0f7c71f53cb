"""arq's worker with leases: jobs of a dead worker are taken over within one lease, and a stalled worker is fenced.

arq 0.28.0 itself keeps running jobs in the queue that it polls (so all workers together cannot run more than its read
limit), retries a dead worker's job only after its longest timeout, polls twice a second, stops if Redis does, and has
no fence. So this class overrides `main`, `_poll_iteration`, `_cancel_aborted_jobs`, `finish_job`, `finish_failed_job`
and `handle_sig`, and leaves `run_job` alone: job functions, ctx, hooks, Retry, cron, abort, timeouts and the data
format are arq's. A test compares the hash of the overridden source, so that a new arq is not installed before somebody
has read it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from signal import Signals
from typing import Any

import structlog
from arq.worker import Worker

from shared.errors import Unavailable
from shared.lanes import QueueName, provider_of, short_name
from shared.queue.claims import Claim, Opening, Room
from shared.queue.known import cancelled_among
from shared.queue.queue import Queue
from shared.runtime.metrics import JOBS_RUNNING
from shared.stores.redis_client import UNREACHABLE
from workers.loop import openings
from workers.loop.intake import Intake
from workers.loop.large_jobs import LargeJobs
from workers.loop.lease import Lease, own_lease, run_under
from workers.loop.leases import Leases
from workers.loop.progress import Progress
from workers.loop.slots import Slots

log = structlog.get_logger(__name__)
UNREACHABLE_PAUSE_S = 0.2
NO_QUEUE = "q:none:none"
"""The name that arq requires, also for a worker that can call no vendor."""
MEMORY_PLENTY = 2**50
CLEAN_UP_WITHIN_S = 10.0
"""Time for cancelled jobs to clean up, and for bells and renewals to end."""


class LeasedWorker(Worker):
    """Runs arq jobs from several queues, in priority order, under leases of `lease_s`. Payloads of large jobs together
    take up to `memory_max` bytes of memory. While `may_claim` is false, no jobs are claimed. The other arguments are
    arq's.

    `on_discarded(lease)`, an attribute, is awaited before a job is dropped that never ran (aborted before its start,
    payload gone or unreadable) or was aborted before it ended its request, so that the request can be ended.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - arq's own
        worker_id: str,
        queue: Queue,
        slots: Slots,
        lease_s: float,
        calls_told_every_s: float = 0.25,
        drain_s: float,
        idle_wait_s: float,
        memory_max: int = MEMORY_PLENTY,
        may_claim: Callable[[], bool] = lambda: True,
        **kwargs: Any,  # noqa: ANN401 - arq's own
    ) -> None:
        home = slots.queues[0] if slots.queues else NO_QUEUE
        super().__init__(*args, queue_name=home, max_jobs=slots.total, poll_delay=0, **kwargs)
        self._pool = openings.wrapped(self.pool)
        self.job_deserializer = openings.deserializer(self.job_deserializer)
        self.worker_id = worker_id
        self._queue = queue
        self._slots = slots
        self._large_jobs = LargeJobs(memory_max, slots.copies)
        self._may_claim = may_claim
        self._drain_s = drain_s
        self._idle_wait_s = idle_wait_s
        self._intake = Intake(
            self.pool, queue, worker_id, slots, self._rooms, lambda: self._large_jobs.memory, wait_s=idle_wait_s
        )
        self.on_discarded: Callable[[Lease], Awaitable[None]] | None = None
        self._something_to_do = self._intake.wanted
        self.progress = Progress()
        self.leases = Leases(
            queue, self.job_tasks, self.progress, lease_s=lease_s, calls_told_every_s=calls_told_every_s
        )
        """Leases of the runs in `tasks`."""
        self.paused: frozenset[str] = frozenset()
        """Paused providers."""
        self._leaving: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._last_look = 0.0

    @property
    def queues(self) -> tuple[QueueName, ...]:
        """The queues that this worker takes jobs from, highest priority first."""
        return tuple(self._slots.queues)

    @property
    def draining(self) -> bool:
        """True if this worker takes no new jobs."""
        return not self.allow_pick_jobs

    def pause(self, providers: frozenset[str]) -> None:
        """Take no jobs of these providers until the next call; running jobs go on."""
        if providers != self.paused:
            log.info("providers paused", providers=sorted(providers), before=sorted(self.paused))
            self.paused = providers
            self._something_to_do.set()

    def stop_claiming(self) -> None:
        """Take no more jobs. Running jobs go on to their end, however long that takes; then the worker is idle until a
        signal stops it.
        """
        if not self.draining:
            log.info("worker draining", running=len(self.tasks))
            self.allow_pick_jobs = False
            self._something_to_do.set()
            self._leaving = self.loop.create_task(self._leave_bells())

    async def main(self) -> None:
        """Claim and run jobs until a signal drains this worker, or in burst mode until the queues are empty."""
        self.ctx["redis"] = self.pool
        if self.on_startup:
            await self.on_startup(self.ctx)
        helpers = [
            self.loop.create_task(one) for one in (self.leases.renew(), self.leases.tell_calls(), self._intake.run())
        ]
        try:
            while not self._stopping.is_set():
                await self._poll_iteration()
                _raise_errors_of(helpers)
                if self.burst and await self._burst_is_over():
                    break
                await self._wait_for_something()
            await self._drain()
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _poll_iteration(self) -> None:
        """Start the jobs that may start, and now and then handle aborts, health and cron."""
        try:
            await self._claim_and_start()
            self.progress.claimed()
            if time.monotonic() - self._last_look >= self._idle_wait_s:
                self._last_look = time.monotonic()
                if self.allow_abort_jobs:
                    await self._cancel_aborted_jobs()
                await self.heart_beat()
        except (Unavailable, *UNREACHABLE) as error:
            log.warning("queue unreachable", reason=type(error).__name__)
            self.leases.outage = True
            await asyncio.sleep(UNREACHABLE_PAUSE_S)

    async def _claim_and_start(self) -> None:
        await self.leases.renew_after_outage()
        if time.monotonic() < self.leases.claim_not_before:
            return
        free = self.max_jobs - self.job_counter
        if self.burst and self.max_burst_jobs >= 0:
            free = min(free, self.max_burst_jobs - self._jobs_started())
        await self._intake.claim(max(0, free), self._start)

    def _start(self, claim: Claim) -> None:
        running, before = self.tasks.get(claim.id), self.leases.get(claim.id)
        if before and before.is_held and running and not running.done():
            # Our lease lapsed while the job still runs here: its effects are fenced now, and the new claim lapses too.
            self.leases.cancel(before, "lost")
            return
        opening, claim = claim.opening, claim._replace(opening=None)  # the payload need not live as long as the job
        self.leases[claim.id] = lease = Lease(claim)
        self.aborting_tasks.discard(claim.id)
        self._large_jobs.begin(claim)
        self.job_counter += 1
        JOBS_RUNNING.labels(short_name(claim.queue)).inc()
        self.tasks[claim.id] = task = self.loop.create_task(self._run(lease, opening, running))
        task.add_done_callback(lambda done: self._job_ended(lease, done))

    async def _run(self, lease: Lease, opening: Opening | None, before: asyncio.Task[Any] | None) -> None:
        """Run a job. `before` is an earlier run that gave this job away and may still be ending: arq knows only one run
        of a job.
        """
        run_under(lease)
        if before:
            await asyncio.wait({before})
        openings.begin_with(opening, lease.claim.large)
        del opening  # the payload need not live as long as the job
        lease.has_begun = True
        await self.run_job(lease.job_id, lease.claim.due_ms)

    def _job_ended(self, lease: Lease, task: asyncio.Task[Any]) -> None:
        claim = lease.claim
        self.job_counter -= 1
        self._large_jobs.end(claim)
        JOBS_RUNNING.labels(short_name(claim.queue)).dec()
        lease.end()  # if the job was not finished in the queue, the lease lapses and another worker takes over
        # another task runs the job again if it was given back or moved just before this one's end
        if self.tasks.get(claim.id) is task:
            del self.tasks[claim.id], self.leases[claim.id]
            self.aborting_tasks.discard(claim.id)
        if self.draining or self.burst:
            self._something_to_do.set()
        self._intake.note_ended(claim)
        _log_error_of(task, claim)

    async def _wait_for_something(self, until: float = math.inf) -> None:
        """Wait until a bell rings, a slot is free, claims are allowed again, or it is time to look anyway."""
        now = time.monotonic()
        if now < self.leases.claim_not_before:
            until = min(until, self.leases.claim_not_before)
        try:
            async with asyncio.timeout(min(until - now, self._idle_wait_s)):
                await self._something_to_do.wait()
        except TimeoutError:
            return
        self._something_to_do.clear()

    async def _burst_is_over(self) -> bool:
        if 0 <= self.max_burst_jobs <= self._jobs_started():
            await asyncio.gather(*self.tasks.values())
            return True
        return not self.tasks and not any([await self.pool.zcard(name) for name in self._slots.queues])

    def _rooms(self) -> list[Room]:
        """The limits of the next claim. A slot is free only once the job's task has ended, not already with its
        request.
        """
        if self.draining or self.job_counter >= self.max_jobs or not self._may_claim():
            return []
        rooms = self._slots.rooms(lease.claim.queue for lease in self.leases.held)
        return [room for room in rooms if provider_of(room.queue) not in self.paused]

    async def _cancel_aborted_jobs(self) -> None:
        """Cancel aborted jobs as arq does, except runs that would be paid for nevertheless, and remember the reason.
        The abort mark is removed only when the job is finished, so that a worker that takes over a lost job sees it.
        """
        stoppable = [lease for lease in self.leases.values() if lease.has_begun and not lease.is_unstoppable]
        running = [lease for lease in stoppable if lease.job_id in self.job_tasks and not lease.cancelled_for]
        cancelled = await cancelled_among(self.pool, [lease.job_id for lease in running])
        for lease in running:
            if lease.job_id in cancelled and not lease.is_unstoppable:  # this may have changed during the question
                self.aborting_tasks.add(lease.job_id)
                self.leases.cancel(lease, "abort")

    async def finish_job(
        self,
        job_id: str,
        finish: bool,  # noqa: FBT001 - arq's signature
        result_data: bytes | None,
        result_timeout_s: float | None,
        keep_result_forever: bool,  # noqa: FBT001
        incr_score: int | None,
        keep_in_progress: float | None,
    ) -> None:
        """End the claim in the queue, unless the claim was lost. If Redis does not answer, the lease lapses instead."""
        lease = own_lease()
        # an aborted job function was cancelled before it could end its request; draining may have been the last reason
        if finish and lease.cancelled_for in {"abort", "drain"}:
            await self._discard(lease)
        # the job's end was written with the last event (`append.lua`), or the run gave the job away
        if not lease.is_held:
            return
        lease.end()  # before the call: a later renewal would undo a deferral
        if lease.cancelled_for == "lost":
            return
        claim = lease.claim
        keep_ms = int((keep_in_progress or 0) * 1000)
        result_ms = 0 if keep_result_forever else int((result_timeout_s or 0) * 1000)
        try:
            if finish:
                ended = self._queue.finish(
                    claim, result=result_data or b"", result_ms=result_ms, keep_in_progress_ms=keep_ms
                )
            else:
                due_ms = claim.due_ms + incr_score if incr_score else 0
                ended = self._queue.give_back(claim, due_ms=due_ms, keep_in_progress_ms=keep_ms)
            if not await ended:
                log.warning("finish fenced", job_id=job_id)
        except Unavailable as error:
            log.warning("job not finished in the queue", job_id=job_id, reason=error.message)

    async def finish_failed_job(self, job_id: str, result_data: bytes | None) -> None:
        """Finish a job that never ran, after calling `on_discarded`."""
        await self._discard(own_lease())
        if not (self.keep_result_forever or self.keep_result_s):
            result_data = None
        await self.finish_job(job_id, True, result_data, self.keep_result_s, self.keep_result_forever, None, None)  # noqa: FBT003

    async def _discard(self, lease: Lease) -> None:
        if lease.is_held and self.on_discarded:
            await self.on_discarded(lease)

    def handle_sig(self, signum: Signals) -> None:
        """The first signal drains, the second one stops at once."""
        if self._stopping.is_set():
            self._hurry.set()
        log.info("worker draining", signal=Signals(signum).name, running=len(self.tasks), hurry=self._hurry.is_set())
        self.allow_pick_jobs = False
        self._stopping.set()
        self._something_to_do.set()

    async def _leave_bells(self) -> None:
        try:
            async with asyncio.timeout(CLEAN_UP_WITHIN_S):
                await self._intake.leave()
        except (Unavailable, TimeoutError) as error:
            log.warning("bells not left", reason=type(error).__name__)

    async def _drain(self) -> None:
        """Let running jobs end for `drain_s`, then cancel the inner tasks, so that each job's own clean-up runs."""
        leaving = self.loop.create_task(self._leave_bells())
        until = time.monotonic() + self._drain_s
        while self.tasks and not self._hurry.is_set() and time.monotonic() < until:
            await self._wait_for_something(until)
            await self._poll_iteration()  # aborts are still handled
        for lease in self.leases.values():
            self.leases.cancel(lease, "drain")
        if self.tasks:
            await asyncio.wait(self.tasks.values(), timeout=CLEAN_UP_WITHIN_S)
        await leaving


def _raise_errors_of(helpers: Sequence[asyncio.Task[None]]) -> None:
    """A worker without renewals or bells must stop."""
    for helper in helpers:
        if helper.done():
            helper.result()


def _log_error_of(task: asyncio.Task[Any], claim: Claim) -> None:
    """Log the error with which the task ended outside the job function, if it did."""
    if task.cancelled() or not (error := task.exception()):
        return
    if isinstance(error, UNREACHABLE):  # raised by arq itself before the job function was called
        log.warning("job left to its lease", job_id=claim.id, reason=type(error).__name__)
    else:
        log.error("job failed outside its function", job_id=claim.id, exc_info=error)
