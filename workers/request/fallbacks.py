"""When a request goes on with the next model of its chain, which its caller has named: the one table of that.

Only where the model itself cannot be had and asking it again is no use, and only before its first byte. What the caller did,
or would be told by any model, is told at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import structlog

from shared import errors
from shared.catalogue.caching import with_marks_taken
from shared.errors import Overloaded, ProviderNotConfigured, RebootError
from shared.lanes import lane_of, queue_of
from shared.ledger.chains import Tried
from shared.queue.heartbeat import lack, living_workers, serve
from shared.stores.redis_client import UNREACHABLE

if TYPE_CHECKING:
    import redis.asyncio

    from shared.job import Job
    from shared.lanes import QueueName
    from workers.request.billing import Received
    from workers.upstreams.routes import Routes

log = structlog.get_logger(__name__)
GOES_ON: Mapping[type[RebootError], bool] = {
    errors.RebootError: False,  # a fault of this service's own
    errors.InvalidRequest: False,  # the caller's
    errors.ContextLengthExceeded: False,  # the caller's, who has named models with windows that are known
    errors.TooManyValues: False,
    errors.InvalidApiKey: False,
    errors.InsufficientCredit: False,
    errors.PermissionDenied: False,
    errors.NotFound: False,
    errors.ModelNotFound: False,
    errors.MethodNotAllowed: False,
    errors.Conflict: False,
    errors.ModelRetired: True,  # it is gone for good
    errors.Gone: False,
    errors.RequestTooLarge: False,
    errors.UnsupportedMediaType: False,
    errors.IdempotencyMismatch: False,
    errors.RateLimited: False,  # the key's own limit
    errors.Cancelled: False,
    errors.ProviderRejected: False,  # of this request, maybe by a filter: no other vendor is asked behind its back
    errors.ProviderError: True,  # the retries are used up
    errors.AnswerTooLong: False,  # it has answered
    errors.OperatorCredentials: True,  # also an account without credit
    errors.Unavailable: False,  # Postgres or Redis, which every model needs
    errors.EndUnknown: False,
    errors.Overloaded: True,  # its queue is full, or no worker serves it
    errors.ProviderBusy: True,  # for longer than is waited
    errors.ProviderNotConfigured: True,
    errors.ProviderTimeout: True,  # unless it is the request's own deadline that has passed
    errors.Expired: False,  # the request's own deadline
}
"""By class of error; one that is not here is as the nearest above it."""


def goes_on(error: RebootError) -> bool:
    """Whether the next model is asked after this error."""
    return next(GOES_ON[kind] for kind in type(error).__mro__ if kind in GOES_ON)


def may_go_on(job: Job, received: Received, error: RebootError) -> bool:
    """The same of a request of which so much has come."""
    return bool(job.fallbacks) and goes_on(error) and not received.text_bytes and job.left_s() > 0


async def tried_now(
    client: redis.asyncio.Redis, job: Job, queue: QueueName, code: str, calls: int
) -> tuple[Tried, ...] | None:
    """What is behind the request: its own model, and the fallbacks in front of the first one that a living worker serves.
    Where none is served now the first one is waited for that may be soon; None where there is no such one.
    """
    own = Tried(model=job.model.name, code=code, calls=calls)
    try:
        workers = await living_workers(client)
    except UNREACHABLE:
        return (own,)
    wanted = [(one.model, queue_of(one.model.provider, lane_of(queue))) for one in job.fallbacks]
    lacking = [lack(workers, *one) for one in wanted]
    served = (place for place, one in enumerate(wanted) if serve(workers, *one))
    place = next(served, lacking.index(False) if False in lacking else None)
    if place is None:
        return None
    codes = (ProviderNotConfigured.code if is_lacking else Overloaded.code for is_lacking in lacking[:place])
    passed = zip(job.fallbacks[:place], codes, strict=True)
    return (own, *(Tried(model=one.model.name, code=code, calls=0) for one, code in passed))


async def next_is_well(client: redis.asyncio.Redis, routes: Routes, job: Job, queue: QueueName) -> bool:
    """Whether one of the next models can be called now: a worker serves it, and one of its upstreams takes calls."""
    try:
        workers = await living_workers(client)
    except UNREACHABLE:
        return False
    models = (one.model for one in job.fallbacks)
    served = [one for one in models if serve(workers, one, queue_of(one.provider, lane_of(queue)))]
    return await routes.is_any_open(served)


def with_its_marks(job: Job) -> Job:
    """The job with those marks for caches that its present model takes."""
    if not job.has_chain:
        return job
    marked = with_marks_taken(job.model, job.messages, job.tools)
    return msgspec.structs.replace(job, messages=marked.messages, tools=marked.tools)


def told_with_chain(error: RebootError, job: Job) -> RebootError:
    """The error of the last model, with what became of those before it."""
    if job.tried:
        before = ", ".join(f"{one.model} ({one.code})" for one in job.tried)
        error.message = f"{job.model.name}: {error.message} Before it failed: {before}."
    return error
