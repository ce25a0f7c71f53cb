"""The workers delete what is kept no longer."""

from __future__ import annotations

import asyncpg

from tests.harness.caller import Caller
from tests.harness.support import eventually_true

ANSWER = "INSERT INTO answers VALUES ($1, '', now() + make_interval(secs => $2))"


async def test_an_expired_answer_is_gone_and_a_kept_one_stays(caller: Caller, books: asyncpg.Pool) -> None:
    expired, kept = f"expired of {caller.account_id}", f"kept of {caller.account_id}"
    await books.execute(ANSWER, expired, -1.0)
    await books.execute(ANSWER, kept, 600.0)

    async def gone() -> bool:
        return not await books.fetchval("SELECT count(*) FROM answers WHERE request_id = $1", expired)

    assert await eventually_true(gone, "a worker has deleted it")
    assert await books.fetchval("SELECT count(*) FROM answers WHERE request_id = $1", kept) == 1
