"""The command `rebootml top`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from typing import Any

import asyncpg
from msgspec.structs import asdict

from deploy.cli.command import Answer, add_command
from deploy.cli.routing import asking_redis
from deploy.cli.top.figures import Figures, Source
from shared.catalogue.models import load_catalogue
from shared.settings import Settings

BETWEEN_S = 1.0
"""Seconds between the two looks of a snapshot."""


def add_top_command(groups: Any) -> None:  # noqa: ANN401 - argparse's own type is private
    """Add the command `top`."""
    add_command(groups, "top", _top, "queues, workers, vendors and money, live; without a terminal one picture")


async def _top(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    settings: Settings = arguments.settings
    catalogue = load_catalogue(settings.catalogue_overlay, settings.price_factor)
    async with asking_redis(settings) as (client, scripts):
        source = Source(pool, client, scripts, catalogue, settings)
        if sys.stdout.isatty() and not arguments.as_json:
            from deploy.cli.top.screen import Top  # noqa: PLC0415 - no other command needs what draws on terminals

            await Top(source).run_async()
            return Answer(None)
        await source.read()
        await asyncio.sleep(BETWEEN_S)
        figures = await source.read()
    return Answer(figures, shown=_tables(figures))


def _tables(figures: Figures) -> Mapping[str, Any]:
    rates = (
        asdict(figures.rates)
        | asdict(figures.times)
        | {
            "slots_running": figures.slots_running,
            "slots": figures.slots,
            "slots_wanted": figures.slots_wanted,
        }
    )
    return {
        "NOW": [rates],
        "VENDORS": [_flat(asdict(vendor)) for vendor in figures.vendors],
        "UPSTREAMS": figures.upstreams,
        "QUEUES": figures.queues,
        "WORKERS": figures.workers,
        "MONEY": [figures.money],
    }


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row in which rates and times stand among the other figures."""
    rates, times = row.pop("rates"), row.pop("times")
    return row | asdict(rates) | asdict(times)
