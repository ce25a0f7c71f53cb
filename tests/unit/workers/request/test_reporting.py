from __future__ import annotations

from datetime import UTC, datetime

import pytest
import structlog
from prometheus_client import REGISTRY

from shared.errors import ContextLengthExceeded, InvalidRequest, ProviderBusy, ProviderError, RebootError
from shared.job import Chunk
from shared.money import NanoUsd, Usage
from shared.queue.upstreams import AccountRefused
from shared.runtime.telemetry import count_alerts
from tests.harness.builders import a_job
from workers.providers.wire import vendor_errors
from workers.request.billing import Received, succeeded
from workers.request.reporting import alert_operator, report_end


def counted(event: str) -> float:
    return REGISTRY.get_sample_value("rebootml_alerts_total", {"alert": event}) or 0.0


def test_every_line_that_alerts_is_counted_under_its_event() -> None:
    for alert in (True, True, False):
        count_alerts(None, "error", {"event": "something rare", "alert": alert})
    assert counted("something rare") == 2


def test_an_address_that_leads_to_another_one_alerts_by_its_own_name() -> None:
    with structlog.testing.capture_logs() as lines:
        alert_operator(a_job(), vendor_errors.redirected())
        alert_operator(a_job(), vendor_errors.credentials())
    assert [(line["event"], line["alert"]) for line in lines] == [
        ("vendor's address leads to another one", True),
        ("vendor refuses the operator's credentials", True),
    ]


def test_what_a_vendor_reports_beyond_the_hold_alerts_and_is_not_charged() -> None:
    job = a_job(hold_nano=NanoUsd(10))
    received = Received(called=True, text_bytes=4, reported=Usage(1_000, 1_000))
    event, settlement = succeeded(job, received, "stop", [Chunk("text")], datetime.now(UTC))
    with structlog.testing.capture_logs() as lines:
        report_end(job, event, settlement, 0.1)
    (alert,) = [line for line in lines if line.get("alert")]
    assert alert["overrun_nano"] == settlement.charge_nano - 10
    assert event.charged_nano == 10


@pytest.mark.parametrize("error", [vendor_errors.credentials(), vendor_errors.rejected("HTTP 400", "invalid_value")])
def test_what_only_the_operator_can_mend_alerts(error: RebootError) -> None:
    with structlog.testing.capture_logs() as lines:
        alert_operator(a_job(), error)
    assert [line["alert"] for line in lines] == [True]


@pytest.mark.parametrize("kind", [InvalidRequest, ContextLengthExceeded, ProviderBusy, ProviderError, AccountRefused])
def test_what_callers_and_vendors_do_wrong_or_has_been_told_before_alerts_nobody(kind: type[RebootError]) -> None:
    with structlog.testing.capture_logs() as lines:
        alert_operator(a_job(), kind("No."))
    assert lines == []
