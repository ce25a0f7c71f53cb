"""Sessions of the console: after showing an API key once, a browser has a token that acts as that key for a while."""

from __future__ import annotations

import asyncpg

from shared import tokens
from shared.ledger.api_keys import ApiKey, key_from_row, no_such_key
from shared.operators.audit import Author, note
from shared.stores.postgres import load_queries, transaction

SQL = load_queries("sessions")
TOKEN_LENGTH = 43
"""Characters of base 62: 256 bits."""


async def open_session(pool: asyncpg.Pool, key_id: str, lives_s: float) -> str:
    """Create a session for a key that was proved, and return its token."""
    token = tokens.random_word(TOKEN_LENGTH)
    await pool.execute(SQL["make"], tokens.sha256(token), key_id, True, lives_s)  # noqa: FBT003 - a column
    return token


async def find_session(pool: asyncpg.Pool, token: str) -> ApiKey | None:
    """The key of a session; None if the session or its key has ended, or the key was rotated."""
    row = await pool.fetchrow(SQL["find"], tokens.sha256(token))
    return None if row is None else key_from_row(row)


async def end_session(pool: asyncpg.Pool, token: str) -> None:
    """End a session; ending it again changes nothing."""
    await pool.execute(SQL["end"], tokens.sha256(token))


async def make_link(pool: asyncpg.Pool, key_id: str, lives_s: float, *, author: Author | None = None) -> str:
    """A token that opens one session as this key; it is written to the audit log. Raises `NotFound`."""
    token = tokens.random_word(TOKEN_LENGTH)
    try:
        async with transaction(pool) as connection:
            await connection.execute(SQL["make"], tokens.sha256(token), key_id, False, lives_s)  # noqa: FBT003
            await note(connection, author, "console.link", f"key:{key_id}", None, {"lives_s": lives_s})
    except asyncpg.ForeignKeyViolationError:
        raise no_such_key(key_id) from None
    return token


async def use_link(pool: asyncpg.Pool, link: str, lives_s: float) -> str | None:
    """The token of the session that a link opens; None if the link was used or has expired."""
    token = tokens.random_word(TOKEN_LENGTH)
    key_id = await pool.fetchval(SQL["use_link"], tokens.sha256(link), tokens.sha256(token), lives_s)
    return token if key_id else None
