"""The arq job function of requests: one claim of a job becomes one `Attempt`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from arq.worker import Retry

from shared.errors import Unavailable
from shared.job import Sealed, unpack_job
from shared.queue.journal import LeaseLost
from shared.queue.known import job_of
from shared.runtime import traces
from workers.long_steps import LONG_STEPS
from workers.loop.lease import Lease, own_lease
from workers.request.attempt import Attempt
from workers.request.end_writer import EndNotWritten
from workers.request.past import note_wait
from workers.request.retry import backoff_s
from workers.request.runner import RUNNER
from workers.request.tracing import run_span

if TYPE_CHECKING:
    from shared.queue.claims import Claim
    from workers.request.runner import Runner

log = structlog.get_logger(__name__)


async def run_request(ctx: dict[str, Any], payload: Sealed) -> None:
    """The arq job function. Returns if the request has ended or belongs to another worker; raises arq's `Retry` to
    defer the request.
    """
    runner: Runner = ctx[RUNNER]
    lease = own_lease()
    try:
        async with LONG_STEPS.one(len(payload.data)):
            job = unpack_job(payload.data)
            payload.data = b""  # arq keeps the object until the job has ended
    except msgspec.DecodeError:
        raise await _leave_to_another_release(runner, lease.claim) from None  # the error may quote the request
    with (
        structlog.contextvars.bound_contextvars(request_id=job.id, epoch=lease.claim.epoch),
        run_span(job, lease.claim),
    ):
        try:
            with runner.answers.of(job.account_id) as room:
                await Attempt(runner, job, lease, room).run()
        except LeaseLost as error:
            log.warning("end left to the lease" if isinstance(error, EndNotWritten) else "attempt fenced")
            traces.fail("lease_lost")
            lease.cancelled_for = "lost"  # the job must not be finished on behalf of its new owner


async def _leave_to_another_release(runner: Runner, claim: Claim) -> Retry:
    """Return a job that this release cannot read to its queue, for a worker of the release that wrote it; the waits become
    longer. If no such worker comes, the request ends after its deadline, by its reader or by the sweep of expired holds.
    """
    log.error(
        "job of another release cannot be read", alert=claim.attempt == 1, request_id=claim.id, attempt=claim.attempt
    )
    with contextlib.suppress(Unavailable):  # then its lease lapses
        await note_wait(runner.redis, claim.id)
    return Retry(defer=backoff_s(runner.settings, claim.attempt))


async def end_discarded(runner: Runner, lease: Lease) -> None:
    """End a request that arq drops before it runs (aborted while it waited): it still has a reader and a hold."""
    try:
        job = await job_of(runner.redis, lease.job_id)
        if job is None:
            return  # the sweep of expired holds ends the request
        with runner.answers.of(job.account_id) as room:
            await Attempt(runner, job, lease, room).cancel_unstarted()
    except (LeaseLost, Unavailable) as error:
        log.warning("discarded request not ended", request_id=lease.job_id, reason=type(error).__name__)
        lease.cancelled_for = "lost"  # the job is not finished, so that its next claim ends the request
