"""Follows an admitted request to its end, through the loss of its job when Redis is emptied."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import structlog

from api.relay import DoorClosed, Follower, RequestLost, RequestOverdue
from shared.errors import RebootError
from shared.job import Event, Failed
from shared.metrics import STAGE_SECONDS

if TYPE_CHECKING:
    from api.services import Services
    from shared.submit import Admitted

log = structlog.get_logger(__name__)
RESUBMISSIONS_MAX = 3


async def events_of(admitted: Admitted, follower: Follower, services: Services) -> AsyncIterator[Event]:
    """The request's events, ending in `Done` or `Failed`; never raises a `RebootError`.

    A job that Redis has lost is enqueued again as long as nothing was relayed. After that nobody can go on with it: it
    ends with `unavailable` and its hold is released. A job that nobody has taken by its deadline ends with `expired`.
    """
    lost, started = 0, time.monotonic()
    follower.overdue_at = admitted.job.deadline_ms / 1000 + services.settings.lease_s
    while True:
        try:
            async for event in follower:
                if follower.sequence == 1:
                    STAGE_SECONDS.labels("first_event").observe(time.monotonic() - started)
                yield event
            STAGE_SECONDS.labels("whole").observe(time.monotonic() - started)
        except RequestLost as error:
            lost += 1
            refusal = await _run_again(admitted, follower, services, lost, error)
        except RequestOverdue as error:
            refusal = await _expire(admitted, follower, services, error)
        except DoorClosed as error:
            refusal = error  # the request runs on and is settled; only this reader is sent away
        except RebootError as error:
            services.submitter.give_up(admitted, error)
            refusal = error
        else:
            return
        if refusal:
            yield Failed(refusal.body())
            return


async def _run_again(
    admitted: Admitted, follower: Follower, services: Services, lost: int, error: RequestLost
) -> RebootError | None:
    """Enqueue it again, or say why not."""
    refusal: RebootError = error
    if not follower.sequence and lost <= RESUBMISSIONS_MAX:
        try:
            await services.submitter.submit_again(admitted, services.relay.channel, lost)
        except RebootError as refused:
            refusal = refused
        else:
            return None
    services.submitter.give_up(admitted, refusal)
    return refusal


async def _expire(
    admitted: Admitted, follower: Follower, services: Services, error: RequestOverdue
) -> RebootError | None:
    """End it, unless a worker has it after all: then that worker ends it soon."""
    try:
        if await services.submitter.bury(admitted):
            services.submitter.release(admitted, error)
            return error
    except RebootError as unavailable:
        log.info("overdue request not buried yet", request_id=admitted.job.id, reason=unavailable.message)
    follower.overdue_at = time.time() + services.settings.lease_s
    return None
