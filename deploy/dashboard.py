"""`python -m deploy.dashboard` writes the Grafana dashboard that the chart installs.

Every front door reports the same numbers of queues, slots and workers, so panels show their maximum, never their sum.
"""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_name("helm") / "rebootml/files/dashboards/rebootml.json"
COLUMNS, WIDTH, HEIGHT = 24, 8, 8


class Panel(NamedTuple):
    """One panel of the dashboard. `lines` are expressions, each with the name of its series."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]


def _rate(metric: str, by: str, matching: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{matching}[$__rate_interval]))"


def _stage(quantile: float, stage: str) -> tuple[str, str]:
    buckets = _rate("rebootml_stage_seconds_bucket", "le", f'{{stage="{stage}"}}')
    return f"histogram_quantile({quantile}, {buckets})", f"{stage} p{quantile * 100:g}"


def _usd(metric: str, by: str, matching: str = "") -> str:
    return f"sum by ({by}) (increase({metric}{matching}[1h])) / 1e9"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Requests": (
        Panel("Answers by status", "reqps", ((_rate("rebootml_http_requests_total", "status"), "{{status}}"),)),
        Panel("Answers by route", "reqps", ((_rate("rebootml_http_requests_total", "route"), "{{route}}"),)),
        Panel("Refusals by code", "reqps", ((_rate("rebootml_refusals_total", "code"), "{{code}}"),)),
        Panel("How requests ended", "reqps", ((_rate("rebootml_jobs_ended_total", "outcome"), "{{outcome}}"),)),
        Panel("Streams being relayed", "short", (("sum(rebootml_streams)", "streams"),)),
        Panel("Until the whole answer", "s", (_stage(0.5, "whole"), _stage(0.95, "whole"), _stage(0.99, "whole"))),
    ),
    "First tokens": (
        Panel(
            "Until the first event, for callers",
            "s",
            (_stage(0.5, "first_event"), _stage(0.95, "first_event"), _stage(0.99, "first_event")),
        ),
        Panel("Until the vendor's first token", "s", (_stage(0.5, "first_token"), _stage(0.95, "first_token"))),
        Panel(
            "Our part of it (95th percentile)",
            "s",
            tuple(_stage(0.95, stage) for stage in ("authenticate", "reserve", "enqueue", "queued")),
        ),
    ),
    "Queues": (
        Panel("Jobs that are due", "short", (('max by (queue) (rebootml_queue_jobs{state="due"})', "{{queue}}"),)),
        Panel("Jobs that run", "short", (('max by (queue) (rebootml_queue_jobs{state="leased"})', "{{queue}}"),)),
        Panel("Age of the oldest due job", "s", (("max by (queue) (rebootml_queue_oldest_seconds)", "{{queue}}"),)),
        Panel(
            "Slots wanted and there",
            "short",
            (
                ("max by (deployment) (rebootml_slots_wanted)", "wanted {{deployment}}"),
                ('max by (queue) (rebootml_slots{state="all"})', "there {{queue}}"),
            ),
        ),
        Panel("Free slots", "short", (('max by (queue) (rebootml_slots{state="free"})', "{{queue}}"),)),
        Panel(
            "Workers, and leases lost",
            "short",
            (
                ("max by (queue) (rebootml_workers)", "{{queue}}"),
                ("sum(increase(rebootml_leases_lost_total[$__rate_interval]))", "leases lost"),
            ),
        ),
    ),
    "Money": (
        Panel(
            "Charged in an hour, by model",
            "currencyUSD",
            ((_usd("rebootml_charged_nano_usd_total", "model"), "{{model}}"),),
        ),
        Panel(
            "Charged, cost and lost in an hour",
            "currencyUSD",
            ((_usd("rebootml_upstream_nano_usd_total", "kind"), "{{kind}}"),),
        ),
        Panel(
            "Settlements not committed",
            "short",
            (("sum by (instance) (rebootml_settlements_unsettled)", "{{instance}}"),),
        ),
        Panel("Tokens", "short", ((_rate("rebootml_tokens_total", "direction"), "{{direction}}"),)),
        Panel(
            "Lost to dearer tiers in an hour",
            "currencyUSD",
            ((_usd("rebootml_tier_loss_nano_usd_total", "served_tier"), "{{served_tier}}"),),
        ),
        Panel(
            "Facts to be looked at", "short", (("sum by (alert) (increase(rebootml_alerts_total[1h]))", "{{alert}}"),)
        ),
    ),
    "Upstreams": (
        Panel(
            "State: 0 closed, 1 rising, 2 half open, 3 open, 4 drained",
            "short",
            (("max by (upstream) (rebootml_upstream_state)", "{{upstream}}"),),
        ),
        Panel(
            "Calls by outcome",
            "reqps",
            ((_rate("rebootml_upstream_calls_total", "upstream, outcome"), "{{upstream}} {{outcome}}"),),
        ),
        Panel(
            "Calls by API", "reqps", ((_rate("rebootml_vendor_calls_total", "api, outcome"), "{{api}} {{outcome}}"),)
        ),
        Panel("Time of a call", "s", (_stage(0.5, "vendor"), _stage(0.95, "vendor"))),
        Panel(
            "Went on with another model",
            "reqps",
            ((_rate("rebootml_fallbacks_total", "model, outcome"), "{{model}} {{outcome}}"),),
        ),
        Panel("Upstreams that differ between workers", "short", (("max(rebootml_upstreams_differing)", "upstreams"),)),
    ),
    "Stores": (
        Panel(
            "Postgres: a reservation", "s", (_stage(0.5, "reserve"), _stage(0.95, "reserve"), _stage(0.99, "reserve"))
        ),
        Panel(
            "Redis: an entry in a queue",
            "s",
            (_stage(0.5, "enqueue"), _stage(0.95, "enqueue"), _stage(0.99, "enqueue")),
        ),
        Panel(
            "Rows of a micro-batch",
            "short",
            (
                (
                    f"{_rate('rebootml_batch_rows_sum', 'batch')} / {_rate('rebootml_batch_rows_count', 'batch')}",
                    "{{batch}}",
                ),
            ),
        ),
        Panel("Reads of journals", "reqps", (("sum(rate(rebootml_journal_reads_total[$__rate_interval]))", "reads"),)),
        Panel("Clocks ahead of the stores'", "s", (("rebootml_clock_ahead_seconds", "{{instance}} {{store}}"),)),
    ),
    "Batches": (
        Panel(
            "Lines due and running",
            "short",
            (('max by (queue, state) (rebootml_queue_jobs{queue=~".+:(batch|flex)"})', "{{queue}} {{state}}"),),
        ),
        Panel(
            "Slots wanted",
            "short",
            (('max by (deployment) (rebootml_slots_wanted{deployment=~".+:(batch|flex)"})', "{{deployment}}"),),
        ),
        Panel(
            "Running in workers",
            "short",
            (('sum by (queue) (rebootml_jobs_running{queue=~".+:(batch|flex)"})', "{{queue}}"),),
        ),
    ),
    "Processes": (
        Panel(
            "Memory",
            "bytes",
            (("process_resident_memory_bytes and on (instance, job) rebootml_streams", "{{instance}}"),),
        ),
        Panel(
            "CPU",
            "percentunit",
            (
                (
                    "rate(process_cpu_seconds_total[$__rate_interval]) and on (instance, job) rebootml_streams",
                    "{{instance}}",
                ),
            ),
        ),
        Panel("Open files", "short", (("process_open_fds and on (instance, job) rebootml_streams", "{{instance}}"),)),
        Panel("Bytes held, by budget", "bytes", (("sum by (budget) (rebootml_bytes_held)", "{{budget}}"),)),
        Panel(
            "Since the last claim and renewal",
            "s",
            (
                ("time() - (rebootml_last_claim_timestamp_seconds > 0)", "claim {{instance}}"),
                ("time() - (rebootml_last_renewal_timestamp_seconds > 0)", "renewal {{instance}}"),
            ),
        ),
    ),
}


def dashboard() -> dict[str, Any]:
    """The dashboard in Grafana's import form."""
    numbers, panels, y = count(1), [], 0
    for title, row in ROWS.items():
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        panels.append(
            {"id": next(numbers), "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        )
        y += 1
        for number, panel in enumerate(row):
            place = {
                "x": number * WIDTH % COLUMNS,
                "y": y + number * WIDTH // COLUMNS * HEIGHT,
                "w": WIDTH,
                "h": HEIGHT,
            }
            panels.append(_drawn(next(numbers), panel, place))
        y += -(-len(row) * WIDTH // COLUMNS) * HEIGHT
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "uid": "rebootml",
        "title": "RebootML",
        "tags": ["rebootml"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }


def _drawn(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    targets = [
        {"refId": chr(ord("A") + index), "datasource": source, "expr": expression, "legendFormat": legend}
        for index, (expression, legend) in enumerate(panel.lines)
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": targets,
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
