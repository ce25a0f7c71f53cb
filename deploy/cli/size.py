"""`rebootml db size`: the size of the database by table and month."""

from __future__ import annotations

import argparse
from typing import Any

import asyncpg
import msgspec

from deploy.cli.command import Answer, add_command
from shared.stores.postgres import load_queries

SQL = load_queries("size")
COUNTED_BYTES_MAX = 64_000_000
"""Bytes above which a table's rows are not counted but estimated by Postgres."""
COUNT_TIMEOUT_S = 60.0
UNITS = ("B", "KB", "MB", "GB", "TB")


class TableSize(msgspec.Struct, kw_only=True):
    """The size of one table. `bytes` counts rows and indexes. `month` is null for a table that is not partitioned by
    months. `estimated` is true if some of the `rows` are estimated.
    """

    table: str
    month: str | None
    rows: int = 0
    bytes: int = 0
    estimated: bool = False


def add_database_commands(group: Any) -> None:  # noqa: ANN401 - argparse's own type is private
    """Add the command `size`."""
    add_command(
        group,
        "size",
        _size,
        "rows and bytes by table and month; tables without rows are in --json and in the total only",
    )


async def _size(_: argparse.Namespace, pool: asyncpg.Pool) -> Answer:
    sizes = await table_sizes(pool)
    shown: list[dict[str, object]] = [
        {
            "table": one.table,
            "month": one.month,
            "rows": one.rows,
            "size": _readable(one.bytes),
            "estimated": one.estimated or None,
        }
        for one in sizes
        if one.rows
    ]
    total = {
        "table": "total",
        "month": None,
        "rows": None,
        "size": _readable(sum(one.bytes for one in sizes)),
        "estimated": None,
    }
    return Answer(sizes, shown=[*shown, total])


async def table_sizes(pool: asyncpg.Pool, counted_bytes_max: int = COUNTED_BYTES_MAX) -> list[TableSize]:
    """The sizes of all tables; a table with daily or monthly partitions has a row per month. Raises asyncpg's errors."""
    sizes: dict[tuple[str, str | None], TableSize] = {}
    for part in await pool.fetch(SQL["tables"], counted_bytes_max):
        table, month, estimated = part["table"], part["month"], part["estimated"]
        size = sizes.setdefault((table, month), TableSize(table=table, month=month))
        size.bytes += part["bytes"]
        size.estimated = size.estimated or estimated is not None
        size.rows += await pool.fetchval(part["counts"], timeout=COUNT_TIMEOUT_S) if estimated is None else estimated
    return list(sizes.values())


def _readable(size: float) -> str:
    for unit in UNITS[:-1]:
        if size < 1_000:  # noqa: PLR2004 - of the next unit
            return f"{size:.0f} {unit}" if unit == UNITS[0] else f"{size:.1f} {unit}"
        size /= 1_000
    return f"{size:.1f} {UNITS[-1]}"
