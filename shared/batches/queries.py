"""Runs the queries of files and batches. If Postgres is away, each raises `Unavailable`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import asyncpg

from shared.errors import NotFound
from shared.ids import created_at
from shared.stores.postgres import NEWEST, load_queries, reached

FILES, BATCHES = load_queries("files"), load_queries("batches")


def page_begins(after: str | None) -> tuple[datetime, str]:
    """The time and the id after which a page begins. Raises `NotFound` if `after` is not an id."""
    if after is None:
        return NEWEST[1], NEWEST[0]
    try:
        return created_at(after), after
    except ValueError:
        raise NotFound("The cursor is not one of ours: take the one of the page before.") from None


def known_id(text: str) -> str:
    """Replace a text that Postgres would refuse (it contains NUL) by one that is no id."""
    return "" if "\0" in text else text


async def row_of(pool: asyncpg.Pool, query: str, *arguments: Any) -> asyncpg.Record | None:  # noqa: ANN401
    """The first row, or None."""
    rows = await rows_of(pool, query, *arguments)
    return rows[0] if rows else None


async def value_of(pool: asyncpg.Pool, query: str, *arguments: Any) -> Any:  # noqa: ANN401
    """The first value of the first row, or None."""
    row = await row_of(pool, query, *arguments)
    return None if row is None else row[0]


async def rows_of(pool: asyncpg.Pool, query: str, *arguments: Any) -> list[asyncpg.Record]:  # noqa: ANN401
    """All rows. Raises `Unavailable`."""
    async with reached("Batches"):
        return await pool.fetch(query, *arguments)


async def execute(pool: asyncpg.Pool, query: str, *arguments: Any) -> None:  # noqa: ANN401
    """Run a statement without a result. Raises `Unavailable`."""
    await rows_of(pool, query, *arguments)
