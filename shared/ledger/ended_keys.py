"""Requests, uploads and batches stop when the API key that began them is revoked or expires: here is asked which."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import asyncpg

from shared.errors import InvalidApiKey
from shared.ledger.api_keys import SQL


class KeyEnded(InvalidApiKey):
    """What the key began was stopped, because the key was revoked or has expired."""

    @classmethod
    def because(cls, reason: str) -> KeyEnded:
        """`reason` is `key_revoked` or `key_expired`."""
        how = "was revoked" if reason == "key_revoked" else "has expired"
        return cls(f"This API key {how}, which stopped what it had begun; what ran is charged: use another key.")


async def ended_since(pool: asyncpg.Pool, begun: Iterable[tuple[str, datetime]]) -> dict[tuple[str, datetime], str]:
    """Of what keys began, each with its time: what must stop, and the reason, `key_revoked` or `key_expired`. What a rotated
    key has handed over is its successor's.
    """
    rows = await pool.fetch(SQL["ended_since"], *map(list, zip(*begun, strict=True)))
    return {(row["key_id"], row["began_at"]): row["reason"] for row in rows}
