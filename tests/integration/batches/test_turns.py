"""Every open batch is fed in its turn: accounts take turns, and batches within an account, however many are open."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from asyncpg import Pool

from shared.batches.queries import BATCHES
from shared.ledger.ledger import Ledger
from shared.settings import Settings
from shared.stores.scripts import Scripts
from tests.harness.builders import a_release, a_reservation
from tests.integration.batches.batching import (
    a_batch,
    a_worker_serves,
    many_batches,
)
from tests.integration.batches.conftest import MakeFeeder
from tests.integration.conftest import NewAccount
from workers.batches import turns
from workers.batches.feed import BatchFeeder, Round
from workers.upstreams.paces import Paces

RICH = 10**13
MANY_CURSORS = """
INSERT INTO batch_cursors (batch_id, provider, left_over, turn_of)
SELECT 'batch_' || number, 'openai', 1, 'acc_' || number % 100 FROM generate_series(1, 5000) number
"""


@pytest.fixture
async def feeder(make_feeder: MakeFeeder, redis_client: ArqRedis) -> BatchFeeder:
    """With a window of ten lines."""
    await a_worker_serves(redis_client, slots=10)
    return make_feeder(batch_window_max=10)


async def _fed_and_ended(pool: Pool, ledger: Ledger, feeder: BatchFeeder) -> list[str]:
    """A round, after which all that runs has ended: the accounts whose lines it fed."""
    await feeder.feed("openai")
    rows = await pool.fetch("SELECT request_id, account_id FROM batch_items WHERE state = 'running' ORDER BY fed_at")
    for row in rows:
        await ledger.settle(a_release(a_reservation(row["account_id"], id=row["request_id"])))
    return [row["account_id"] for row in rows]


async def test_a_batch_behind_a_thousand_others_is_fed(
    feeder: BatchFeeder, pool: Pool, ledger: Ledger, new_account: NewAccount
) -> None:
    for _ in range(11):
        await many_batches(pool, await new_account(RICH), 100)
    late = await new_account(RICH)
    await a_batch(pool, late, *["openai"] * 10)
    fed: list[str] = []
    for _ in range(15):
        fed += await _fed_and_ended(pool, ledger, feeder)
    assert fed.count(late) == 10
    assert {fed.count(account) for account in fed if account != late} == {12, 13}, "the others have the same each"


async def test_more_accounts_than_a_round_looks_at_take_turns(
    feeder: BatchFeeder, pool: Pool, ledger: Ledger, new_account: NewAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "ACCOUNTS_PER_ROUND", 3)
    accounts = [await new_account(RICH) for _ in range(8)]
    for account in accounts:
        await a_batch(pool, account, *["openai"] * 100)
    fed: list[str] = []
    for _ in range(8):
        fed += await _fed_and_ended(pool, ledger, feeder)
    assert max(map(fed.count, accounts)) - min(map(fed.count, accounts)) <= 4
    assert min(map(fed.count, accounts)) >= 8


async def test_more_batches_of_an_account_than_a_round_looks_at_take_turns(
    feeder: BatchFeeder, pool: Pool, ledger: Ledger, new_account: NewAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "CURSORS_PER_ACCOUNT", 3)
    await many_batches(pool, await new_account(RICH), 20)
    for _ in range(7):
        await _fed_and_ended(pool, ledger, feeder)
    assert await pool.fetchval("SELECT min(fed_to) FROM batch_cursors") >= 1


async def test_with_room_for_one_line_each_account_has_one_in_its_turn(
    make_feeder: MakeFeeder, pool: Pool, redis_client: ArqRedis, ledger: Ledger, new_account: NewAccount
) -> None:
    await a_worker_serves(redis_client, slots=10)
    feeder = make_feeder(batch_window_max=1)
    accounts = [await new_account(RICH) for _ in range(3)]
    for account in accounts:
        await a_batch(pool, account, *["openai"] * 4)
    fed = [one for _ in range(9) for one in await _fed_and_ended(pool, ledger, feeder)]
    assert [fed.count(account) for account in accounts] == [3, 3, 3]
    assert all(len(set(fed[at : at + 3])) == 3 for at in range(7))


async def test_a_crowd_that_waits_for_its_vendor_does_not_hide_who_does_not(
    feeder: BatchFeeder,
    pool: Pool,
    lua: Scripts,
    settings: Settings,
    new_account: NewAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "ACCOUNTS_PER_ROUND", 3)
    for _ in range(10):
        await a_batch(pool, await new_account(RICH), "openai", model="openai-gpt-4o-mini")
    await Paces(lua, settings).throttled("openai/openai-gpt-4o-mini", 60)
    await a_batch(pool, await new_account(RICH), "openai", model="openai-o1")
    answers = [await feeder.feed("openai") for _ in range(5)]
    found = answers.index(Round(1, busy=True))
    assert sum(one.lines for one in answers) == 1, "it is found, wherever its account stands"
    assert answers[:found] == [(0, True)] * found, "and until then nobody looks away"


@pytest.mark.parametrize("query", ["turns", "open_cursors"])
async def test_a_round_goes_by_the_index_of_turns(pool: Pool, query: str) -> None:
    """Where there are many: among few any index will do."""
    arguments: tuple[object, ...] = ("", 3) if query == "turns" else (["acc_a"], [""], 3)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SET LOCAL session_replication_role = replica")  # rows of batches that are not there
        await connection.execute(MANY_CURSORS)
        await connection.execute("ANALYZE batch_cursors")
        await connection.execute(BATCHES["by_index"])
        rows = await connection.fetch(f"EXPLAIN {BATCHES[query]}", "openai", *arguments)
        await transaction.rollback()
    plan = "\n".join(row[0] for row in rows)
    assert "batch_cursors_in_turn" in plan
    assert "Seq Scan" not in plan
