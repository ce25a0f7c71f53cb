"""Who writes for an account that somebody else has waits for his turn, and keeps no connection from others meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import asyncpg
import msgspec
import pytest

from api.batches.creation import NewBatch, RepeatableBy, create_batch, first_with_key
from shared.batches.batches import cancel_batch
from shared.batches.queries import BATCHES
from shared.errors import Unavailable
from shared.ledger.accounts import credit_account
from shared.ledger.api_keys import KeyRules, create_key, revoke_key, rotate_key
from shared.money import NanoUsd
from shared.settings import Settings
from shared.stores.postgres import connect
from shared.stores.turns import in_turn
from tests.harness.support import eventually_true
from tests.integration.batches.batching import SETTINGS, a_batch, a_file
from tests.integration.conftest import NewAccount
from tests.integration.ledger.test_api_keys import NO_GRACE

AT_ONCE = 16
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'turns'"
LOCK_ACCOUNT = "SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE"
LOCK_KEY = "SELECT 1 FROM api_keys WHERE id = $1 FOR UPDATE"
LOCK_BATCH = "SELECT 1 FROM batches WHERE id = $1 FOR UPDATE"


class Writing(NamedTuple):
    """What is done `AT_ONCE` times while somebody has the lock that `lock` takes with `locked`."""

    lock: str
    locked: str
    do: Callable[[int], Awaitable[object]]


@pytest.fixture
async def hurried(settings: Settings) -> AsyncIterator[asyncpg.Pool]:
    """Connections on which traffic gives up at once."""
    quick = msgspec.structs.replace(settings, lock_timeout_s=0.02)
    async with await connect(quick, application="turns") as connections:
        yield connections


async def batches(pool: asyncpg.Pool, account: str) -> Writing:
    files = [await a_file(pool, account, "openai") for _ in range(AT_ONCE)]
    return Writing(
        BATCHES["lock_creation"],
        account,
        lambda n: create_batch(pool, NewBatch(files[n], "key", "/api/endpoint"), SETTINGS),
    )


async def files(pool: asyncpg.Pool, account: str) -> Writing:
    made = [await a_file(pool, account, "openai") for _ in range(AT_ONCE)]
    return Writing(
        BATCHES["lock_creation"],
        account,
        lambda n: first_with_key(pool, RepeatableBy(bytes([n]) * 32, b"x" * 32), made[n], SETTINGS),
    )


async def keys(pool: asyncpg.Pool, account: str) -> Writing:
    return Writing(LOCK_ACCOUNT, account, lambda _: create_key(pool, account, KeyRules()))


async def rotations(pool: asyncpg.Pool, account: str) -> Writing:
    old = [(await create_key(pool, account, KeyRules())).key_id for _ in range(AT_ONCE)]
    return Writing(LOCK_ACCOUNT, account, lambda n: rotate_key(pool, old[n], NO_GRACE))


async def revocations(pool: asyncpg.Pool, account: str) -> Writing:
    key_id = (await create_key(pool, account, KeyRules())).key_id
    return Writing(LOCK_KEY, key_id, lambda _: revoke_key(pool, key_id))


async def credit(pool: asyncpg.Pool, account: str) -> Writing:
    return Writing(
        LOCK_ACCOUNT, account, lambda n: credit_account(pool, account, NanoUsd(1), ref=f"ref-{n}", note=None)
    )


async def cancellations(pool: asyncpg.Pool, account: str) -> Writing:
    batch = await a_batch(pool, account)
    return Writing(LOCK_BATCH, batch.id, lambda _: cancel_batch(pool, account, batch.id))


@pytest.mark.parametrize("kind", [batches, files, keys, rotations, revocations, credit, cancellations])
async def test_writers_wait_for_their_turn_with_one_connection_among_them(
    pool: asyncpg.Pool,
    hurried: asyncpg.Pool,
    new_account: NewAccount,
    kind: Callable[[asyncpg.Pool, str], Awaitable[Writing]],
) -> None:
    account = await new_account(100)
    writing = await kind(hurried, account)
    async with pool.acquire() as other, other.transaction():
        await other.execute(writing.lock, writing.locked)
        tasks = [asyncio.ensure_future(writing.do(number)) for number in range(AT_ONCE)]
        await eventually_true(lambda: pool.fetchval(WAITING), "one of them waits")
        assert await hurried.fetch("SELECT pg_sleep(0.1)")  # much longer than traffic would wait
        assert await pool.fetchval(WAITING) == 1
        assert not any(task.done() for task in tasks)
    await asyncio.gather(*tasks)


async def test_who_gets_no_turn_is_told_that_the_service_is_unavailable(
    pool: asyncpg.Pool, hurried: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(0)
    file = await a_file(pool, account, "openai")
    brief = msgspec.structs.replace(SETTINGS, turn_timeout_s=0.1)
    async with pool.acquire() as other, other.transaction():
        await other.execute(BATCHES["lock_creation"], account)
        calls = [create_batch(hurried, NewBatch(file, "key", "/api/endpoint"), brief) for _ in range(3)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3


async def test_who_has_a_lock_waits_no_longer_than_traffic_for_the_next_one(
    pool: asyncpg.Pool, hurried: asyncpg.Pool, new_account: NewAccount
) -> None:
    mine, other_account = await new_account(0), await new_account(0)
    async with pool.acquire() as other, other.transaction():
        await other.execute(LOCK_ACCOUNT, other_account)
        async with in_turn(hurried, LOCK_ACCOUNT, mine, 10) as connection:
            with pytest.raises(asyncpg.LockNotAvailableError):
                async with connection.transaction():
                    await connection.execute(LOCK_ACCOUNT, other_account)
