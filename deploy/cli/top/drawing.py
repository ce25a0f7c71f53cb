"""Draws figures as rows of text in Textual's markup, with colours of the theme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from textual.content import Content

from deploy.cli.spans import short, span
from deploy.cli.top.figures import Figures, Times, VendorFigures, WorkerFigures
from deploy.cli.upstreams import STATES, why_not_closed
from shared.queue.routing import QueueRow
from shared.queue.upstream_rows import UpstreamDetails

BARS = "▁▂▃▄▅▆▇█"
SLOW_S, LATE_S = 2.0, 10.0
"""A job that waits longer than `SLOW_S` is highlighted; longer than `LATE_S` is an alarm."""
STYLES = {
    "serving": "$text-success",
    "paused": "$text-warning bold",
    "no worker": "$text-error bold",
    "draining": "$text-warning",
    "closed": "$text-success",
    "rising": "$text-warning",
    "half open": "$text-warning bold",
    "open": "$text-error bold",
    "drained": "$text-warning",
}
QUIET = "dim"
BARS_MIN, BARS_MAX = 11, 30
WIDE_FROM = 116
"""Columns of the terminal from which vendors show more."""


class Cell(NamedTuple):
    """Text in one style; an empty style is the usual one."""

    text: str
    style: str = ""


Row = Sequence[Cell]


class Column(NamedTuple):
    """A column of the table; numbers are right-aligned."""

    title: str
    is_number: bool = False


def of_numbers(title: str) -> Column:
    """A column of numbers."""
    return Column(title, is_number=True)


def rows_of(columns: Sequence[Column], rows: Sequence[Row]) -> Content:
    """The lines; each column is as wide as its widest cell."""
    head = [Cell(column.title, "$text-accent") for column in columns]
    lines = [head, *rows]
    widths = [max(len(line[place].text) for line in lines) for place in range(len(columns))]
    return Content("\n").join(_line(columns, widths, line) for line in lines)


def _line(columns: Sequence[Column], widths: Sequence[int], cells: Row) -> Content:
    padded = [
        (cell.text.rjust(width) if column.is_number else cell.text.ljust(width), cell.style)
        for column, width, cell in zip(columns, widths, cells, strict=True)
    ]
    return Content("  ").join(Content.styled(text, style) for text, style in padded)


def bars(values: Iterable[float], width: int, most: float) -> str:
    """The last `width` values as bars; `most` is the full height."""
    last = list(values)[-width:]
    drawn = "".join(
        BARS[min(len(BARS) - 1, int(value / most * len(BARS)))] if most and value else " " for value in last
    )
    return drawn.rjust(width)


def vendors(rows: Sequence[VendorFigures], seen: dict[str, Sequence[float]], now: datetime, *, room: int) -> Content:
    """One line per vendor; with more room it shows more, and the last minute."""
    wide = room >= WIDE_FROM
    columns = [
        *(Column("vendor"), Column("state"), of_numbers("ready"), of_numbers("run"), of_numbers("oldest")),
        *(of_numbers("req/s"), of_numbers("tok/s")),
        *(map(of_numbers, ("fail/s", "USD/min", "wanted")) if wide else ()),
        *map(of_numbers, (("wait p50/p95", "first p50/p95") if wide else ("wait95", "first95"))),
    ]
    lines = [_vendor(row, now, wide=wide) for row in rows]
    table = rows_of(columns, lines)
    width = min(BARS_MAX, room - len(table.plain.partition("\n")[0]) - 2)
    if width < BARS_MIN:
        return table
    most = max((value for values in seen.values() for value in values), default=0.0)
    drawn = [Cell(bars(seen[row.name], width, most), "$text-primary") for row in rows]
    return rows_of([*columns, Column("last minute")], [[*line, bar] for line, bar in zip(lines, drawn, strict=True)])


def _vendor(row: VendorFigures, now: datetime, *, wide: bool) -> list[Cell]:
    rates = row.rates
    failed = number(rates.failed_per_s)
    more = (
        failed._replace(style="$text-error") if rates.failed_per_s else failed,
        number(rates.usd_per_min),
        number(row.slots_wanted),
    )
    return [
        Cell(row.name, "bold"),
        Cell(_since(row.state, row.since, now), STYLES[row.state]),
        number(row.ready),
        number(row.running),
        age(row.oldest_age_s),
        number(rates.requests_per_s),
        number(rates.tokens_per_s),
        *(more if wide else ()),
        *(_both(row.times) if wide else (took(row.times.wait_p95_s), took(row.times.first_token_p95_s))),
    ]


def _both(times: Times) -> Iterable[Cell]:
    for p50, p95 in ((times.wait_p50_s, times.wait_p95_s), (times.first_token_p50_s, times.first_token_p95_s)):
        yield took(p95)._replace(text=f"{took(p50).text} / {took(p95).text}") if p95 is not None else took(None)


def upstreams(rows: Sequence[UpstreamDetails], now: datetime, *, wide: bool) -> Content:
    """One line per upstream; with little room only those that do not take all calls."""
    shown = [row for row in rows if wide or row.state != "closed" or row.cooling_until]
    if not shown:
        return Content.styled(f"All {len(rows)} take calls." if rows else "No worker holds any.", QUIET)
    columns = [
        *(Column("upstream"), Column("vendor"), Column("state"), Column("why")),
        *map(of_numbers, ("tried in", "calls", "errors")),
    ]
    return rows_of(
        columns,
        [
            [
                Cell(row.name[:24], "bold"),
                Cell(row.provider),
                Cell(_since(STATES.get(row.state, row.state), row.since, now), STYLES[row.state]),
                Cell(why_not_closed(row) or ""),
                Cell(span((row.cooling_until - now).total_seconds()) if row.cooling_until else "-"),
                number(row.calls),
                number(row.errors),
            ]
            for row in shown
        ],
    )


def queues(rows: Sequence[QueueRow]) -> Content:
    """One line per queue that is not empty."""
    busy = [row for row in rows if row.ready or row.running or row.deferred or row.paused]
    if not busy:
        return Content.styled("Nothing waits and nothing runs.", QUIET)
    columns = [
        Column("queue"),
        *(of_numbers(name) for name in ("ready", "running", "deferred", "oldest")),
        Column(""),
    ]
    return rows_of(
        columns,
        [
            [
                Cell(row.name, "bold"),
                number(row.ready),
                number(row.running),
                number(row.deferred),
                age(row.oldest_age_s),
                Cell("paused", STYLES["paused"]) if row.paused else Cell(""),
            ]
            for row in busy
        ],
    )


def workers(rows: Sequence[WorkerFigures], now: datetime, *, room: int) -> Content:
    """One line per worker, busiest first, with the whole id where there is room, because `worker drain` takes that."""
    if not rows:
        return Content.styled("No worker is alive: requests wait, and are refused after a while.", STYLES["no worker"])
    columns = [Column("worker"), Column("host"), of_numbers("slots"), Column("load"), Column("state")]
    lines = [
        [
            Cell(row.id, "bold"),
            Cell(row.host[:20] or "-"),
            Cell(f"{row.running}/{row.slots}"),
            Cell(gauge(row.running, row.slots, 10), "$text-primary"),
            _serves(row, now),
        ]
        for row in sorted(rows, key=lambda one: (-one.running, one.id))
    ]
    table = rows_of(columns, lines)
    if len(table.plain.partition("\n")[0]) <= room:
        return table
    return rows_of(columns, [[Cell(f"…{line[0].text[-8:]}", "bold"), *line[1:]] for line in lines])


def _serves(row: WorkerFigures, now: datetime) -> Cell:
    state = "draining" if row.draining else "serving"
    return Cell(_since(state, row.since, now), STYLES[state])


def money(figures: Figures, *, wide: bool) -> Content:
    """The sums of all accounts: one line per sum, or one line in all."""
    sums = figures.money
    pairs = [
        ("today", _usd(sums.charged_today_usd)),
        ("held", _usd(sums.held_usd)),
        ("available", _usd(sums.available_usd)),
        ("in flight", f"{sums.requests_in_flight:,}"),
    ]
    if not wide:
        return Content("   ").join(Content.styled(f"{name} ", QUIET) + Content(value) for name, value in pairs)
    pairs += [
        ("balance", _usd(sums.balance_usd)),
        ("requests today", f"{sums.requests_today:,}"),
        ("accounts", f"{sums.accounts:,}"),
    ]
    names, values = (max(len(pair[place]) for pair in pairs) for place in (0, 1))
    lines = [Content.styled(name.ljust(names), QUIET) + Content(f"  {value.rjust(values)}") for name, value in pairs]
    return Content("\n").join(lines)


def number(value: float) -> Cell:
    """A short number, dimmed if it is zero."""
    return Cell(short(value), "" if value else QUIET)


def age(seconds: float) -> Cell:
    """The waiting time of the oldest job."""
    if not seconds:
        return Cell("-", QUIET)
    style = "$text-error bold" if seconds > LATE_S else "$text-warning" if seconds > SLOW_S else ""
    return Cell(span(seconds), style)


def took(seconds: float | None) -> Cell:
    """A time in the queue, or until the first token."""
    return Cell("-", QUIET) if seconds is None else age(seconds)


def _since(state: str, since: datetime | None, now: datetime) -> str:
    return f"{state} {span((now - since).total_seconds())}" if since else state


def gauge(value: int, most: int, width: int) -> str:
    """A bar that is full at `most`.

    >>> gauge(5, 10, 4)
    '██░░'
    """
    full = min(width, round(width * value / most)) if most else 0
    return "█" * full + "░" * (width - full)


def _usd(text: str) -> str:
    """Dollars and cents; amounts below a cent in full."""
    value = float(text)
    return f"{value:,.2f} USD" if abs(value) >= 0.01 or not value else f"{value:.6f} USD"  # noqa: PLR2004 - a cent
