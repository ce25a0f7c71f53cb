"""Charts of usage: bars whose heights are computed here and drawn as SVG by a template, without a script."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from api.console.shown import number, rough
from api.endpoints.usage import UsageAnswer, UsageGroup, UsageSums

BARS_MAX = 12
"""Most models or keys in a chart, the most expensive ones; the table has all."""


class Part(NamedTuple):
    """One part of a stacked bar, and the CSS class of its colour."""

    name: str
    shade: str


SPEND = (Part("charged", "p1"),)
TOKENS = (
    Part("uncached input", "p1"),
    Part("cached input", "p2"),
    Part("written to a cache", "p3"),
    Part("output", "p4"),
)
REQUESTS = (Part("succeeded", "p1"), Part("did not succeed", "bad"))


class Bar(NamedTuple):
    """`parts` are stacked, each in percent of the longest bar. `told` is the value in words."""

    label: str
    parts: tuple[float, ...]
    told: str


class Chart(NamedTuple):
    """One measure. `most` is the value of the longest bar."""

    title: str
    parts: tuple[Part, ...]
    bars: list[Bar]
    most: str
    total: str


class _Measured(NamedTuple):
    label: str
    spend: Decimal
    tokens: tuple[int, int, int, int]
    requests: tuple[int, int]


def charts_of(usage: UsageAnswer) -> list[Chart]:
    """Charts of spend, tokens and requests for a usage that is grouped by one thing."""
    by_day = usage.group_by == ("day",)
    measured = _every_day(usage) if by_day else _dearest(usage.rows)
    total = _measure("", usage.total)
    return [
        _chart("Spend", SPEND, [(one.label, (one.spend,)) for one in measured], _usd, total.spend),
        _chart("Tokens", TOKENS, [(one.label, one.tokens) for one in measured], _count, sum(total.tokens)),
        _chart("Requests", REQUESTS, [(one.label, one.requests) for one in measured], _count, sum(total.requests)),
    ]


def label_of(row: UsageGroup) -> str:
    """The day, model or key of a row."""
    if row.day:
        return row.day.isoformat()
    return row.model or row.key_name or row.key_id or ""


def _every_day(usage: UsageAnswer) -> list[_Measured]:
    known = {row.day: _measure(label_of(row), row) for row in usage.rows}
    days = (usage.first + timedelta(days=later) for later in range((usage.last - usage.first).days + 1))
    return [known.get(day) or _nothing(day) for day in days]


def _dearest(rows: Iterable[UsageGroup]) -> list[_Measured]:
    measured = [_measure(label_of(row), row) for row in rows]
    return sorted(measured, key=lambda one: (one.spend, sum(one.tokens)), reverse=True)[:BARS_MAX]


def _measure(label: str, row: UsageSums) -> _Measured:
    uncached = row.tokens_input - row.tokens_cached - row.tokens_cache_written
    tokens = (uncached, row.tokens_cached, row.tokens_cache_written, row.tokens_output)
    return _Measured(label, Decimal(row.charged_usd), tokens, (row.requests - row.failed, row.failed))


def _nothing(day: date) -> _Measured:
    return _Measured(day.isoformat(), Decimal(0), (0, 0, 0, 0), (0, 0))


def _chart(
    title: str,
    parts: tuple[Part, ...],
    values: Sequence[tuple[str, tuple[Decimal | int, ...]]],
    told: Callable[[Decimal | int], str],
    total: Decimal | int,
) -> Chart:
    most = max((sum(value) for _, value in values), default=0)
    bars = [Bar(label, _percents(value, most), told(sum(value))) for label, value in values]
    return Chart(title, parts, bars, told(most), told(total))


def _percents(value: tuple[Decimal | int, ...], most: Decimal | int) -> tuple[float, ...]:
    return tuple(round(100 * float(part) / float(most), 2) if most else 0.0 for part in value)


def _usd(amount: Decimal | int) -> str:
    """The amount, rounded; the table has all digits."""
    return rough(f"{amount:f}")


def _count(value: Decimal | int) -> str:
    return number(int(value))
