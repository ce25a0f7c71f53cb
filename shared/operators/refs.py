"""The answer to a change that an operator asked for with a `ref`, kept in the transaction of the change: the same `ref` again
has the first answer, whatever died in between. Answers are kept for ever, as credits with a reference are.
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
    """`answer` is JSON without any secret; with `salt` the secret that belongs to it can be made again."""

    answer: str
    salt: bytes | None = None


class Once(NamedTuple):
    """`repeated`: nothing was done, because it had been done before."""

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
    """Make the change, unless this operator did it with this `ref`. Without a `ref` it is always made.

    `fingerprint` is of all that was asked. Raises `Conflict` when the same `ref` came with something else, and what `change`
    raises: then the `ref` is as good as new. Raises as `in_turn` does while somebody else has the `ref`.
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
    """Of keys that were made more than a day ago: nobody makes them again. Raises asyncpg's errors."""
    await pool.execute(SQL["forget_salts"])
