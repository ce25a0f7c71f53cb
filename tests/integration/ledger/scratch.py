"""A ledger to break: the real SQL in a database of its own, with one guard taken out."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import asyncpg
import msgspec

from shared.ledger.accounts import create_account
from shared.ledger.ledger import reserving, settling
from shared.ledger.rows import Reservation
from shared.ledger.settlement import Settlement
from shared.money import NanoUsd
from shared.stores.postgres import Connection, load_queries
from shared.stores.sql_functions import function_files
from tests.harness.support import eventually_true
from tests.integration.books import somebody_waits_for_a_lock

QUERIES = load_queries("ledger")


class Scratch:
    """A database of its own, asked without anything of ours between."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.queries = dict(QUERIES)

    async def account(self, credit: int) -> str:
        return (await create_account(self.pool, "someone", NanoUsd(credit))).id

    async def reserve(self, *batch: Reservation, in_flight_max: int = 100) -> list[str]:
        rows = await self.pool.fetch(QUERIES["reserve"], _json(batch), in_flight_max)
        outcomes = {row["request_id"]: row["outcome"] for row in rows}
        return [outcomes[wish.id] for wish in batch]

    async def settle(self, *batch: Settlement, connection: Connection | None = None) -> list[str]:
        query, *arguments = settling(batch)
        name = next(name for name, text in QUERIES.items() if text == query)
        rows = await (connection or self.pool).fetch(self.queries[name], *arguments)
        outcomes = {row["request_id"]: row["outcome"] for row in rows}
        return [outcomes[end.id] for end in batch]

    async def behind(self, first: Reservation | Settlement, then: Awaitable[list[str]]) -> list[str]:
        """The answer to `then`, which has to wait until `first` is committed."""
        statement = reserving([first], 100, 0) if isinstance(first, Reservation) else settling([first])
        async with self.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(*statement)
            waiting = asyncio.ensure_future(then)
            await eventually_true(lambda: somebody_waits_for_a_lock(self.pool), "the second waits for the first")
            await transaction.commit()
        return await waiting


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


Promise = Callable[[Scratch], Awaitable[None]]


class Mutant(NamedTuple):
    """`function`, or a query of the ledger, with `guard` replaced by `instead`; without either the statement `instead`."""

    broken: Promise
    function: str
    guard: str
    instead: str


EMPTIED = (
    *("ledger", "requests", "api_keys", "accounts", "credit_refs", "overruns", "unbilled", "quarantine", "tier_losses"),
    *("lost_calls", "idempotency_keys", "answers", "usage_by_day"),
)
"""Every table that a promise here writes to."""


async def empty(pool: asyncpg.Pool) -> None:
    """Delete what an earlier promise has written, past the triggers, which is sooner done than a database is made."""
    deletions = (f"DELETE FROM {table};" for table in EMPTIED)
    await pool.execute(f"BEGIN; SET LOCAL session_replication_role = replica; {' '.join(deletions)} COMMIT")


async def restore(scratch: Scratch, mutant: Mutant) -> None:
    """Put the function back as its file has it."""
    if function := _newest(mutant.function):
        await scratch.pool.execute(function)


async def break_with(scratch: Scratch, mutant: Mutant) -> None:
    """Take the guard out."""
    function = _newest(mutant.function)
    source = function or QUERIES.get(mutant.function, "")
    assert source.count(mutant.guard) == 1 or not mutant.function, f"{mutant.guard!r} should be there once"
    broken = source.replace(mutant.guard, mutant.instead) if mutant.function else mutant.instead
    if function or not mutant.function:
        await scratch.pool.execute(broken)
    else:
        scratch.queries[mutant.function] = broken


@functools.cache
def _newest(name: str) -> str | None:
    """The source of a function, as a statement that replaces it."""
    text = "\n".join(file.sql for file in function_files())
    found = re.search(rf"CREATE OR REPLACE FUNCTION {name}\(.*?\n(?:END )?\$\$;", text, flags=re.DOTALL)
    return found.group() if name and found else None
