"""The audit log: every change of access, credit and routing, written in the transaction of the change. Entries are kept for
ever, Postgres refuses to change or delete them, and they contain no secrets.
"""

from __future__ import annotations

import functools
import getpass
import os
import socket
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec

from shared.stores.postgres import Connection, load_queries

SQL = load_queries("audit")


class Author(NamedTuple):
    """The author of a change (`cli:USER@HOST`, `operator:NAME` or `account:ID/key:ID`), and the HTTP request for it."""

    actor: str
    request_id: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One change of access, credit or routing."""

    at: datetime
    """The time of the change."""
    actor: str
    """The author of the change: `cli:USER@HOST`, `operator:NAME` or `account:ID/key:ID`."""
    action: str
    """The name of the change, such as `key.revoke`."""
    target: str
    """The object that was changed."""
    before: Any
    """The relevant values before the change; null if there were none."""
    after: Any
    """The relevant values after the change; null if there are none."""
    request_id: str | None
    """The id of the HTTP request that made the change; null for the command line."""


class Page(NamedTuple):
    """Entries, newest first, and the id of the last one if there are more."""

    entries: list[Entry]
    last_id: int | None


async def note(
    connection: Connection, author: Author | None, action: str, target: str, before: object, after: object
) -> None:
    """Write a change to the log; it is committed together with the change. Without an `author` the author is the user
    who runs this process.
    """
    actor, request_id = author or local_author()
    await connection.execute(SQL["note"], actor, action, target, _json(before), _json(after), request_id)


async def list_entries(
    pool: asyncpg.Pool,
    *,
    limit: int,
    before_id: int | None = None,
    since: datetime | None = None,
    actor: str | None = None,
) -> Page:
    """At most `limit` changes, newest first."""
    rows = await pool.fetch(SQL["list"], limit + 1, before_id, since, actor)
    shown = rows[:limit]
    return Page([_entry(row) for row in shown], shown[-1]["id"] if len(rows) > limit else None)


@functools.cache
def local_author() -> Author:
    """The user who runs this process, as `cli:USER@HOST`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user has no name, as in many containers
        user = str(os.getuid())
    return Author(f"cli:{user}@{socket.gethostname()}")


def _entry(row: asyncpg.Record) -> Entry:
    before, after = (None if row[name] is None else msgspec.json.decode(row[name]) for name in ("before", "after"))
    return Entry(
        at=row["at"],
        actor=row["actor"],
        action=row["action"],
        target=row["target"],
        before=before,
        after=after,
        request_id=row["request_id"],
    )


def _json(state: object) -> str | None:
    return None if state is None else msgspec.json.encode(state).decode()
