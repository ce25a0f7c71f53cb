"""What nobody came back for is found and ended: settle records of dead workers, holds of requests that were lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec
import pytest
import structlog
from arq.connections import ArqRedis

from shared.errors import Unavailable
from shared.job import Chunk, Done, pack, unpack_settlement
from shared.ledger.accounts import credit_account
from shared.ledger.ledger import Ledger
from shared.ledger.rows import Reservation
from shared.ledger.settlement import ItemKey, LostCall, Settlement
from shared.ledger.settler import Settler
from shared.money import NanoUsd, Usage
from shared.queue.queue import Queue
from shared.queue.settled_records import SettledRecords
from shared.runtime.tasks import background_tasks
from shared.settings import Settings
from shared.stores import keys, postgres
from shared.stores.lock_numbers import Lock
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job, a_release, a_reservation, a_settlement
from tests.integration.books import Wallet, assert_books_balance, request_row, wallet
from tests.integration.conftest import NewAccount, running
from tests.integration.jobs import OPENAI, claim, claim_one, enqueue, let_lease_lapse
from tests.integration.journals import DirectJournal
from workers.request.billing import Received
from workers.request.past import CallOfClaim, Past, look_back, note_calls
from workers.request.resuming import RecordedCalls
from workers.sweeps.holds_and_records import (
    sweep_expired_holds,
    sweep_settle_records,
)
from workers.sweeps.settled_records import sweep_kept_records

LOST_CALLS = "SELECT number, reason, vendor_cost_nano FROM lost_calls WHERE request_id = $1 ORDER BY number"
SETTLED_S = 20.0
LONG_AGO_S = -5.0
"""As if the time for which a record is kept were over."""


@pytest.fixture
def records(lua: Scripts, settings: Settings) -> SettledRecords:
    return SettledRecords(lua, settings)


@contextlib.asynccontextmanager
async def _settling(ledger: Ledger, records: SettledRecords) -> AsyncIterator[Settler]:
    """A settler as a worker has it; at the end of the block everything is settled."""
    async with background_tasks() as group:
        settler = Settler(ledger, group, retry_s=0.01, on_committed=records.put_aside)
        yield settler
        assert await settler.drained(SETTLED_S)


async def _held(ledger: Ledger, account: str, *, expired: bool = False) -> Reservation:
    """A request that is held for, and whose time may be over."""
    ends = datetime.now(UTC) + timedelta(minutes=-1 if expired else 10)
    reservation = a_reservation(account, 100, expires_at=ends)
    await ledger.reserve(reservation)
    return reservation


async def _sweep_expired_holds(pool: asyncpg.Pool, client: ArqRedis, queue: Queue, settler: Settler) -> int:
    return await sweep_expired_holds(pool, client, queue, settler, RecordedCalls(client, lambda *_: Decimal(1)))


async def _record(client: ArqRedis, settlement: Settlement) -> None:
    await client.hset(keys.SETTLES, settlement.id, pack(settlement))  # type: ignore[misc,arg-type] # typed for text


async def _records(client: ArqRedis) -> int:
    return int(await client.hlen(keys.SETTLES))  # type: ignore[misc] # typed for both clients


# -- settle records


async def test_a_dead_workers_settlement_is_sent_by_another_and_its_record_is_deleted(
    ledger: Ledger, pool: asyncpg.Pool, redis_client: ArqRedis, new_account: NewAccount, records: SettledRecords
) -> None:
    account = await new_account(1_000)
    reservation = await _held(ledger, account)
    minute_ago = datetime.now(UTC) - timedelta(minutes=1)
    await _record(redis_client, a_settlement(reservation, charge=40, ended_at=minute_ago))
    async with _settling(ledger, records) as settler:
        assert await sweep_settle_records(pool, redis_client, settler) == 1
    assert await wallet(pool, account) == Wallet(960, 0, 0)
    assert await _records(redis_client) == 0
    await assert_books_balance(pool)


async def test_a_young_record_is_left_to_the_worker_that_wrote_it(
    ledger: Ledger, pool: asyncpg.Pool, redis_client: ArqRedis, new_account: NewAccount, records: SettledRecords
) -> None:
    reservation = await _held(ledger, await new_account(1_000))
    await _record(redis_client, a_settlement(reservation, charge=40))
    async with _settling(ledger, records) as settler:
        assert await sweep_settle_records(pool, redis_client, settler) == 0
    assert await _records(redis_client) == 1


async def test_an_unreadable_record_stays_for_an_operator_and_stops_no_other(
    ledger: Ledger, pool: asyncpg.Pool, redis_client: ArqRedis, new_account: NewAccount, records: SettledRecords
) -> None:
    account = await new_account(1_000)
    minute_ago = datetime.now(UTC) - timedelta(minutes=1)
    await redis_client.hset(keys.SETTLES, "req_broken", "\x01")  # type: ignore[misc]
    await _record(redis_client, a_settlement(await _held(ledger, account), charge=40, ended_at=minute_ago))
    async with _settling(ledger, records) as settler:
        assert await sweep_settle_records(pool, redis_client, settler) == 1
    assert await wallet(pool, account) == Wallet(960, 0, 0)
    assert await redis_client.hkeys(keys.SETTLES) == [b"req_broken"]  # type: ignore[misc]


# -- records that are kept after their commit


@pytest.fixture
async def standby(settings: Settings, fresh_database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Another server, which becomes the primary."""
    promoted = msgspec.structs.replace(settings, database_url=fresh_database_url)
    async with await postgres.connect(promoted, application="tests") as connections:
        yield connections


@contextlib.asynccontextmanager
async def _failing_over(
    settings: Settings, standby: asyncpg.Pool, reservation: Reservation, records: SettledRecords
) -> AsyncIterator[Settler]:
    """A settler on the standby, to which the reservation has come, but not its settlement."""
    ledger = Ledger(standby, settings)
    await standby.execute("INSERT INTO accounts (id, name) VALUES ($1, 'someone')", reservation.account_id)
    await credit_account(standby, reservation.account_id, NanoUsd(1_000), ref=None, note=None)
    async with running(ledger.run_reserve(), ledger.run_settle()):
        await ledger.reserve(reservation)
        async with _settling(ledger, records) as settler:
            yield settler


async def _settled_as_usual(ledger: Ledger, client: ArqRedis, records: SettledRecords, settlement: Settlement) -> None:
    """By a worker, with a settle record."""
    await _record(client, settlement)
    async with _settling(ledger, records) as settler:
        settler.settle_soon(settlement)


async def test_what_postgres_loses_after_the_commit_is_settled_again(
    ledger: Ledger,
    redis_client: ArqRedis,
    new_account: NewAccount,
    records: SettledRecords,
    settings: Settings,
    standby: asyncpg.Pool,
) -> None:
    account = await new_account(1_000)
    reservation = await _held(ledger, account)
    await _settled_as_usual(ledger, redis_client, records, a_settlement(reservation, charge=40))
    assert await _records(redis_client) == 0
    async with _failing_over(settings, standby, reservation, records) as settler:
        assert await sweep_kept_records(standby, redis_client, settler, LONG_AGO_S) == 1
    assert await wallet(standby, account) == Wallet(960, 0, 0)
    async with _settling(ledger, records) as settler:  # and what is lost once more is settled once more
        assert await redis_client.hlen(keys.SETTLED) == 1  # type: ignore[misc]


@pytest.mark.parametrize("void", [True, False])
async def test_what_was_not_charged_is_not_charged_after_a_failover_either(
    ledger: Ledger,
    redis_client: ArqRedis,
    new_account: NewAccount,
    records: SettledRecords,
    settings: Settings,
    standby: asyncpg.Pool,
    *,
    void: bool,
) -> None:
    """Its hold had been released before the worker's charge came, and the new primary has not got that either."""
    account = await new_account(1_000)
    reservation = await _held(ledger, account)
    await ledger.settle(a_release(reservation, void=void))
    charge = a_settlement(reservation, charge=40)
    await _settled_as_usual(ledger, redis_client, records, charge)
    async with _failing_over(settings, standby, reservation, records) as settler:
        assert await sweep_kept_records(standby, redis_client, settler, LONG_AGO_S) == 1
    assert await wallet(standby, account) == Wallet(1_000, 0, 0)
    assert (await request_row(standby, reservation))["void"] is void


async def test_a_charge_whose_hold_was_released_instead_is_on_record(
    ledger: Ledger,
    redis_client: ArqRedis,
    new_account: NewAccount,
    records: SettledRecords,
    settings: Settings,
    standby: asyncpg.Pool,
) -> None:
    reservation = await _held(ledger, await new_account(1_000))
    await _settled_as_usual(ledger, redis_client, records, a_settlement(reservation, charge=40))
    async with _failing_over(settings, standby, reservation, records) as settler:
        settler.settle_soon(a_release(reservation))
        assert await settler.drained(SETTLED_S)
        assert await sweep_kept_records(standby, redis_client, settler, LONG_AGO_S) == 0
    assert await standby.fetchval("SELECT amount_nano FROM unbilled WHERE request_id = $1", reservation.id) == 40
    async with _settling(ledger, records) as settler:  # and that is all
        assert await sweep_kept_records(standby, redis_client, settler, LONG_AGO_S) == 0
        assert len(settler) == 0
    assert not await redis_client.exists(keys.SETTLED)


async def test_a_record_is_kept_for_its_time_and_costs_postgres_one_look(
    ledger: Ledger, pool: asyncpg.Pool, redis_client: ArqRedis, new_account: NewAccount, records: SettledRecords
) -> None:
    account = await new_account(1_000)
    reservation = await _held(ledger, account)
    await _settled_as_usual(ledger, redis_client, records, a_settlement(reservation, charge=40))
    async with _settling(ledger, records) as settler:
        assert await sweep_kept_records(pool, redis_client, settler, 60) == 0
        assert await redis_client.hkeys(keys.SETTLED) == [reservation.id.encode()]  # type: ignore[misc]
        assert await sweep_kept_records(pool, redis_client, settler, LONG_AGO_S) == 0
        assert len(settler) == 0
    assert not await redis_client.exists(keys.SETTLED, keys.SETTLED_AT)
    assert await wallet(pool, account) == Wallet(960, 0, 0)


async def test_a_record_that_is_kept_and_unreadable_is_dropped_and_stops_no_other(
    ledger: Ledger,
    redis_client: ArqRedis,
    new_account: NewAccount,
    records: SettledRecords,
    settings: Settings,
    standby: asyncpg.Pool,
) -> None:
    account = await new_account(1_000)
    broken, whole = await _held(ledger, account), await _held(ledger, account)
    for reservation in (broken, whole):
        await _settled_as_usual(ledger, redis_client, records, a_settlement(reservation, charge=40))
    await redis_client.hset(keys.SETTLED, broken.id, "\x01")  # type: ignore[misc] # typed for both clients
    async with _failing_over(settings, standby, whole, records) as settler:
        other = Ledger(standby, settings)
        async with running(other.run_reserve()):
            await other.reserve(broken)
        with structlog.testing.capture_logs() as logs:
            assert await sweep_kept_records(standby, redis_client, settler, LONG_AGO_S) == 1
    assert {one["request_id"] for one in logs if one.get("alert")} == {broken.id, whole.id}
    assert await wallet(standby, account) == Wallet(960, 100, 1)
    assert not await redis_client.hexists(keys.SETTLED, broken.id)  # type: ignore[misc]


async def test_the_sweep_of_kept_records_needs_one_connection_only(
    ledger: Ledger,
    pool: asyncpg.Pool,
    redis_client: ArqRedis,
    new_account: NewAccount,
    records: SettledRecords,
    settings: Settings,
) -> None:
    reservation = await _held(ledger, await new_account(1_000))
    await _settled_as_usual(ledger, redis_client, records, a_settlement(reservation, charge=40))
    async with (
        asyncpg.create_pool(settings.database_url, min_size=1, max_size=1) as narrow,
        _settling(ledger, records) as settler,
    ):
        assert await asyncio.wait_for(sweep_kept_records(narrow, redis_client, settler, LONG_AGO_S), 10) == 0
    assert not await redis_client.exists(keys.SETTLED)


async def test_a_hold_whose_settlement_was_lost_is_not_released_instead(
    ledger: Ledger,
    queue: Queue,
    redis_client: ArqRedis,
    new_account: NewAccount,
    records: SettledRecords,
    settings: Settings,
    standby: asyncpg.Pool,
) -> None:
    account = await new_account(1_000)
    reservation = await _held(ledger, account, expired=True)
    await _settled_as_usual(ledger, redis_client, records, a_settlement(reservation, charge=40))
    async with _failing_over(settings, standby, reservation, records) as settler:
        assert await _sweep_expired_holds(standby, redis_client, queue, settler) == 0
    assert await wallet(standby, account) == Wallet(960, 0, 0)


async def test_of_a_long_answer_the_price_is_kept_and_a_line_of_a_batch_is_run_again(
    ledger: Ledger, redis_client: ArqRedis, new_account: NewAccount, lua: Scripts, settings: Settings
) -> None:
    records = SettledRecords(lua, msgspec.structs.replace(settings, settled_record_bytes_max=10))
    account = await new_account(1_000)
    answers: dict[str, Any] = {"keep_until": datetime.now(UTC) + timedelta(days=1)}
    line = ItemKey(datetime.now(UTC).date(), "batch_x", 1)
    short, long, of_batch = [
        a_settlement(await _held(ledger, account), charge=40, answer=answer, batch_line=of, **answers)
        for answer, of in ((b"short", None), (b"x" * 11, None), (b"x" * 11, line))
    ]
    for settlement in (short, long, of_batch):
        await _settled_as_usual(ledger, redis_client, records, settlement)
    kept = await redis_client.hgetall(keys.SETTLED)  # type: ignore[misc]
    assert {one.decode(): unpack_settlement(record) for one, record in kept.items()} == {
        short.id: short,
        long.id: msgspec.structs.replace(long, answer=None),
    }


# -- expired holds


async def test_a_hold_whose_time_is_over_goes_back_to_the_customer(
    ledger: Ledger,
    pool: asyncpg.Pool,
    queue: Queue,
    redis_client: ArqRedis,
    new_account: NewAccount,
    records: SettledRecords,
) -> None:
    account = await new_account(1_000)
    lost, running = await _held(ledger, account, expired=True), await _held(ledger, account)
    async with _settling(ledger, records) as settler:
        assert await _sweep_expired_holds(pool, redis_client, queue, settler) == 1
    assert await wallet(pool, account) == Wallet(1_000, 100, 1)
    row = await request_row(pool, lost)
    assert (row["state"], row["hold_state"], row["error_code"]) == ("failed", "expired", "expired")
    await ledger.settle(a_release(running))


async def test_an_expired_request_never_runs_any_more(
    ledger: Ledger,
    pool: asyncpg.Pool,
    queue: Queue,
    redis_client: ArqRedis,
    new_account: NewAccount,
    records: SettledRecords,
) -> None:
    lost = await _held(ledger, await new_account(1_000), expired=True)
    job = a_job(id=lost.id)
    await enqueue(queue, job)
    async with _settling(ledger, records) as settler:
        assert await _sweep_expired_holds(pool, redis_client, queue, settler) == 1
    assert await claim(queue) == []
    with pytest.raises(Unavailable):
        await enqueue(queue, job)


async def test_calls_of_an_expired_request_that_vendors_bill_are_booked_as_the_operators_cost(
    ledger: Ledger,
    pool: asyncpg.Pool,
    queue: Queue,
    redis_client: ArqRedis,
    new_account: NewAccount,
    records: SettledRecords,
) -> None:
    """The first call ended in vain, the worker of the second one died."""
    account = await new_account(1_000)
    job = a_job(id=(await _held(ledger, account, expired=True)).id)
    await enqueue(queue, job)
    timed_out = LostCall(1, "openai", job.model.name, "provider_timeout", 7, estimated=True)
    await note_calls(redis_client, job.id, Received(calls=1, lost=[timed_out]))
    assert await queue.renew([await claim_one(queue)], {job.id: "2 openai"}) == []
    await let_lease_lapse(redis_client, job.id)
    with structlog.testing.capture_logs() as logs:
        async with _settling(ledger, records) as settler:
            assert await _sweep_expired_holds(pool, redis_client, queue, settler) == 1
    assert await wallet(pool, account) == Wallet(1_000, 0, 0)
    assert [line["lost_nano"] for line in logs if line["event"] == "vendor call lost"] == [7, 15_000]
    booked = await pool.fetch(LOST_CALLS, job.id)
    assert [tuple(one) for one in booked] == [(1, "provider_timeout", 7), (2, "worker_lost", 15_000)]
    assert await pool.fetchval("SELECT attempts FROM requests WHERE id = $1", job.id) == 2
    await assert_books_balance(pool)


async def test_a_hold_is_left_alone_while_a_worker_has_the_request_or_owes_its_settlement(
    ledger: Ledger,
    pool: asyncpg.Pool,
    queue: Queue,
    redis_client: ArqRedis,
    new_account: NewAccount,
    records: SettledRecords,
) -> None:
    account = await new_account(1_000)
    leased, owed = [await _held(ledger, account, expired=True) for _ in range(2)]
    await enqueue(queue, a_job(id=leased.id))
    await claim_one(queue)
    await _record(redis_client, a_settlement(owed, charge=40))
    async with _settling(ledger, records) as settler:
        assert await _sweep_expired_holds(pool, redis_client, queue, settler) == 0
        await let_lease_lapse(redis_client, leased.id)
        assert await _sweep_expired_holds(pool, redis_client, queue, settler) == 1
    assert await wallet(pool, account) == Wallet(1_000, 100, 1)
    await ledger.settle(a_settlement(owed, charge=40))


async def test_a_quarantined_settlement_keeps_its_hold_for_an_operator(
    ledger: Ledger,
    pool: asyncpg.Pool,
    queue: Queue,
    redis_client: ArqRedis,
    new_account: NewAccount,
    records: SettledRecords,
) -> None:
    reservation = await _held(ledger, await new_account(1_000), expired=True)
    assert await ledger.settle(a_release(reservation, charge_nano=1)) == "quarantined"
    async with _settling(ledger, records) as settler:
        assert await _sweep_expired_holds(pool, redis_client, queue, settler) == 0


async def test_a_quarantined_settlement_is_not_tried_again_and_again(
    ledger: Ledger, redis_client: ArqRedis, new_account: NewAccount, records: SettledRecords
) -> None:
    """Its hold stands, as if Postgres had lost it."""
    refused = a_release(await _held(ledger, await new_account(1_000)), charge_nano=1)
    await _settled_as_usual(ledger, redis_client, records, refused)
    assert not await redis_client.exists(keys.SETTLES, keys.SETTLED, keys.SETTLED_AT)


@pytest.mark.parametrize("lock", [Lock.EXPIRED_HOLDS, Lock.SETTLE_RECORDS])
async def test_one_worker_sweeps_at_a_time(
    ledger: Ledger,
    pool: asyncpg.Pool,
    queue: Queue,
    redis_client: ArqRedis,
    new_account: NewAccount,
    lock: int,
    records: SettledRecords,
) -> None:
    reservation = await _held(ledger, await new_account(1_000), expired=True)
    minute_ago = datetime.now(UTC) - timedelta(minutes=1)
    if lock == Lock.SETTLE_RECORDS:
        await _record(redis_client, a_settlement(reservation, charge=1, ended_at=minute_ago))
    async with _settling(ledger, records) as settler:

        async def sweep() -> int:
            if lock == Lock.SETTLE_RECORDS:
                return await sweep_settle_records(pool, redis_client, settler)
            return await _sweep_expired_holds(pool, redis_client, queue, settler)

        async with pool.acquire() as other, other.transaction():
            await other.execute("SELECT pg_advisory_xact_lock($1)", lock)
            assert await sweep() == 0
        assert await sweep() == 1


# -- what earlier attempts left


async def test_a_first_attempt_finds_nothing(redis_client: ArqRedis) -> None:
    assert await look_back(redis_client, a_job().id) == Past()


async def test_a_later_attempt_knows_what_was_sent_called_and_owed(
    queue: Queue, lua: Scripts, redis_client: ArqRedis
) -> None:
    await enqueue(queue, a_job())
    claimed = await claim_one(queue)
    journal = DirectJournal(lua, claimed, live_s=60, upstream="openai")
    lost = LostCall(1, "openai", "openai-gpt-4o", "provider_timeout", 7, estimated=True)
    await note_calls(redis_client, claimed.id, Received(calls=2, rerouted=1, lost=[lost]))
    assert await queue.renew([claimed], {claimed.id: "3 openai-eu"}) == []
    of_claim = CallOfClaim(claimed.epoch, 3, "openai-eu")
    snowman = Chunk("\N{SNOWMAN}", pieces=2)
    await journal.append(snowman)
    first = len(pack(snowman))
    past = await look_back(redis_client, claimed.id)
    assert (past.length, past.text_bytes, past.pieces, past.end) == (1, 3, 2, None)
    assert past == Past(
        (snowman,),
        bytes=first,
        calls=2,
        rerouted=1,
        lost=(lost,),
        upstream="openai",
        calls_of_claims=(of_claim,),
        waits=1,
    )
    settlement = a_settlement(a_reservation("acc_x", id=claimed.id), charge=1)
    done = Done("stop", Usage(1, 1), 1)
    await journal.append(done, settlement)
    past = await look_back(redis_client, claimed.id)
    assert (past.length, past.text_bytes, past.pieces, past.end) == (2, 3, 2, done)
    assert past == Past(
        (snowman, done),
        bytes=first + len(pack(done)),
        calls=2,
        rerouted=1,
        lost=(lost,),
        upstream="openai",
        calls_of_claims=(of_claim,),
        waits=1,
        settlement=settlement,
    )
    assert not await queue.bury(claimed.id, OPENAI)
