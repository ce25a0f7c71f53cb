"""Counts the calls and costs of a request's earlier claims for the worker that continues the request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from shared.queue.claims import EPOCHS_PER_ENQUEUE
from workers.request.billing import Received, lose_with_worker
from workers.request.past import look_back_at_calls

if TYPE_CHECKING:
    import redis.asyncio

    from shared.catalogue.models import Model
    from shared.job import Job
    from workers.request.past import Past

FactorOf = Callable[["Model", str | None], Decimal]


def resume_calls(received: Received, job: Job, past: Past, last_epoch: int, factor_of: FactorOf) -> None:
    """Count the calls of earlier claims; `last_epoch` is the epoch of the last of these. Each worker that died is
    assumed to have called the vendor. It is certain that the call was made and will be billed if a renewal of the lease
    recorded the call, or if a part of the answer exists.
    """
    for call in past.calls_of_claims:
        if call.number > past.calls and not (past.events and call.epoch == last_epoch):
            lose_with_worker(job, received, call, factor_of(job.model, call.upstream))
    died = past.calls + max(0, last_epoch % EPOCHS_PER_ENQUEUE - past.waits)
    received.calls = max(died, *(call.number for call in past.calls_of_claims), 0)
    received.upstream, received.cost_factor = past.upstream, factor_of(job.model, past.upstream)


class RecordedCalls:
    """Reads the calls of requests that end without another attempt. Their vendors may bill them."""

    def __init__(self, client: redis.asyncio.Redis, factor_of: FactorOf) -> None:
        self._client = client
        self._factor_of = factor_of

    async def of(self, request_id: str, job_of: Callable[[], Awaitable[Job | None]]) -> Received:
        """The calls of a request. `job_of` gives its job, and is called if a worker died during a call. Raises
        `Unavailable`, and what `job_of` raises.
        """
        past = await look_back_at_calls(self._client, request_id)
        received = Received(calls=past.calls, lost=list(past.lost))
        unheard = [call for call in past.calls_of_claims if call.number > past.calls]
        if unheard and (job := await job_of()):
            for call in unheard:
                lose_with_worker(job, received, call, self._factor_of(job.model, call.upstream))
        received.calls = max(past.calls, *(call.number for call in unheard), 0)
        return received
