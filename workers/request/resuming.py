"""Counts the calls and costs of a request's earlier claims for the worker that continues the request."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from shared.queue.claims import EPOCHS_PER_ENQUEUE
from workers.request.billing import lose_with_worker

if TYPE_CHECKING:
    from shared.catalogue.models import Model
    from shared.job import Job
    from workers.request.billing import Received
    from workers.request.past import Past


def resume_calls(
    received: Received, job: Job, past: Past, last_epoch: int, factor_of: Callable[[Model, str | None], Decimal]
) -> None:
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
