"""The ledger for an account's owner: every transfer to and from the wallet, newest first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

import asyncpg
import msgspec

from shared.errors import NotFound
from shared.money import BIGINT_MAX, NanoUsd
from shared.stores.postgres import load_queries, reached

SQL = load_queries("ledger_history")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEWEST = (datetime(9999, 1, 1, tzinfo=UTC), BIGINT_MAX)
CURSOR_LENGTH_MAX = 40


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the ledger. `amount_nano` is negative if the account paid. A capture has the id of its request; a credit may
    have a reference.
    """

    id: int
    created_at: datetime
    amount_nano: NanoUsd
    kind: Literal["capture", "credit", "take_back"]
    request_id: str | None
    ref: str | None


class TransferPage(NamedTuple):
    """A page, newest first. `next_cursor` leads to the next page and is None on the last."""

    transfers: list[Transfer]
    next_cursor: str | None


async def list_transfers(pool: asyncpg.Pool, account_id: str, *, cursor: str | None, limit: int) -> TransferPage:
    """A page of at most `limit` transfers. Raises `NotFound` if `cursor` is not a cursor, or `Unavailable`."""
    moment, transfer_id = _place(cursor) if cursor else NEWEST
    async with reached("The ledger"):
        rows = await pool.fetch(SQL["page"], account_id, moment, transfer_id, limit + 1)
    transfers = [Transfer(**row) for row in rows[:limit]]
    return TransferPage(transfers, _cursor(transfers[-1]) if len(rows) > limit else None)


def _cursor(last: Transfer) -> str:
    return f"{(last.created_at - EPOCH) // timedelta(microseconds=1)}-{last.id}"


def _place(cursor: str) -> tuple[datetime, int]:
    microseconds, _, transfer_id = cursor.partition("-")
    if len(cursor) <= CURSOR_LENGTH_MAX and cursor.isascii() and microseconds.isdigit() and transfer_id.isdigit():
        try:
            return EPOCH + timedelta(microseconds=int(microseconds)), min(int(transfer_id), BIGINT_MAX)
        except OverflowError:
            pass
    raise NotFound("There is no such page of the ledger: begin again at the newest one.")
