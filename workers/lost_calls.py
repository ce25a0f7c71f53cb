"""Logs and counts calls that vendors bill and nobody is charged for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog

from shared.runtime.metrics import UPSTREAM_NANO_USD

if TYPE_CHECKING:
    from shared.ledger.settlement import LostCall

log = structlog.get_logger(__name__)
UNKNOWN = "unknown"


def report_lost_calls(request_id: str, calls: Iterable[LostCall]) -> None:
    """Write a log line for each call, and count its cost."""
    for call in calls:
        UPSTREAM_NANO_USD.labels(call.upstream or UNKNOWN, "lost").inc(call.cost_nano)
        facts = {"upstream": call.upstream, "model": call.model, "reason": call.reason, "lost_nano": call.cost_nano}
        log.warning("vendor call lost", request_id=request_id, call=call.number, **facts)
