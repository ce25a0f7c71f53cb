"""Callers that wait for a request: it is submitted and followed for them, and may run on when they leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from api.http.rates import tell_remaining
from api.requests.new_request import Admitted, NewRequest
from api.services import Services
from shared import clock
from shared.errors import RateLimited
from shared.job import Event
from shared.ledger.rows import Repeat
from shared.runtime.metrics import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.requests.follower import Follower
    from api.requests.log import LoggedRequest
    from shared.ledger.api_keys import ApiKey
    from shared.ledger.ended_keys import KeyEnded


@contextmanager
def follower_of(services: Services, key: ApiKey, request_id: str, first: int = 0) -> Iterator[Follower]:
    """A follower that is registered from now on, until the caller's key ends. A caller that goes away, or is sent away,
    counts as having left.
    """
    follower = services.relay.follow(request_id, first)
    follower.asked_with = key.id, clock.utc_now()
    follower.buffer.owner = key.account_id
    left = False

    def send_away(why: KeyEnded) -> None:
        nonlocal left
        left = True
        follower.close(why)

    STREAMS.inc()
    try:
        with services.key_watch.watching(key.id, send_away):
            yield follower
    except (asyncio.CancelledError, ConnectionError):
        left = True
        raise
    finally:
        STREAMS.dec()
        services.relay.forget(follower)
        if left and follower.when_left:
            follower.when_left()


async def earlier_events(
    services: Services, logged: LoggedRequest, follower: Follower, again: Admitted | None = None
) -> AsyncIterator[Event]:
    """The events of a request that was admitted before, from the follower's first one on. If Redis has lost the request it
    is enqueued as `again`. Raises `Unavailable`.
    """
    follower.look_up()
    await services.queue.listen(logged.id, services.relay.channel)
    return services.request_events.of_earlier(logged, follower, again)


async def submit_for(request: web.Request, services: Services, new: NewRequest) -> Admitted | Repeat:
    """Submit the request, and put the rest of the key's rate limit on the answer."""
    try:
        admitted = await _submit(services, new)
    except RateLimited as error:
        if new.key.rpm:
            tell_remaining(request, 0, error.retry_after_s or 0)
        raise
    if new.key.rpm and isinstance(admitted, Admitted):
        tell_remaining(request, *admitted.rate)
    return admitted


async def _submit(services: Services, new: NewRequest) -> Admitted | Repeat:
    """Submit without ever stopping half-way: if the caller goes away meanwhile, the request is abandoned, but not lost."""
    submission = asyncio.ensure_future(services.submitter.submit(new, services.relay.channel))
    try:
        return await asyncio.shield(submission)
    except asyncio.CancelledError:
        submission.add_done_callback(lambda done: _leave_if_admitted(services, done))
        raise
    finally:
        del submission  # breaks a reference cycle (task, exception, frame) that would keep the request in memory


def _leave_if_admitted(services: Services, submission: asyncio.Future[Admitted | Repeat]) -> None:
    if submission.cancelled() or submission.exception():
        return
    admitted = submission.result()
    if isinstance(admitted, Admitted):
        leave(services, admitted)


def leave(services: Services, admitted: Admitted, follower: Follower | None = None) -> None:
    """Note that the request's reader is gone, for now or for good."""
    if admitted.outlives_reader:
        services.custody.watch(admitted, begun=follower is not None and follower.sequence > 0)
    else:
        services.abandoned.add(admitted.job.id)
        admitted.copy.drop()
