"""Logs and counts how a request ended: ids, counts and times, never a text."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog

from shared.errors import OperatorCredentials, ProviderRejected, RebootError
from shared.job import Done, Failed, Job
from shared.ledger.settlement import Settlement
from shared.queue.upstreams import AccountRefused
from shared.runtime import traces
from shared.runtime.metrics import (
    CHARGED_NANO_USD,
    FALLBACKS,
    JOBS_ENDED,
    TIER_LOSS_NANO_USD,
    TOKENS,
    UPSTREAM_NANO_USD,
)
from workers.lost_calls import UNKNOWN, report_lost_calls
from workers.providers.wire.vendor_errors import AboveAccountLimit, Redirected

log = structlog.get_logger(__name__)


def report_end(job: Job, event: Done | Failed, settlement: Settlement, took_s: float) -> None:
    """Write one log line and update the counters."""
    code = event.finish_reason if isinstance(event, Done) else event.error.code
    traces.note({"rebootml.outcome": code})
    if isinstance(event, Failed):
        traces.fail(code)
    facts: dict[str, Any] = {
        "model": job.model.name,
        "state": settlement.state,
        "code": code,
        "charged_nano": event.charged_nano,
        "attempts": settlement.calls,
        "upstream": settlement.upstream,
        "took_s": round(took_s, 4),
    }
    if event.usage:
        facts |= msgspec.to_builtins(event.usage)
        TOKENS.labels(job.model.name, "input").inc(event.usage.input)
        TOKENS.labels(job.model.name, "output").inc(event.usage.output)
    JOBS_ENDED.labels(job.model.name, code).inc()
    CHARGED_NANO_USD.labels(job.model.name).inc(event.charged_nano)
    _count_costs(event, settlement)
    if settlement.charge_nano > job.hold_nano:
        overrun_nano = settlement.charge_nano - job.hold_nano
        log.error("vendor reports more than was held", alert=True, model=job.model.name, overrun_nano=overrun_nano)
    if settlement.tier_loss_nano:
        TIER_LOSS_NANO_USD.labels(job.model.name, settlement.served_tier).inc(settlement.tier_loss_nano)
        lost = {"served_tier": settlement.served_tier, "loss_nano": settlement.tier_loss_nano}
        log.warning("vendor served at a dearer tier", model=job.model.name, **lost)
    log.info("request finished" if isinstance(event, Done) else "request failed", **facts)


def _count_costs(event: Done | Failed, settlement: Settlement) -> None:
    upstream = settlement.upstream or UNKNOWN
    UPSTREAM_NANO_USD.labels(upstream, "charged").inc(event.charged_nano)
    UPSTREAM_NANO_USD.labels(upstream, "cost").inc(settlement.vendor_cost_nano)
    report_lost_calls(settlement.id, settlement.lost_calls or ())


def report_fallback(job: Job, moved: Job, error: RebootError) -> None:
    """Write one log line and update the counter."""
    FALLBACKS.labels(job.model.name, error.code).inc()
    log.info("model failed, next one asked", model=job.model.name, code=error.code, next=moved.model.name)


def alert_operator(job: Job, error: RebootError) -> None:
    """Alert an operator if only an operator can help: the vendor refuses the account or redirects, or this service
    asked wrongly. The reason contains the vendor's identifiers, never its text.
    """
    if isinstance(error, Redirected):
        log.error("vendor's address leads to another one", alert=True, api=job.model.api)
    elif isinstance(error, AboveAccountLimit):
        log.error("vendor's limit of tokens a minute is below one request", alert=True, model=job.model.name)
    elif isinstance(error, OperatorCredentials) and not isinstance(error, AccountRefused):
        log.error("vendor refuses the operator's credentials", alert=True, api=job.model.api)
    elif isinstance(error, ProviderRejected):
        facts = {"api": job.model.api, "model": job.model.name, "reason": error.message}
        log.error("vendor refuses a request for a reason that is not known", alert=True, **facts)
