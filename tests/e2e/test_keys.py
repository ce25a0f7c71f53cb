"""`/api/keys`: an account manages its own keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from shared.ledger.api_keys import KeyRules, create_key, revoke_key
from shared.money import NanoUsd
from tests.e2e.conftest import KEYS_PER_ACCOUNT_MAX, NewCaller
from tests.harness.caller import Caller, Reply, told
from tests.harness.support import eventually_true

MANAGER = KeyRules(name="manager", scopes=("manage",))
ROW = {
    "key_id",
    "account_id",
    "name",
    "scopes",
    "rpm",
    "limit_usd",
    "used_usd",
    "expires_at",
    "strict",
    "revoked_at",
    "created_at",
}


@pytest.fixture
async def manager(new_caller: NewCaller) -> Caller:
    return await new_caller(rules=MANAGER)


async def _create(manager: Caller, **body: Any) -> Any:
    reply = await manager.request("POST", "/api/keys", json=body)
    assert reply.status == 201, reply.body
    assert reply.headers["Cache-Control"] == "no-store"
    return reply.json["result"]


async def _list(manager: Caller) -> Any:
    reply = await manager.request("GET", "/api/keys")
    assert reply.status == 200, reply.body
    return reply.json["result"]


def _as(manager: Caller, key: str) -> Caller:
    return Caller(manager.session, manager._cluster, manager.account_id, key)


def _id(caller: Caller) -> str:
    return caller.key.split("_")[1]


def _logged(logs: Path) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in logs.iterdir())


async def _refused(caller: Caller) -> bool:
    return (await caller.request("GET", "/api/account")).status == 401


def _assert_400(reply: Reply, named: str) -> None:
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")
    assert named in reply.error["message"]


async def test_a_new_key_works_at_once_is_shown_once_and_listed_without_its_secret(manager: Caller, logs: Path) -> None:
    created = await _create(manager, name="ci", scopes=["read"])
    assert set(created) == ROW | {"key"}
    assert (created["name"], created["scopes"], created["account_id"]) == ("ci", ["read"], manager.account_id)
    assert (await _as(manager, created["key"]).request("GET", "/api/account")).status == 200
    listed = await _list(manager)
    assert [row["name"] for row in listed] == ["manager", "ci"]
    assert listed[1] == {name: value for name, value in created.items() if name != "key"}
    secret = created["key"].split("_")[2]
    assert secret not in _logged(logs)


async def test_a_key_has_the_rules_it_was_asked_for(manager: Caller) -> None:
    expires_at = "2099-01-31T12:00:00+02:00"
    created = await _create(
        manager, scopes=["inference", "read", "read"], rpm=7, limit_usd="12.000000001", expires_at=expires_at
    )
    assert (created["scopes"], created["rpm"]) == (["inference", "read"], 7)
    assert (created["limit_usd"], created["used_usd"]) == ("12.000000001", "0")
    assert created["expires_at"] == "2099-01-31T10:00:00Z"
    assert (await _create(manager))["scopes"] == ["inference", "read"]


@pytest.mark.parametrize(("number", "limit"), [("0.1", "0.1"), ("1e-9", "0.000000001"), ("0", "0"), ("3", "3")])
async def test_a_limit_as_a_number_is_taken_exactly(manager: Caller, number: str, limit: str) -> None:
    headers = {"Content-Type": "application/json"}
    reply = await manager.request("POST", "/api/keys", data=f'{{"limit_usd": {number}}}'.encode(), headers=headers)
    assert reply.json["result"]["limit_usd"] == limit


async def test_a_key_can_be_made_for_so_many_seconds(manager: Caller) -> None:
    before = datetime.now(UTC)
    created = await _create(manager, expires_in_s=3_600)
    expires_at = datetime.fromisoformat(created["expires_at"])
    assert before + timedelta(hours=1) <= expires_at <= datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"label": "x"}, "label"),
        ({"account_id": "acc_of_somebody"}, "account_id"),
        ({"name": 5}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "nul\0"}, "name"),
        ({"scopes": "read"}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes"),
        ({"rpm": 0}, "rpm"),
        ({"rpm": 10_000_001}, "rpm"),
        ({"rpm": 10**30}, "rpm"),
        ({"rpm": 1.5}, "rpm"),
        ({"rpm": True}, "rpm"),
        ({"limit_usd": -1}, "limit"),
        ({"limit_usd": "much"}, "limit_usd"),
        ({"limit_usd": "NaN"}, "limit_usd"),
        ({"limit_usd": "1e999"}, "limit_usd"),
        ({"limit_usd": "1e9999999999"}, "limit_usd"),
        ({"limit_usd": 1_000_000_001}, "limit_usd"),
        ({"limit_usd": "0.0000000001"}, "limit_usd"),
        ({"expires_at": "2099-01-01T00:00:00"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expiry"),
        ({"expires_at": "9999-12-31T23:59:59-10:00"}, "the calendar does not have"),
        ({"expires_at": "0001-01-01T00:00:00+10:00"}, "the calendar does not have"),
        ({"expires_at": 1}, "expires_at"),
        ({"expires_at": "9999-12-31T00:00:00Z"}, "expiry"),
        ({"expires_in_s": 0}, "expires_in_s"),
        ({"expires_in_s": 1e12}, "expires_in_s"),
        ({"expires_at": "2099-01-01T00:00:00Z", "expires_in_s": 5}, "not both"),
        ([], "object"),
    ],
)
async def test_rules_that_make_no_sense_are_a_400_that_names_them(manager: Caller, body: Any, named: str) -> None:
    _assert_400(await manager.request("POST", "/api/keys", json=body), named)
    assert len(await _list(manager)) == 1


async def test_a_rotated_key_has_the_same_rules_and_the_old_one_goes_on_for_its_grace(manager: Caller) -> None:
    old = await _create(manager, name="ci", scopes=["read"], rpm=9)
    reply = await manager.request("POST", f"/api/keys/{old['key_id']}/rotate", json={"grace_s": 3_600})
    new = reply.json["result"]
    assert reply.status == 201
    assert (new["name"], new["scopes"], new["rpm"], new["expires_at"]) == ("ci", ["read"], 9, None)
    assert new["key_id"] != old["key_id"]
    for key in (old["key"], new["key"]):
        assert (await _as(manager, key).request("GET", "/api/account")).status == 200
    assert datetime.fromisoformat((await _list(manager))[1]["expires_at"]) > datetime.now(UTC)
    again = await manager.request("POST", f"/api/keys/{old['key_id']}/rotate")
    assert (again.status, again.error["code"]) == (409, "conflict")
    assert new["key_id"] in again.error["message"]


async def test_without_a_grace_the_old_key_ends_at_once(manager: Caller) -> None:
    old = await _create(manager)
    assert (await manager.request("POST", f"/api/keys/{old['key_id']}/rotate")).status == 201
    assert await eventually_true(lambda: _refused(_as(manager, old["key"])), "the old key has ended", 5)
    _assert_400(await manager.request("POST", f"/api/keys/{old['key_id']}/rotate"), "expired")


@pytest.mark.parametrize(
    "body",
    [
        {"grace_s": -1},
        {"grace_s": 1e9},
        {"grace_s": 1e300},
        {"grace_s": 2_592_001},
        {"grace_s": "1h"},
        {"grace": 1},
        {"grace_s": None},
    ],
)
async def test_a_grace_that_makes_no_sense_is_a_400(manager: Caller, body: dict[str, Any]) -> None:
    _assert_400(await manager.request("POST", f"/api/keys/{_id(manager)}/rotate", json=body), "grace")


async def test_a_revoked_key_is_refused_within_a_second_and_revoking_again_changes_nothing(manager: Caller) -> None:
    created = await _create(manager)
    user = _as(manager, created["key"])
    assert (await user.request("GET", "/api/account")).status == 200
    replies = [await manager.request("DELETE", f"/api/keys/{created['key_id']}") for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 200]
    first, second = (reply.json["result"] for reply in replies)
    assert first == second
    assert set(first) == ROW
    assert first["revoked_at"] is not None
    assert await eventually_true(lambda: _refused(user), "the revocation is felt", 5)


async def test_a_manager_may_revoke_itself_and_makes_no_key_from_that_moment_on(
    manager: Caller, books: asyncpg.Pool
) -> None:
    assert (await manager.request("DELETE", f"/api/keys/{_id(manager)}")).status == 200
    reply = await manager.request("POST", "/api/keys", json={})  # a front door may still believe in it
    assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
    assert await books.fetchval("SELECT count(*) FROM api_keys WHERE account_id = $1", manager.account_id) == 1


@pytest.mark.parametrize(
    "limit",
    [{"rpm": 100}, {"limit": NanoUsd(10**9)}, {"expires_at": datetime.now(UTC) + timedelta(days=1)}],
    ids=["rpm", "limit", "expires_at"],
)
async def test_a_limited_key_cannot_manage_keys_because_those_could_be_without_limit(
    new_caller: NewCaller, limit: dict[str, Any]
) -> None:
    limited = await new_caller(rules=KeyRules(scopes=("manage",), **limit))
    for method, path in (
        ("GET", "/api/keys"),
        ("POST", "/api/keys"),
        ("POST", f"/api/keys/{_id(limited)}/rotate"),
        ("DELETE", f"/api/keys/{_id(limited)}"),
    ):
        reply = await limited.request(method, path, json={})
        assert (reply.status, reply.error["code"]) == (403, "permission_denied")
        assert "limit" in reply.error["message"]


async def test_managing_takes_the_scope_manage(caller: Caller) -> None:
    for method, path in (("GET", "/api/keys"), ("POST", "/api/keys"), ("DELETE", f"/api/keys/{_id(caller)}")):
        reply = await caller.request(method, path, json={})
        assert (reply.status, reply.error["code"]) == (403, "permission_denied")


async def test_an_account_has_only_so_many_keys_that_can_be_used(manager: Caller, books: asyncpg.Pool) -> None:
    created = [await _create(manager) for _ in range(KEYS_PER_ACCOUNT_MAX - 1)]
    first = created[0]["key_id"]
    for path, body in (("/api/keys", {}), (f"/api/keys/{first}/rotate", {"grace_s": 60})):
        reply = await manager.request("POST", path, json=body)
        assert (reply.status, reply.error["code"]) == (409, "conflict")
    assert len(await _list(manager)) == KEYS_PER_ACCOUNT_MAX
    assert (await manager.request("POST", f"/api/keys/{first}/rotate")).status == 201  # one for one
    assert (await manager.request("DELETE", f"/api/keys/{created[1]['key_id']}")).status == 200
    await _create(manager)
    await create_key(books, manager.account_id, KeyRules())  # an operator may


async def test_the_listing_is_bounded_and_never_hides_a_key_that_can_be_used(
    manager: Caller, books: asyncpg.Pool
) -> None:
    for number in range(2 * KEYS_PER_ACCOUNT_MAX):
        await revoke_key(books, (await create_key(books, manager.account_id, KeyRules(name=str(number)))).key_id)
    listed = await _list(manager)
    assert len(listed) == 2 * KEYS_PER_ACCOUNT_MAX
    assert [row["name"] for row in listed] == ["manager", *map(str, range(1, 2 * KEYS_PER_ACCOUNT_MAX))]


async def test_a_key_made_over_http_can_be_used_for_requests(new_caller: NewCaller) -> None:
    manager = await new_caller(rules=MANAGER)
    created = await _create(manager, limit_usd=0.5)
    assert (await _as(manager, created["key"]).chat(told(tokens=2))).status == 200
