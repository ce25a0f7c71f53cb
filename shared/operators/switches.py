"""The parts that operators have taken out of service: paused vendors, draining workers and drained upstreams.

The switches are in Postgres, so that neither a loss of Redis nor a restart undoes them. Workers read them every
`HEARTBEAT_S`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import asyncpg

from shared.errors import NotFound
from shared.operators.audit import Author, note
from shared.settings import TURN_TIMEOUT_S
from shared.stores.postgres import Connection, load_queries
from shared.stores.turns import in_turn
from shared.vendors import PROVIDERS

SQL = load_queries("switches")
Kind = Literal["provider", "worker", "upstream"]


class SwitchedOff(NamedTuple):
    """The names of paused vendors, the ids of draining workers, and the names of drained upstreams."""

    paused: frozenset[str]
    draining: frozenset[str]
    drained: frozenset[str]


async def switched_off(source: asyncpg.Pool | Connection) -> SwitchedOff:
    """Everything that is out of service now. Raises asyncpg's errors."""
    rows = await source.fetch(SQL["list"])
    kinds: tuple[Kind, ...] = ("provider", "worker", "upstream")
    return SwitchedOff(*(frozenset(row["name"] for row in rows if row["kind"] == kind) for kind in kinds))


async def off_since(source: asyncpg.Pool | Connection) -> dict[tuple[Kind, str], datetime]:
    """For everything that is out of service, the time since which it is. Raises asyncpg's errors."""
    return {(row["kind"], row["name"]): row["since"] for row in await source.fetch(SQL["list"])}


async def pause_provider(
    source: asyncpg.Pool | Connection, provider: str, *, paused: bool, author: Author | None = None
) -> None:
    """Pause a vendor or resume it: while it is paused no worker takes its jobs; running jobs go on. Doing it again changes
    nothing. Raises `NotFound` for an unknown vendor.
    """
    if provider not in PROVIDERS:
        raise NotFound(f"No provider {provider[:100]}: there are {', '.join(PROVIDERS)}.")
    action = "provider.pause" if paused else "provider.resume"
    await _switch(source, "provider", provider, "off" if paused else "on", action, author)


async def drain_worker(
    source: asyncpg.Pool | Connection, worker_id: str, *, living: Sequence[str], author: Author | None = None
) -> None:
    """Make a worker take no more jobs; running jobs go on to their end. Doing it again changes nothing. Raises `NotFound`
    if the worker is not among the `living`.
    """
    if worker_id not in living:
        raise NotFound(f"No worker {worker_id[:100]} is alive: `rebootml worker list` shows who is.")
    await source.execute(SQL["forget_workers"], list(living))
    await _switch(source, "worker", worker_id, "off", "worker.drain", author)


async def drain_upstream(
    source: asyncpg.Pool | Connection, name: str, *, drained: bool, author: Author | None = None
) -> None:
    """Drain an upstream or enable it: no new call goes to a drained one; running calls go on. Doing it again changes
    nothing.
    """
    action = "upstream.drain" if drained else "upstream.enable"
    await _switch(source, "upstream", name, "off" if drained else "on", action, author)


async def _switch(
    source: asyncpg.Pool | Connection,
    kind: Kind,
    name: str,
    to: Literal["off", "on"],
    action: str,
    author: Author | None,
) -> None:
    async with in_turn(source, SQL["lock"], f"{kind}:{name}", TURN_TIMEOUT_S) as connection:
        if await connection.fetchval(SQL[to], kind, name) is None:
            return
        on = {"in_service": True}, {"in_service": False}
        before, after = on if to == "off" else on[::-1]
        await note(connection, author, action, f"{kind}:{name}", before, after)
