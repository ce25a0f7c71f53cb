"""Makes changes by operators repeatable. The answer to a change with a `ref` is stored in the transaction of the
change, so the same `ref` again gets the first answer, whatever failed in between. Answers are kept for ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import asyncpg

from shared.errors import Conflict
from shared.stores.postgres import Connection, load_queries, transaction
from shared.stores.turns import in_turn

SQL = load_queries("operator_refs")


class Kept(NamedTuple):
    """The stored form of an answer. `answer` is JSON without secrets. With `salt`, the secret that belongs to the
    answer can be derived again.
    """

    answer: str
    salt: bytes | None = None


class Once(NamedTuple):
    """The answer to a change. `repeated` is true if the change had been made before."""

    kept: Kept
    repeated: bool


async def once(
    pool: asyncpg.Pool,
    operator: str,
    ref: str | None,
    fingerprint: bytes,
    change: Callable[[Connection], Awaitable[Kept]],
    *,
    within_s: float,
) -> Once:
    """Make the change, unless this operator made it with the same `ref`. Without a `ref` it is always made.
    `fingerprint` covers the whole change. Raises `Conflict` if the `ref` came with another change, whatever `change`
    raises (the `ref` stays unused then), and as `in_turn` does while another request uses the `ref`.
    """
    if ref is None:
        async with transaction(pool) as connection:
            return Once(await change(connection), repeated=False)
    async with in_turn(pool, SQL["lock"], f"{operator}/{ref}", within_s) as connection:
        row = await connection.fetchrow(SQL["find"], operator, ref)
        if row is None:
            kept = await change(connection)
            await connection.execute(SQL["keep"], operator, ref, fingerprint, kept.answer, kept.salt)
            return Once(kept, repeated=False)
    if row["fingerprint"] != fingerprint:
        raise Conflict("This `ref` was used for another request: the same `ref` again needs the same path and body.")
    return Once(Kept(row["answer"], row["salt"]), repeated=True)


async def forget_salts(pool: asyncpg.Pool) -> None:
    """Delete the salts of keys that are older than a day; those keys cannot be derived any more. Raises asyncpg's errors."""
    await pool.execute(SQL["forget_salts"])
