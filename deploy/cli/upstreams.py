"""`rebootml upstream …`: shows upstreams, and takes them out of service."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

import asyncpg

from deploy.cli.command import Answer, add_command
from deploy.cli.routing import asking_redis, heard_by_all
from deploy.cli.spans import span
from shared.queue import upstream_rows
from shared.queue.heard import upstream_drained
from shared.queue.upstream_rows import UpstreamDetails
from shared.queue.upstreams import UpstreamStates

STATES = {"closed": "serves", "open": "not called", "half open": "is tried", "rising": "recovers"}
"""Words for people: "closed" is a term of circuit breakers and sounds like the opposite."""
REASONS = {
    "failures": "its vendor fails",
    "credentials": "key refused",
    "credit": "no credit left",
    "operator": "an operator",
}


def add_upstream_commands(group: Any) -> None:  # noqa: ANN401 - argparse's own type is private
    """Add the commands `list`, `drain`, `enable` and `check`."""
    add_command(group, "list", _list, "every upstream that a living worker holds")
    for name, run, text in (
        (
            "drain",
            _drain,
            "let no call go there any more; what runs there goes on to its end; ends when all workers have heard of it",
        ),
        (
            "enable",
            _enable,
            "let calls go there again; one that is open is tried by the next call; ends when all workers have heard of it",
        ),
        ("check", _check, "have a worker call it once; exit status 1 when that fails"),
    ):
        add_command(group, name, run, text).add_argument("name")


async def _list(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    async with asking_redis(arguments.settings) as (client, scripts):
        return _shown(await upstream_rows.list_upstreams(pool, client, UpstreamStates(scripts, arguments.settings)))


async def _drain(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    async with asking_redis(arguments.settings) as (client, scripts):
        states = UpstreamStates(scripts, arguments.settings)
        rows = await upstream_rows.drain(pool, client, states, arguments.name)
    await heard_by_all(arguments, pool, upstream_drained(arguments.name, drained=True))
    return _shown(rows)


async def _enable(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    async with asking_redis(arguments.settings) as (client, scripts):
        states = UpstreamStates(scripts, arguments.settings)
        rows = await upstream_rows.enable(pool, client, states, arguments.name)
    await heard_by_all(arguments, pool, upstream_drained(arguments.name, drained=False))
    return _shown(rows)


async def _check(arguments: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    async with asking_redis(arguments.settings) as (client, scripts):
        states = UpstreamStates(scripts, arguments.settings)
        rows, outcome = await upstream_rows.check(pool, client, states, arguments.name)
    if outcome == upstream_rows.WELL:
        return _shown(rows)
    print(f"rebootml: {arguments.name}: {outcome}", file=sys.stderr)  # noqa: T201 - beside the document
    return _shown(rows, status=1)


def _shown(rows: list[UpstreamDetails], status: int = 0) -> Answer:
    now = datetime.now(UTC)
    return Answer([one.row() for one in rows], status, [_told(one, now) for one in rows])


def why_not_closed(row: UpstreamDetails) -> str | None:
    """The reason for which an upstream takes fewer calls than usual, or none, in words."""
    return REASONS.get(row.reason) or ("it throttles" if row.cooling_until else None)


def _told(row: UpstreamDetails, now: datetime) -> dict[str, object]:
    """A row for people: the most important column first, and states in plain words."""
    return {
        "name": row.name,
        "state": STATES.get(row.state, row.state),
        "why": why_not_closed(row),
        "for": span((now - row.since).total_seconds()) if row.since else None,
        "tried_in": span(max(0.0, (row.cooling_until - now).total_seconds())) if row.cooling_until else None,
        "calls": row.calls,
        "errors": row.errors,
        "provider": row.provider,
        "models": row.models,
    }
