"""How large a request's view will be is known before it is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg
from arq.connections import ArqRedis

from api.requests.log import find_request
from api.requests.view import bytes_kept, view_of
from shared.chat import Message
from shared.job import Chunk, Done, KeptAnswer, pack
from shared.ledger.ledger import Ledger
from shared.money import Usage
from shared.queue.queue import Queue
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job, a_reservation, a_settlement
from tests.integration.conftest import NewAccount
from tests.integration.jobs import OPENAI, claim_one
from tests.integration.journals import DirectJournal

LARGE = 2_000_000
ASKED = [Message("user", "a" * LARGE)]


async def test_of_a_running_request_it_is_what_redis_has(
    queue: Queue, lua: Scripts, redis_client: ArqRedis, pool: asyncpg.Pool, ledger: Ledger, new_account: NewAccount
) -> None:
    reservation = a_reservation(await new_account(1_000))
    await ledger.reserve(reservation)
    logged = await find_request(pool, reservation.account_id, reservation.id)
    assert await bytes_kept(pool, redis_client, logged) == 0
    job = a_job(id=reservation.id, account_id=reservation.account_id, messages=ASKED)
    await queue.enqueue(job, OPENAI, channel="nobody", key_id="key", rpm=None)
    assert LARGE < await bytes_kept(pool, redis_client, logged) < 1.1 * LARGE
    journal = DirectJournal(lua, await claim_one(queue), live_s=60)
    for letter in "xyz":
        await journal.append(Chunk(letter * LARGE))
    assert 4 * LARGE < await bytes_kept(pool, redis_client, logged) < 6 * LARGE
    assert (await view_of(pool, redis_client, logged)).request == ASKED


async def test_of_a_kept_answer_it_is_what_postgres_has(
    redis_client: ArqRedis, pool: asyncpg.Pool, ledger: Ledger, new_account: NewAccount
) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    reservation = a_reservation(await new_account(1_000), keep_until=tomorrow)
    await ledger.reserve(reservation)
    answer = KeptAnswer(Done("stop", Usage(1, 1), 40, "x" * LARGE), ASKED)
    settlement = a_settlement(reservation, charge=40, answer=pack(answer), keep_until=tomorrow)
    assert await ledger.settle(settlement) == "settled"
    logged = await find_request(pool, reservation.account_id, reservation.id)
    assert 2 * LARGE < await bytes_kept(pool, redis_client, logged) < 2.1 * LARGE
    assert (await view_of(pool, redis_client, logged)).response == "x" * LARGE
