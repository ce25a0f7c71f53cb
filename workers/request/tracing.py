"""A worker's spans: the time that a job waited, each run of the job, and each call of a vendor.

Spans are made only for jobs that a front door has traced, so lines of batches have none. Attributes have the names of
OpenTelemetry's semantic conventions 1.41 if these define one (docs/operations/TRACES.md lists all).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import structlog
from arq import Retry

from shared.lanes import short_name
from shared.runtime import traces
from shared.vendors import VENDORS

if TYPE_CHECKING:
    from shared.catalogue.models import Model
    from shared.job import Job
    from shared.money import Usage
    from shared.queue.claims import Claim
    from workers.request.billing import Received
    from workers.upstreams.routes import Route

NS_PER_MS = 1_000_000
_UNTRACED = nullcontext()


def run_span(job: Job, claim: Claim) -> AbstractContextManager[None]:
    """A context around one run of a job. It makes two spans under the front door's span: one for the time in the queue, one
    for the run. A later run, after a worker died or gave the job back, makes two more.
    """
    return _run_span(job, claim) if job.traceparent and traces.is_on() else _UNTRACED


@contextmanager
def _run_span(job: Job, claim: Claim) -> Iterator[None]:
    told: traces.Attributes = {
        "rebootml.request_id": job.id,
        "rebootml.queue": short_name(claim.queue),
        "rebootml.epoch": claim.epoch,
        "gen_ai.request.model": job.model.name,
    }
    traces.past("queue wait", job.traceparent, claim.due_ms * NS_PER_MS, told)
    with (
        traces.span("run request", "consumer", job.traceparent, told, fine=(Retry,)) as span,
        structlog.contextvars.bound_contextvars(trace_id=span.trace_id),
    ):
        try:
            yield
        except Retry:
            span.note({"rebootml.outcome": "deferred"})
            raise


@contextmanager
def vendor_span(job: Job, route: Route, received: Received) -> Iterator[None]:
    """A context around one call of a vendor. It makes a span under the span of the run, if there is one."""
    model: Model = route.model
    told: traces.Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": VENDORS[model.provider].traced_as,
        "gen_ai.request.model": model.vendor_model,
        "gen_ai.request.max_tokens": job.output_limit,
        "rebootml.upstream": route.name,
        "rebootml.api": model.api,
        "rebootml.attempt": received.calls,
    }
    with traces.span(f"chat {model.vendor_model}", "client", traces.traceparent(), told) as span:
        try:
            yield
        finally:
            if received.reported:
                span.note(_usage(received.reported))


def _usage(usage: Usage) -> traces.Attributes:
    return {
        "gen_ai.usage.input_tokens": usage.input,
        "gen_ai.usage.output_tokens": usage.output,
        "gen_ai.usage.cache_read.input_tokens": usage.cached,
        "gen_ai.usage.cache_creation.input_tokens": usage.written,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
    }
