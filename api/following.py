"""Follows an admitted request to its end, through the loss of its job when Redis is emptied."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import structlog

from api.relay import Follower, RequestLost
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
    ends with `unavailable` and its hold is released.
    """
    lost, started = 0, time.monotonic()
    while True:
        try:
            async for event in follower:
                if follower.sequence == 1:
                    STAGE_SECONDS.labels("first_event").observe(time.monotonic() - started)
                yield event
            STAGE_SECONDS.labels("whole").observe(time.monotonic() - started)
        except RequestLost as error:
            lost += 1
            if follower.sequence or lost > RESUBMISSIONS_MAX:
                services.submitter.give_up(admitted, error)
                yield Failed(error.body())
                return
            if refusal := await _submit_again(admitted, services, lost):
                yield Failed(refusal.body())
                return
        except RebootError as error:
            yield Failed(error.body())
            return
        else:
            return


async def _submit_again(admitted: Admitted, services: Services, times: int) -> RebootError | None:
    try:
        await services.submitter.submit_again(admitted, services.relay.channel, times)
    except RebootError as error:
        services.submitter.give_up(admitted, error)
        return error
    return None
