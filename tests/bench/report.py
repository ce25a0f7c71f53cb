"""What was measured: medians of the repeats, as a table for people and as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.bench.workloads import Outcome

HEADINGS = (
    "",
    "A p50 ms",
    "B req/s",
    "C streams/s",
    "D first token p50 / p99 ms",
    "D off pace",
    "CPU ms A / B / C / D",
    "MB",
)


class Row(msgspec.Struct, kw_only=True):
    """One target: outcomes by workload, memory after the last one in MB by process; `why_not` when it did not run."""

    name: str
    note: str = ""
    outcomes: dict[str, list[Outcome]] = {}
    memory_mb: dict[str, float] = {}
    why_not: str = ""

    def median(self, workload: str) -> Outcome | None:
        """The repeats' median, figure by figure; None when one failed or none ran."""
        outcomes = self.outcomes.get(workload, [])
        if not outcomes or any(outcome.error for outcome in outcomes):
            return None
        return median_of(outcomes)


def median_of(outcomes: Sequence[Outcome]) -> Outcome:
    """Figure by figure; a repeat in which nothing was answered has a rate of 0 and no times."""
    answered = [outcome for outcome in outcomes if outcome.answers] or outcomes
    figures = {
        name: statistics.median(getattr(one, name) for one in (outcomes if name == "per_s" else answered))
        for name in Outcome.__struct_fields__
        if name not in {"answers", "late", "cpu_ms", "error"}
    }
    costs = [outcome.cpu_ms for outcome in answered if outcome.cpu_ms]
    cpu_ms = {name: statistics.median(cost[name] for cost in costs) for name in (costs[0] if costs else ())}
    counts = {name: sum(getattr(outcome, name) for outcome in outcomes) for name in ("answers", "late")}
    return Outcome(cpu_ms=cpu_ms, **figures, **counts)


def machine() -> dict[str, str]:
    """What it was measured on."""
    models = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def table(rows: Sequence[Row], about: dict[str, str]) -> str:
    """Lines of text, aligned; below them what each process took, and what could not be run and why."""
    cells = [HEADINGS, *(_cells(row) for row in rows if not row.why_not)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    lines += ["", *(line for row in rows for line in _processes(row))]
    lines += [f"{row.name}: not measured: {row.why_not}" for row in rows if row.why_not]
    lines += [f"{row.name}: {error}" for row in rows for error in _errors(row)]
    lines += ["", ", ".join(f"{name} {value}" for name, value in about.items())]
    return "\n".join(lines)


def write(path: Path, rows: Sequence[Row], about: dict[str, str]) -> None:
    """Everything, repeats and medians."""
    medians = {row.name: {name: row.median(name) for name in row.outcomes} for row in rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": about, "medians": medians, "rows": rows}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1))


def _cells(row: Row) -> tuple[str, ...]:
    a, b, c, d = (row.median(workload) for workload in "ABCD")
    costs = [f"{sum(outcome.cpu_ms.values()):.2f}" if outcome else "–" for outcome in (a, b, c, d)]
    return (
        f"{row.name} ({row.note})" if row.note else row.name,
        f"{a.whole_ms_p50:.2f}" if a else "–",
        f"{b.per_s:,.0f}{_bound(b)}" if b else "–",
        f"{c.per_s:,.0f}{_bound(c)}" if c else "–",
        f"{d.first_ms_p50:,.0f} / {d.first_ms_p99:,.0f}" if d and d.answers else "–",
        f"{d.late} of {d.answers}, latest {d.latest_ms:+,.0f} ms" if d and d.answers else "–",
        " / ".join(costs) if row.memory_mb else "",
        f"{sum(row.memory_mb.values()):,.0f}" if row.memory_mb else "",
    )


def _bound(outcome: Outcome) -> str:
    """A star where mock and callers had no time left, so that the figure is theirs."""
    return "*" if outcome.load_core_busy > 0.95 else ""


def _processes(row: Row) -> list[str]:
    """Where a request's CPU time goes, for targets of several processes."""
    if len(row.memory_mb) < 2:
        return []
    lines = [f"{row.name}, CPU ms per answer, and MB:"]
    for name, megabytes in row.memory_mb.items():
        medians = [(workload, row.median(workload)) for workload in row.outcomes]
        costs = "  ".join(f"{workload} {m.cpu_ms[name]:6.2f}" for workload, m in medians if m)
        lines.append(f"  {name:<9} {costs}   {megabytes:5.0f} MB")
    return lines


def _errors(row: Row) -> list[str]:
    return [
        f"{workload} failed: {outcome.error}"
        for workload, outcomes in row.outcomes.items()
        for outcome in outcomes
        if outcome.error
    ]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
