"""Finds the requests, uploads and batches that must stop because the API key that began them was revoked or has
expired.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import asyncpg

from shared.errors import InvalidApiKey
from shared.ledger.api_keys import SQL


class KeyEnded(InvalidApiKey):
    """The work was stopped because the key that began it was revoked or has expired."""

    @classmethod
    def because(cls, reason: str) -> KeyEnded:
        """The error for the reason `key_revoked` or `key_expired`."""
        how = "was revoked" if reason == "key_revoked" else "has expired"
        return cls(f"This API key {how}, which stopped what it had begun; what ran is charged: use another key.")


async def ended_since(pool: asyncpg.Pool, begun: Iterable[tuple[str, datetime]]) -> dict[tuple[str, datetime], str]:
    """The pairs of key and start time whose work must stop, each with the reason `key_revoked` or `key_expired`. Work
    of a rotated key belongs to its successor.
    """
    rows = await pool.fetch(SQL["ended_since"], *map(list, zip(*begun, strict=True)))
    return {(row["key_id"], row["began_at"]): row["reason"] for row in rows}
