"""What an account used, from the roll-up that settling keeps: no request is read for it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import Literal

import asyncpg
import msgspec

from shared.errors import InvalidRequest
from shared.money import NanoUsd
from shared.stores.postgres import load_queries, reached

SQL = load_queries("usage")
Group = Literal["day", "model", "key"]


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """What ended in one group. `day` is the day (UTC) on which a request was asked; what is not grouped by is None.

    `failed` of the `requests` did not succeed; cached tokens are part of the input, reasoning tokens of the output.
    """

    day: date | None
    model: str | None
    key_id: str | None
    key_name: str | None
    requests: int
    failed: int
    tokens_input: int
    tokens_output: int
    tokens_cached: int
    tokens_reasoning: int
    charged_nano: NanoUsd


async def read_usage(
    pool: asyncpg.Pool, account_id: str, first: date, last: date, group_by: Collection[Group], *, rows_max: int
) -> list[UsageRow]:
    """From `first` to `last`, both included, in no order. Raises `InvalidRequest` for more rows than `rows_max`, or
    `Unavailable`.
    """
    grouped = ["day" in group_by, "model" in group_by, "key" in group_by]
    async with reached("The usage"):
        rows = await pool.fetch(SQL["rows"], account_id, first, last, *grouped, rows_max + 1)
    if len(rows) > rows_max:
        raise InvalidRequest(
            f"The answer would have more than {rows_max} rows: ask for fewer days, or group by less (`group_by`)."
        )
    return [UsageRow(**row) for row in rows]
