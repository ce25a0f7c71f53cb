"""Logs at each start how many connections all processes together may open, and how many the Postgres server allows."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, NamedTuple

import structlog

from shared.stores.postgres import BUSY, UNREACHABLE

if TYPE_CHECKING:
    import asyncpg

    from shared.settings import Settings

log = structlog.get_logger(__name__)
OURS = "rebootml-"
HOST_CHARACTERS_MAX = 30
ALLOWED_AND_PROCESSES = """
SELECT current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
        - COALESCE(current_setting('reserved_connections', true), '0')::integer AS allowed,
    (SELECT count(DISTINCT application_name)::integer FROM pg_stat_activity WHERE application_name LIKE ANY ($1)) AS processes
"""


class Budget(NamedTuple):
    """The numbers of connections and processes. `allowed` is the number of connections for users who are not
    superusers; `processes` is the number of processes of this service that are connected now.
    """

    processes: int
    connections_each: int
    allowed: int

    @property
    def percent(self) -> int:
        """The share of the allowed connections that all processes may open together."""
        return self.processes * self.connections_each * 100 // max(1, self.allowed)


def process_name(kind: str) -> str:
    """The application name of this process's connections, `rebootml-web host:pid` or `rebootml-worker host:pid`; no other
    process has it.
    """
    return f"{OURS}{kind} {socket.gethostname()[:HOST_CHARACTERS_MAX]}:{os.getpid()}"


async def tell_budget(pool: asyncpg.Pool, settings: Settings) -> Budget | None:
    """Log the budget in one line, as an alert above `DATABASE_BUDGET_ALERT_PERCENT`. None if the server does not reveal
    its limits.
    """
    try:
        row = (await pool.fetch(ALLOWED_AND_PROCESSES, [f"{OURS}web %", f"{OURS}worker %"]))[0]
    except (*UNREACHABLE, *BUSY) as error:
        log.warning("database connections not counted", reason=type(error).__name__)
        return None
    budget = Budget(row["processes"], settings.database_connections_max, row["allowed"])
    facts = {**budget._asdict(), "percent": budget.percent}
    if budget.percent > settings.database_budget_alert_percent:
        log.warning("database connections may run out", alert=True, **facts)
    else:
        log.info("database connections", **facts)
    return budget
