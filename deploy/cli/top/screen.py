"""The live view of `rebootml top`: figures every second, fitted to the terminal."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

import asyncpg
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Footer, Sparkline, Static

from deploy.cli.spans import short, span
from deploy.cli.top import drawing
from shared.errors import Unavailable
from shared.stores import postgres, redis_client

if TYPE_CHECKING:
    from deploy.cli.top.figures import Figures, Source

EVERY_S = 1.0
REMEMBERED = 60
WIDE_FROM = 120
BESIDE = 4
"""Columns beside the text of a panel: padding and the scroll bar."""
ERROR, WARNING = "white on $error", "black on $warning"
BETWEEN = "  ·  "
LIGHT, DARK = "textual-light", "textual-dark"
AWAY = (Unavailable, asyncpg.PostgresError, *postgres.UNREACHABLE, *redis_client.UNREACHABLE)


class Tile(Static):
    """One number with its history of the last minute."""

    def __init__(self, title: str, tile_id: str) -> None:
        super().__init__(id=tile_id)
        self._title = title
        self._seen: deque[float] = deque([0.0] * REMEMBERED, maxlen=REMEMBERED)

    def compose(self) -> ComposeResult:
        """The number above its line."""
        yield Static(classes="figure")
        yield Sparkline(list(self._seen), summary_function=max)

    def show(self, value: float, beside: str = "") -> None:
        """Show the value of the next second."""
        self._seen.append(value)
        shown = ((short(value), "bold"), (beside, drawing.QUIET))
        self.query_one(".figure", Static).update(Content.assemble((f"{self._title}  ", "$text-accent"), *shown))
        self.query_one(Sparkline).data = list(self._seen)


class Top(App[None]):
    """Reads `source` every second. While a store is away the last snapshot stays, and the first line says so."""

    TITLE = "rebootml top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [("q", "quit", "Quit"), ("d", "light_or_dark", "Light or dark")]
    CSS = """
    #headline { height: 1; padding: 0 1; background: $panel; }
    #tiles { height: 3; margin: 0 1; }
    Tile { width: 1fr; height: 100%; margin-right: 2; }
    .figure { height: 1; text-wrap: nowrap; }
    Tile Sparkline { height: 1fr; width: 100%; }
    Sparkline > .sparkline--min-color { color: $primary-muted; }
    Sparkline > .sparkline--max-color { color: $primary; }
    .panel { height: auto; padding: 0 1; border-top: solid $foreground 20%; text-wrap: nowrap; }
    .panel { border-title-color: $text-accent; border-title-style: bold; }
    #body { height: 1fr; scrollbar-size-vertical: 1; }
    #pair { height: auto; }
    #pair .panel { width: 2fr; }
    #pair #queues { width: 3fr; }
    .-narrow #pair { layout: vertical; }
    .-wide #tiles { height: 6; margin: 1; }
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE_FROM, "-wide")]
        self._source = source
        self._seen: dict[str, deque[float]] = {}

    def compose(self) -> ComposeResult:
        """The first line, four numbers, and their details."""
        yield Static("", id="headline")
        with Horizontal(id="tiles"):
            yield Tile("Requests/s", "requests")
            yield Tile("Tokens/s", "tokens")
            yield Tile("USD/min", "charged")
            yield Tile("Running", "running")
        with VerticalScroll(id="body"):
            yield _panel("vendors", "Vendors")
            yield _panel("upstreams", "Upstreams")
            with Horizontal(id="pair"):
                yield _panel("queues", "Queues")
                yield _panel("money", "Money")
            yield _panel("workers", "Workers")
        yield Footer()

    def on_mount(self) -> None:
        """Look at once, then every second."""
        self.theme = DARK
        self.set_interval(EVERY_S, self._look)
        self._look()

    def action_light_or_dark(self) -> None:
        """Switch between the light and the dark theme."""
        self.theme = LIGHT if self.theme == DARK else DARK

    def _look(self) -> None:
        if not any(worker.group == "look" and worker.is_running for worker in self.workers):  # a store may be slow
            self.run_worker(self._read(), group="look")

    async def _read(self) -> None:
        try:
            figures = await self._source.read()
        except AWAY as error:
            self._say_away(error)
        else:
            self._show(figures)

    def _say_away(self, error: Exception) -> None:
        reason = error.message if isinstance(error, Unavailable) else type(error).__name__
        said = Content.assemble((" AWAY ", "bold white on $error"), f"  a store does not answer: {reason}")
        self.query_one("#headline", Static).update(said)

    def _show(self, figures: Figures) -> None:
        rates = figures.rates
        self.query_one("#headline", Static).update(_headline(figures, self.size.width))
        self._tile("requests").show(rates.requests_per_s)
        self._tile("tokens").show(rates.tokens_per_s)
        self._tile("charged").show(rates.usd_per_min)
        self._tile("running").show(figures.slots_running, f" of {figures.slots}")
        for vendor in figures.vendors:
            seen = self._seen.setdefault(vendor.name, deque(maxlen=REMEMBERED))
            seen.append(vendor.rates.requests_per_s)
        wide = self.size.width >= WIDE_FROM
        room = self.size.width - BESIDE
        self._fill("vendors", drawing.vendors(figures.vendors, dict(self._seen), figures.at, room=room))
        self._fill("upstreams", drawing.upstreams(figures.upstreams, figures.at, wide=wide))
        self._fill("queues", drawing.queues(figures.queues))
        self._fill("workers", drawing.workers(figures.workers, figures.at, room=room))
        self._fill("money", drawing.money(figures, wide=wide))

    def _tile(self, name: str) -> Tile:
        return self.query_one(f"#{name}", Tile)

    def _fill(self, name: str, content: Content) -> None:
        self.query_one(f"#{name}", Static).update(content)


def _panel(name: str, title: str) -> Static:
    panel = Static(id=name, classes="panel")
    panel.border_title = title
    return panel


def _headline(figures: Figures, width: int) -> Content:
    """One word for the state of everything, and the number to scale by; as much as fits, the time last."""
    word, style = _state(figures)
    first_s = figures.times.first_token_p95_s
    facts = [
        Content(f"{len(figures.workers)} worker{'s' * (len(figures.workers) != 1)}"),
        Content(f"{figures.slots_running} of {figures.slots} slots run, {figures.slots_wanted} wanted"),
        *([Content(f"first token p95 {span(first_s)}")] if first_s is not None else []),
        Content(_local(figures.at)),
    ]
    if failed := figures.rates.failed_per_s:
        facts.insert(2, Content.styled(f"{short(failed)} fail/s", "$text-error"))
    text = Content.assemble((f" {word} ", f"bold {style}"), "  ", facts[0])
    for fact in facts[1:]:
        if len(text) + len(fact) + len(BETWEEN) <= width - 2:
            text += Content(BETWEEN) + fact
    return text


def _state(figures: Figures) -> tuple[str, str]:
    """The worst state that applies."""
    vendors = {vendor.state for vendor in figures.vendors}
    waits_s = max((vendor.oldest_age_s for vendor in figures.vendors if vendor.state != "paused"), default=0.0)
    worst_first = (
        (not figures.slots, "NO WORKER", ERROR),  # no worker lives, or all of them drain
        ("open" in vendors, "OPEN", ERROR),
        (waits_s > drawing.LATE_S, "LATE", ERROR),
        (any(one.state in {"open", "half open"} for one in figures.upstreams), "DEGRADED", WARNING),
        (not vendors.isdisjoint({"paused", "drained"}), "PAUSED", WARNING),
        (waits_s > drawing.SLOW_S, "BUSY", WARNING),
    )
    return next(((word, style) for holds, word, style in worst_first if holds), ("WELL", "black on $success"))


def _local(at: datetime) -> str:
    return f"{at.astimezone():%H:%M:%S}"
