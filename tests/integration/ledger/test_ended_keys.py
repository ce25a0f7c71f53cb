"""A key that is revoked or expires stops what it began; a rotated one hands it to its successor."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest
from arq.connections import ArqRedis
from arq.constants import abort_jobs_ss

from api.auth import Authenticator
from api.batches.creation import NewBatch, create_batch
from api.key_watch import KeyWatch
from shared.batches.batches import Batch, batch_from_row, find_batch
from shared.batches.files import Contents, begin_file, finish_file
from shared.batches.queries import BATCHES
from shared.errors import InvalidApiKey
from shared.ledger.api_keys import KeyRules, create_key, find_key, revoke_key, rotate_key
from shared.ledger.ended_keys import KeyEnded, ended_since
from shared.ledger.ledger import Ledger
from shared.ledger.rows import Reservation
from shared.money import NanoUsd
from shared.queue.queue import Queue
from shared.settings import Settings
from tests.harness.builders import a_reservation, a_settlement
from tests.integration.batches.batching import SETTINGS, WITHOUT_CREDIT, a_batch, a_file, all_results, ready_cursors
from tests.integration.books import assert_books_balance
from tests.integration.conftest import NewAccount
from workers.sweeps import ended_keys
from workers.sweeps.ended_keys import EndedKeys

NO_GRACE, GRACE = timedelta(0), timedelta(hours=1)


def _now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def account(new_account: NewAccount) -> str:
    return await new_account(10_000)


async def _a_key(pool: asyncpg.Pool, account: str, **rules: object) -> str:
    return (await create_key(pool, account, KeyRules(**rules))).key_id  # type: ignore[arg-type]


async def _expire(pool: asyncpg.Pool, key_id: str) -> None:
    await pool.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", key_id)


async def _rotate(pool: asyncpg.Pool, key_id: str, grace: timedelta = NO_GRACE) -> str:
    return (await rotate_key(pool, key_id, grace)).key_id


async def _why(pool: asyncpg.Pool, key_id: str, began_at: datetime) -> str | None:
    return (await ended_since(pool, [(key_id, began_at)])).get((key_id, began_at))


async def _running(ledger: Ledger, account: str, key_id: str) -> Reservation:
    reservation = a_reservation(account, key_id=key_id)
    await ledger.reserve(reservation)
    return reservation


# -- what has to stop


async def test_what_a_key_began_stops_when_it_is_revoked_or_expires(pool: asyncpg.Pool, account: str) -> None:
    holds, revoked, expired = [await _a_key(pool, account) for _ in range(3)]
    began_at = _now()
    await revoke_key(pool, revoked)
    await _expire(pool, expired)
    assert [await _why(pool, key, began_at) for key in (holds, revoked, expired, "unknown")] == [
        None,
        "key_revoked",
        "key_expired",
        None,
    ]


async def test_what_a_rotated_key_began_is_its_successors(pool: asyncpg.Pool, account: str) -> None:
    first = await _a_key(pool, account)
    began_at = _now()
    second = await _rotate(pool, first)
    third = await _rotate(pool, second)
    assert await _why(pool, first, began_at) is None
    await revoke_key(pool, third)
    assert await _why(pool, first, began_at) == "key_revoked"


async def test_what_was_handed_over_goes_on_when_the_old_key_is_revoked_and_what_it_began_since_stops(
    pool: asyncpg.Pool, account: str
) -> None:
    old = await _a_key(pool, account)
    before = _now()
    await _rotate(pool, old, GRACE)
    since = _now()
    assert await _why(pool, old, since) is None
    await revoke_key(pool, old)
    assert (await _why(pool, old, before), await _why(pool, old, since)) == (None, "key_revoked")


async def test_what_a_rotated_key_began_in_its_grace_is_its_successors_afterwards(
    pool: asyncpg.Pool, account: str
) -> None:
    old = await _a_key(pool, account)
    new = await _rotate(pool, old, GRACE)
    since = _now()
    await _expire(pool, old)
    assert await _why(pool, old, since) is None
    await _expire(pool, new)
    assert await _why(pool, old, since) == "key_expired"


async def test_what_runs_takes_its_part_of_the_limit_to_the_successor(
    pool: asyncpg.Pool, ledger: Ledger, account: str
) -> None:
    old = await _a_key(pool, account, limit=NanoUsd(1_000))
    done, runs = [await _running(ledger, account, old) for _ in range(2)]
    await ledger.settle(a_settlement(done, charge=60))
    new = await _rotate(pool, old, GRACE)
    await ledger.settle(a_settlement(runs, charge=30))
    rows = [await find_key(pool, key) for key in (old, new)]
    assert [(row.limit, row.used) for row in rows if row] == [(60, 60), (940, 30)]
    await assert_books_balance(pool)


# -- the workers' sweep of requests


async def _asked_to_end(redis_client: ArqRedis) -> set[str]:
    return {name.decode() for name in await redis_client.zrange(abort_jobs_ss, 0, -1)}


async def test_the_sweep_cancels_the_running_requests_of_ended_keys_and_nobody_elses(
    pool: asyncpg.Pool, ledger: Ledger, queue: Queue, redis_client: ArqRedis, account: str, settings: Settings
) -> None:
    holds, revoked, expired, rotated = [await _a_key(pool, account) for _ in range(4)]
    ended = await _running(ledger, account, revoked)
    await ledger.settle(a_settlement(ended))
    _, *stopped, _ = [await _running(ledger, account, key) for key in (holds, revoked, expired, rotated)]
    sweep = EndedKeys(pool, queue, settings).sweep
    assert await sweep() == 0
    await revoke_key(pool, revoked)
    await _expire(pool, expired)
    await _rotate(pool, rotated)
    late = await _running(ledger, account, revoked)  # was authenticated just before
    assert await sweep() == len({*stopped, late})
    assert await _asked_to_end(redis_client) == {one.id for one in (*stopped, late)}
    for one in (*stopped, late):
        await ledger.settle(a_settlement(one))
    assert await sweep() == 0


async def test_what_runs_is_looked_through_only_when_a_key_has_ended_lately(
    pool: asyncpg.Pool, ledger: Ledger, queue: Queue, account: str, settings: Settings
) -> None:
    old = await _a_key(pool, account)
    await _running(ledger, account, old)
    await pool.execute("UPDATE api_keys SET revoked_at = now() - interval '1 day' WHERE id = $1", old)
    assert await EndedKeys(pool, queue, settings).sweep() == 0


async def test_a_request_that_was_admitted_just_after_its_key_was_rotated_stops_with_the_successor(
    pool: asyncpg.Pool, ledger: Ledger, queue: Queue, redis_client: ArqRedis, account: str, settings: Settings
) -> None:
    """It was authenticated just before, so it is still the old key's, which goes on for its grace."""
    old = await _a_key(pool, account)
    late = a_reservation(account, key_id=old)
    new = await _rotate(pool, old, GRACE)
    newest = await _rotate(pool, new, GRACE)
    await ledger.reserve(late)
    await revoke_key(pool, newest)
    assert await EndedKeys(pool, queue, settings).sweep() == 1
    assert await _asked_to_end(redis_client) == {late.id}
    await ledger.settle(a_settlement(late))


async def test_what_runs_on_is_asked_once_in_a_while_and_keeps_nobody_else_waiting(
    pool: asyncpg.Pool,
    ledger: Ledger,
    queue: Queue,
    redis_client: ArqRedis,
    account: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ended_keys, "REQUESTS_PER_PAGE", 2)
    key = await _a_key(pool, account)
    running = [await _running(ledger, account, key) for _ in range(5)]
    await revoke_key(pool, key)
    sweep = EndedKeys(pool, queue, settings).sweep
    assert await sweep() == len(running)
    assert await _asked_to_end(redis_client) == {one.id for one in running}
    late = await _running(ledger, account, key)
    await redis_client.flushdb()
    assert await sweep() == 1
    assert await _asked_to_end(redis_client) == {late.id}
    monkeypatch.setattr(ended_keys, "AGAIN_AFTER_S", 0.0)
    assert await sweep() == len(running) + 1
    for one in (*running, late):
        await ledger.settle(a_settlement(one))


# -- batches


async def _reread(pool: asyncpg.Pool, batch: Batch) -> Batch:
    return await find_batch(pool, batch.account_id, batch.id)


async def _cursors(pool: asyncpg.Pool) -> set[str]:
    return {row["batch_id"] for row in await ready_cursors(pool)}


async def test_the_batch_of_an_ended_key_is_not_fed(pool: asyncpg.Pool, account: str) -> None:
    key = await _a_key(pool, account)
    batch = await a_batch(pool, account, key=key)
    assert batch.id in await _cursors(pool)
    await _expire(pool, key)
    assert batch.id not in await _cursors(pool)


async def test_a_batch_that_was_stopped_is_exported_with_the_reason(pool: asyncpg.Pool, account: str) -> None:
    batch = await a_batch(pool, account)
    await pool.execute(BATCHES["cancel"], batch.id, "key_revoked")
    (row,) = await pool.fetch(BATCHES["claim_export"], 60.0)
    claimed = batch_from_row(row)
    assert (claimed.id, claimed.reason) == (batch.id, "key_revoked")
    ended = msgspec.structs.replace(claimed, state=claimed.ends_as, ended_at=_now())
    assert {result.error_message for result in await all_results(pool, ended)} == {
        "The batch was cancelled before this line, because its API key was revoked."
    }


async def test_an_open_batch_goes_over_to_the_successor_at_once(pool: asyncpg.Pool, account: str) -> None:
    key = await _a_key(pool, account)
    batch = await a_batch(pool, account, key=key)
    new = await _rotate(pool, key, GRACE)
    assert (await _reread(pool, batch)).key_id == new
    assert batch.id in await _cursors(pool)


async def test_an_upload_whose_key_has_ended_meanwhile_makes_no_batch(pool: asyncpg.Pool, account: str) -> None:
    key = await _a_key(pool, account)
    file = await a_file(pool, account, "openai")
    await revoke_key(pool, key)
    with pytest.raises(KeyEnded, match="was revoked"):
        await create_batch(pool, NewBatch(file, key, "/api/endpoint", asked_at=file.created_at), SETTINGS)
    assert await pool.fetchval("SELECT count(*) FROM batches WHERE account_id = $1", account) == 0


async def test_an_upload_whose_key_was_rotated_meanwhile_makes_a_batch_of_the_successors(
    pool: asyncpg.Pool, account: str
) -> None:
    key = await _a_key(pool, account)
    file = await a_file(pool, account, "openai")
    new = await _rotate(pool, key)
    made = await create_batch(pool, NewBatch(file, key, "/api/endpoint", asked_at=file.created_at), SETTINGS)
    assert made.batch.key_id == new


async def test_a_file_whose_key_has_ended_meanwhile_is_not_finished(pool: asyncpg.Pool, account: str) -> None:
    revoked, rotated = [await _a_key(pool, account) for _ in range(2)]
    files = [await begin_file(pool, account, "openai", "lines", SETTINGS, WITHOUT_CREDIT) for _ in range(2)]
    await revoke_key(pool, revoked)
    await _rotate(pool, rotated)
    with pytest.raises(KeyEnded, match="was revoked"):
        await finish_file(pool, files[0], revoked, Contents(1, 1, 1, 0))
    await finish_file(pool, files[1], rotated, Contents(1, 1, 1, 0))
    states = [await pool.fetchval("SELECT state FROM files WHERE id = $1", file.id) for file in files]
    assert states == ["uploading", "ready"]


# -- what is open at a front door


async def test_what_is_open_stops_when_its_key_ends_and_only_then(
    pool: asyncpg.Pool, account: str, settings: Settings
) -> None:
    watch = KeyWatch(pool, settings)
    holds, revoked, rotated = [await _a_key(pool, account) for _ in range(3)]
    told: list[tuple[str, str]] = []
    with (
        watch.watching(holds, lambda why: told.append(("holds", why.message))),
        watch.watching(revoked, lambda why: told.append(("revoked", why.message))),
        watch.watching(rotated, lambda why: told.append(("rotated", why.message))),
    ):
        await watch.look()
        assert told == []
        await revoke_key(pool, revoked)
        await _rotate(pool, rotated)
        for _ in range(2):
            await watch.look()
        ((name, message),) = told
        assert name == "revoked"
        assert "was revoked" in message
    await watch.look()


async def test_a_block_is_cancelled_with_its_key_and_says_why(
    pool: asyncpg.Pool, account: str, settings: Settings
) -> None:
    watch, key = KeyWatch(pool, settings), await _a_key(pool, account)
    inside = asyncio.Event()

    async def upload() -> None:
        async with watch.stopping(key):
            inside.set()
            await asyncio.Event().wait()

    uploading = asyncio.ensure_future(upload())
    await inside.wait()
    await _expire(pool, key)
    await watch.look()
    with pytest.raises(KeyEnded, match="has expired"):
        await uploading


async def test_a_caller_who_leaves_a_watched_block_has_left(
    pool: asyncpg.Pool, account: str, settings: Settings
) -> None:
    watch, key = KeyWatch(pool, settings), await _a_key(pool, account)
    inside = asyncio.Event()

    async def upload() -> None:
        async with watch.stopping(key):
            inside.set()
            await asyncio.Event().wait()

    uploading = asyncio.ensure_future(upload())
    await inside.wait()
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading


async def test_a_key_that_ended_while_a_body_arrived_is_refused(
    pool: asyncpg.Pool, account: str, settings: Settings, ledger: Ledger
) -> None:
    new = await create_key(pool, account, KeyRules())
    door = Authenticator(pool, msgspec.structs.replace(settings, auth_cache_s=0.0), ledger.distrust_connections)
    key = await door.authenticate({"Authorization": f"Bearer {new.key}"}, "inference")
    await door.require_still(key)
    await revoke_key(pool, new.key_id)
    with pytest.raises(InvalidApiKey, match="revoked"):
        await door.require_still(key)
