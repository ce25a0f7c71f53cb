"""Decides whether a request goes on with the next model of its chain: `GOES_ON` says it for each class of error.

Other decisions about an error are made elsewhere: `PASSES_ELSEWHERE` in `next_call.py` says whether another upstream of
the same model is called, `outcome_of` in `workers/upstreams/outcomes.py` what the error says about its upstream, and
`lose` in `billing.py` whether the vendor bills the call.

A request goes on only if the model itself cannot be had and another call is useless, and only before the first byte.
Faults of the caller, and errors that any model would cause, are returned at once.
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
    errors.RebootError: False,  # this service's own fault
    errors.InvalidRequest: False,  # the caller's
    errors.ContextLengthExceeded: False,  # the caller's fault: the windows of the named models are known
    errors.TooManyValues: False,
    errors.InvalidApiKey: False,
    errors.InsufficientCredit: False,
    errors.PermissionDenied: False,
    errors.NotFound: False,
    errors.ModelNotFound: False,
    errors.MethodNotAllowed: False,
    errors.Conflict: False,
    errors.ModelRetired: True,  # the model is gone for good
    errors.Gone: False,
    errors.RequestTooLarge: False,
    errors.UnsupportedMediaType: False,
    errors.IdempotencyMismatch: False,
    errors.RateLimited: False,  # the key's own limit
    errors.Cancelled: False,
    errors.ProviderRejected: False,  # perhaps a filter refused it; another vendor must not be asked to get around that
    errors.ProviderError: True,  # the retries are used up
    errors.AnswerTooLong: False,  # the model has answered
    errors.OperatorCredentials: True,  # includes an account without credit
    errors.Unavailable: False,  # Postgres or Redis, which every model needs
    errors.EndUnknown: False,
    errors.Overloaded: True,  # the model's queue is full, or no worker serves it
    errors.ProviderBusy: True,  # for longer than a request waits
    errors.ProviderNotConfigured: True,
    errors.ProviderTimeout: True,  # unless the request's own deadline has passed
    errors.Expired: False,  # the request's own deadline
}
"""By class of error; a class that is not listed counts as its nearest listed parent."""


def goes_on(error: RebootError) -> bool:
    """True if the next model is asked after this error."""
    return next(GOES_ON[kind] for kind in type(error).__mro__ if kind in GOES_ON)


def may_go_on(job: Job, received: Received, error: RebootError) -> bool:
    """True if the next model is asked after this error, given what was received: not once text has been sent, after the
    deadline, or without another model.
    """
    return bool(job.fallbacks) and goes_on(error) and not received.text_bytes and job.left_s() > 0


async def tried_now(
    client: redis.asyncio.Redis, job: Job, queue: QueueName, code: str, calls: int
) -> tuple[Tried, ...] | None:
    """The models that are out for this request: its own, and the fallbacks before the first one that a living worker
    serves. If none is served now, the request waits for the first fallback that may be served soon; None if there is no
    such model.
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
    """True if one of the next models can be called now: a worker serves it, and one of its upstreams takes calls."""
    try:
        workers = await living_workers(client)
    except UNREACHABLE:
        return False
    models = (one.model for one in job.fallbacks)
    served = [one for one in models if serve(workers, one, queue_of(one.provider, lane_of(queue)))]
    return await routes.is_any_available(served)


def with_its_marks(job: Job) -> Job:
    """The job with the cache marks that its present model takes."""
    if not job.has_chain:
        return job
    marked = with_marks_taken(job.model, job.messages, job.tools)
    return msgspec.structs.replace(job, messages=marked.messages, tools=marked.tools)


def told_with_chain(error: RebootError, job: Job) -> RebootError:
    """The error of the last model, with the outcomes of those before it."""
    if job.tried:
        before = ", ".join(f"{one.model} ({one.code})" for one in job.tried)
        error.message = f"{job.model.name}: {error.message} Before it failed: {before}."
    return error
