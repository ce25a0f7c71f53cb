"""Every change of access and credit is in the audit log with its author, or neither is there."""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from shared.errors import Conflict, RebootError
from shared.ledger import accounts, api_keys
from shared.ledger.api_keys import KeyRules
from shared.money import NanoUsd
from shared.operators import audit, operators
from shared.operators.audit import Author, Entry, list_entries

USD = 1_000_000_000
AUTHOR = Author("operator:ada", "req_x")


async def of(pool: asyncpg.Pool, target: str) -> list[Entry]:
    """The entries on one target, oldest first."""
    return [one for one in reversed((await list_entries(pool, limit=1_000)).entries) if one.target == target]


async def test_credit_is_noted_with_what_it_changed(pool: asyncpg.Pool) -> None:
    account = await accounts.create_account(pool, "someone", NanoUsd(5 * USD), author=AUTHOR)
    for _ in range(2):  # the second time the reference changes nothing
        await accounts.credit_account(pool, account.id, NanoUsd(-2 * USD), ref="r1", note="a refund", author=AUTHOR)
    created, credited = await of(pool, f"account:{account.id}")
    assert (created.action, created.actor, created.request_id) == ("account.create", "operator:ada", "req_x")
    assert (created.before, created.after["balance_usd"]) == (None, "5")
    assert (credited.action, credited.before) == ("account.credit", {"balance_usd": "5"})
    assert credited.after == {"balance_usd": "3", "usd": "-2", "ref": "r1", "note": "a refund"}


async def test_keys_are_noted_without_their_secrets(pool: asyncpg.Pool) -> None:
    account = await accounts.create_account(pool, "someone", NanoUsd(0))
    new = await api_keys.create_key(pool, account.id, KeyRules(rpm=3), author=AUTHOR)
    next_one = await api_keys.rotate_key(pool, new.key_id, timedelta(0), author=AUTHOR)
    for _ in range(2):
        await api_keys.revoke_key(pool, next_one.key_id, author=AUTHOR)
    created, rotated = await of(pool, f"key:{new.key_id}")
    assert (created.action, created.after["rpm"], created.after["account_id"]) == ("key.create", 3, account.id)
    assert (rotated.action, rotated.after["successor"]) == ("key.rotate", next_one.key_id)
    assert [one.action for one in await of(pool, f"key:{next_one.key_id}")] == ["key.create", "key.revoke"]
    everything = repr((await list_entries(pool, limit=1_000)).entries)
    for secret in (new, next_one):
        assert secret.key.split("_")[2][:32] not in everything


async def test_operators_and_tokens_are_noted_without_their_secrets(pool: asyncpg.Pool) -> None:
    sign_in = await operators.create_operator(pool, "noted")
    token = await operators.create_token(pool, "noted", ("read",), None)
    await operators.revoke_operator(pool, "noted", token_id=token.row.token_id)
    for _ in range(2):
        await operators.revoke_operator(pool, "noted")
    actions = [one.action for one in await of(pool, "operator:noted")]
    assert actions == ["operator.create", "operator.token", "operator.revoke"]
    assert len(await of(pool, f"operator:noted/token:{token.row.token_id}")) == 1
    everything = repr((await list_entries(pool, limit=1_000)).entries)
    assert sign_in.split("_")[2][:32] not in everything
    assert token.token.split("_")[2][:32] not in everything


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"])
async def test_nothing_of_it_can_be_changed(pool: asyncpg.Pool, statement: str) -> None:
    await accounts.create_account(pool, "someone", NanoUsd(0))
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await pool.execute(statement)


async def test_a_change_that_cannot_be_noted_is_not_made(pool: asyncpg.Pool) -> None:
    account = await accounts.create_account(pool, "someone", NanoUsd(USD))
    key = await api_keys.create_key(pool, account.id, KeyRules())
    unspeakable = Author("operator:\0")  # what Postgres takes as no text
    changes: list[Callable[[], Awaitable[object]]] = [
        lambda: accounts.credit_account(pool, account.id, NanoUsd(USD), ref=None, note=None, author=unspeakable),
        lambda: api_keys.create_key(pool, account.id, KeyRules(), author=unspeakable),
        lambda: api_keys.revoke_key(pool, key.key_id, author=unspeakable),
        lambda: api_keys.rotate_key(pool, key.key_id, timedelta(0), author=unspeakable),
    ]
    for change in changes:
        with pytest.raises(asyncpg.CharacterNotInRepertoireError):
            await change()
    assert (await accounts.find_account(pool, account.id)).balance == USD
    (only,) = await api_keys.list_keys(pool, account.id)
    assert only == key.stored


async def test_what_is_refused_is_not_noted(pool: asyncpg.Pool) -> None:
    account = await accounts.create_account(pool, "someone", NanoUsd(0))
    for amount in (NanoUsd(-1), NanoUsd(0)):
        with pytest.raises(RebootError):
            await accounts.credit_account(pool, account.id, amount, ref="r", note=None)
    assert len(await of(pool, f"account:{account.id}")) == 1


async def test_without_an_author_it_was_whoever_runs_the_process(pool: asyncpg.Pool) -> None:
    account = await accounts.create_account(pool, "someone", NanoUsd(0))
    (entry,) = await of(pool, f"account:{account.id}")
    assert entry.actor.startswith("cli:")
    assert "@" in entry.actor
    assert entry.request_id is None


async def test_it_is_listed_in_pages_by_time_and_by_author(pool: asyncpg.Pool) -> None:
    author = Author("operator:pages")
    began_at = datetime.now(UTC)
    names = [f"n{number}" for number in range(5)]
    for name in names:
        await accounts.create_account(pool, name, NanoUsd(0), author=author)
    seen: list[Entry] = []
    page = await list_entries(pool, limit=2, actor=author.actor)
    while page.last_id is not None:
        seen += page.entries
        page = await list_entries(pool, limit=2, actor=author.actor, before_id=page.last_id)
    seen += page.entries
    assert [one.after["name"] for one in seen] == names[::-1]
    late = await list_entries(pool, limit=10, actor=author.actor, since=seen[1].at)
    assert [one.after["name"] for one in late.entries] == ["n4", "n3"]
    assert (await list_entries(pool, limit=10, since=began_at + timedelta(days=1))).entries == []


async def test_a_user_without_a_name_is_noted_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert audit.local_author.__wrapped__().actor.partition("@")[0].removeprefix("cli:").isdigit()


async def test_a_name_of_an_operator_is_used_once(pool: asyncpg.Pool) -> None:
    await operators.create_operator(pool, "once")
    await operators.revoke_operator(pool, "once")
    with pytest.raises(Conflict, match="another name"):
        await operators.create_operator(pool, "once")
    with pytest.raises(Conflict, match="revoked"):
        await operators.create_token(pool, "once", ("read",), None)
