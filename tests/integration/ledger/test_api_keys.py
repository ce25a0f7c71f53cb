from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from shared.errors import Conflict, InvalidApiKey, InvalidRequest, NotFound
from shared.ids import new_id
from shared.ledger.api_keys import (
    ApiKey,
    KeyRules,
    Manager,
    _insert_key,
    _making_keys,
    create_key,
    find_key,
    list_keys,
    revoke_key,
    rotate_key,
    split_key,
)
from shared.ledger.ledger import Ledger
from shared.money import NanoUsd
from tests.harness.builders import a_reservation, a_settlement
from tests.integration.conftest import NewAccount

NO_GRACE = timedelta(0)


def _now() -> datetime:
    return datetime.now(UTC)


async def _stored(pool: asyncpg.Pool, key_id: str) -> ApiKey:
    found = await find_key(pool, key_id)
    assert found is not None
    return found


async def test_a_key_is_stored_as_a_hash_and_its_secret_nowhere(pool: asyncpg.Pool, new_account: NewAccount) -> None:
    new = await create_key(pool, await new_account(0), KeyRules(name="ci"))
    key_id, secret = split_key(new.key)
    assert key_id == new.key_id
    assert (await _stored(pool, key_id)).secret_sha256 == hashlib.sha256(secret.encode()).digest()
    assert (await _stored(pool, key_id)).proves(secret)
    for table in await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        dump = await pool.fetch(f"SELECT t::text FROM {table['tablename']} t")
        assert secret not in repr(dump), table["tablename"]


async def test_a_key_keeps_the_rules_it_was_made_with(pool: asyncpg.Pool, new_account: NewAccount) -> None:
    expires_at = _now() + timedelta(days=1)
    rules = KeyRules(name="n", scopes=("read", "manage"), rpm=60, limit=NanoUsd(5), expires_at=expires_at)
    account = await new_account(0)
    stored = await _stored(pool, (await create_key(pool, account, rules)).key_id)
    assert (stored.account_id, stored.name, stored.scopes, stored.rpm) == (account, "n", ("read", "manage"), 60)
    assert (stored.limit, stored.used, stored.expires_at, stored.revoked_at) == (5, 0, expires_at, None)


@pytest.mark.parametrize(
    "rules",
    [
        KeyRules(name="x" * 201),
        KeyRules(name="nul\0"),
        KeyRules(scopes=()),
        KeyRules(scopes=("inference", "root")),
        KeyRules(rpm=0),
        KeyRules(rpm=10_000_001),
        KeyRules(limit=NanoUsd(-1)),
        KeyRules(limit=NanoUsd(10**18 + 1)),
        KeyRules(expires_at=datetime(9999, 1, 1, tzinfo=UTC)),
        KeyRules(expires_at=datetime(2020, 1, 1, tzinfo=UTC)),
    ],
)
async def test_rules_that_make_no_sense_are_refused(
    pool: asyncpg.Pool, new_account: NewAccount, rules: KeyRules
) -> None:
    account = await new_account(0)
    with pytest.raises(InvalidRequest):
        await create_key(pool, account, rules)
    assert await list_keys(pool, account) == []


async def test_a_key_needs_an_account(pool: asyncpg.Pool) -> None:
    with pytest.raises(NotFound):
        await create_key(pool, new_id("acc"), KeyRules())


async def test_an_accounts_keys_are_listed_oldest_first_with_the_revoked_ones_and_nobody_elses(
    pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account, other = await new_account(0), await new_account(0)
    ids = [(await create_key(pool, account, KeyRules(name=name))).key_id for name in "abc"]
    await create_key(pool, other, KeyRules())
    await revoke_key(pool, ids[0])
    assert [key.id for key in await list_keys(pool, account)] == ids


async def test_a_revoked_key_stays_revoked_since_the_first_time(pool: asyncpg.Pool, new_account: NewAccount) -> None:
    key_id = (await create_key(pool, await new_account(0), KeyRules())).key_id
    first = await revoke_key(pool, key_id)
    assert not first.usable(_now())
    assert (await revoke_key(pool, key_id)).revoked_at == first.revoked_at


async def test_a_key_that_does_not_exist_cannot_be_revoked_or_rotated(pool: asyncpg.Pool) -> None:
    assert await find_key(pool, "nobody") is None
    with pytest.raises(NotFound):
        await revoke_key(pool, "nobody")
    with pytest.raises(NotFound):
        await rotate_key(pool, "nobody", NO_GRACE)


async def test_a_rotated_key_has_the_same_rules_and_the_old_one_ends_after_the_grace(
    pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    expires_at = _now() + timedelta(days=30)
    rules = KeyRules(name="ci", scopes=("manage",), rpm=7, expires_at=expires_at, strict=True)
    old_id = (await create_key(pool, await new_account(0), rules)).key_id
    new = await rotate_key(pool, old_id, timedelta(hours=1))
    old, fresh = await _stored(pool, old_id), await _stored(pool, new.key_id)
    assert (fresh.name, fresh.scopes, fresh.rpm, fresh.expires_at) == ("ci", ("manage",), 7, expires_at)
    assert fresh.strict
    assert fresh.secret_sha256 != old.secret_sha256
    assert old.usable(_now())
    assert old.expires_at is not None
    assert timedelta(minutes=59) < old.expires_at - _now() <= timedelta(hours=1)


async def test_a_key_in_its_grace_has_one_successor(pool: asyncpg.Pool, new_account: NewAccount) -> None:
    old_id = (await create_key(pool, await new_account(0), KeyRules())).key_id
    new = await rotate_key(pool, old_id, timedelta(hours=1))
    with pytest.raises(Conflict, match=f"rotate the new one: {new.key_id}"):
        await rotate_key(pool, old_id, timedelta(hours=1))
    assert await pool.fetchval("SELECT successor FROM api_keys WHERE id = $1", old_id) == new.key_id
    await revoke_key(pool, new.key_id)
    with pytest.raises(Conflict, match="create a new one"):
        await rotate_key(pool, old_id, timedelta(hours=1))


async def test_without_grace_the_old_key_ends_at_once_and_cannot_be_rotated_again(
    pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    old_id = (await create_key(pool, await new_account(0), KeyRules())).key_id
    await rotate_key(pool, old_id, NO_GRACE)
    assert not (await _stored(pool, old_id)).usable(_now())
    with pytest.raises(InvalidRequest):
        await rotate_key(pool, old_id, NO_GRACE)


@pytest.mark.parametrize("grace", [timedelta(days=3_651), timedelta(days=4_000_000), timedelta(seconds=-1)])
async def test_a_grace_beyond_its_bounds_is_refused_and_changes_nothing(
    pool: asyncpg.Pool, new_account: NewAccount, grace: timedelta
) -> None:
    account = await new_account(0)
    old_id = (await create_key(pool, account, KeyRules())).key_id
    before = await list_keys(pool, account)
    with pytest.raises(InvalidRequest):
        await rotate_key(pool, old_id, grace)
    assert await list_keys(pool, account) == before


async def test_a_grace_never_prolongs_a_keys_life(pool: asyncpg.Pool, new_account: NewAccount) -> None:
    expires_at = _now() + timedelta(minutes=5)
    old_id = (await create_key(pool, await new_account(0), KeyRules(expires_at=expires_at))).key_id
    await rotate_key(pool, old_id, timedelta(days=1))
    assert (await _stored(pool, old_id)).expires_at == expires_at


async def test_a_spending_limit_moves_to_the_new_key_as_what_is_left_of_it(
    ledger: Ledger, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    old_id = (await create_key(pool, account, KeyRules(limit=NanoUsd(100)))).key_id
    reservation = a_reservation(account, 50, key_id=old_id)
    await ledger.reserve(reservation)
    await ledger.settle(a_settlement(reservation, charge=30))
    new = await rotate_key(pool, old_id, NO_GRACE)
    assert (await _stored(pool, new.key_id)).limit == 70


async def test_a_manager_that_is_revoked_makes_no_key(pool: asyncpg.Pool, new_account: NewAccount) -> None:
    account = await new_account(0)
    manager, other = [(await create_key(pool, account, KeyRules(scopes=("manage",)))).key_id for _ in range(2)]
    await revoke_key(pool, manager)
    with pytest.raises(InvalidApiKey):
        await create_key(pool, account, KeyRules(), by=Manager(manager, 10))
    with pytest.raises(InvalidApiKey):
        await rotate_key(pool, other, NO_GRACE, by=Manager(manager, 10))
    assert len(await list_keys(pool, account)) == 2


async def test_a_revocation_waits_for_the_key_that_is_just_being_made_so_that_a_list_behind_it_has_that_one(
    pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(0)
    manager = (await create_key(pool, account, KeyRules(scopes=("manage",)))).key_id
    async with _making_keys(pool, account, Manager(manager, 10)) as connection:
        made = await _insert_key(connection, account, KeyRules())
        with pytest.raises(asyncpg.LockNotAvailableError):
            await revoke_key(pool, manager, within_s=0.1)
    await revoke_key(pool, manager)
    assert made.key_id in [key.id for key in await list_keys(pool, account)]


async def test_many_at_once_never_make_more_keys_than_an_account_may_have(
    pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(0)
    manager = Manager((await create_key(pool, account, KeyRules(scopes=("manage",)))).key_id, 5)
    calls = (create_key(pool, account, KeyRules(), by=manager) for _ in range(20))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 16
    assert len(await list_keys(pool, account)) == 5
