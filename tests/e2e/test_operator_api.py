"""The operators' API: each route, who may call it, and each change once for each `ref`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg
import pytest

from api.operator_routes import OPERATOR_ROUTES
from api.routes import ROUTES
from shared.ledger.api_keys import SCOPES as KEY_SCOPES
from shared.ledger.api_keys import KeyRules
from shared.operators.operators import SCOPES, create_operator, create_token, revoke_operator
from tests.e2e.conftest import NewCaller
from tests.e2e.test_docs import fits
from tests.harness.caller import Caller, Reply, told
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true

GUARDED = [route for route in OPERATOR_ROUTES if route.scope]
NOT_THERE = {"id": "acc_x", "name": "nobody", "provider": "nobody", "key_id": "x" * 12}


class Operator(Caller):
    """Calls with a token instead of an API key."""

    async def made(self, path: str, **body: Any) -> Any:
        reply = await self.request("POST", f"/operator/{path}", json=body)
        assert reply.status in {200, 201}, reply.body
        return reply.json["result"]

    async def seen(self, path: str) -> Any:
        reply = await self.request("GET", f"/operator/{path}")
        assert reply.status == 200, reply.body
        return reply.json["result"]

    async def refused(self, path: str, **body: Any) -> tuple[int, str]:
        reply = await self.request("POST", f"/operator/{path}", json=body)
        return reply.status, reply.error["message"]


async def an_operator(books: asyncpg.Pool, name: str) -> None:
    if not await books.fetchval("SELECT 1 FROM operators WHERE name = $1", name):
        await create_operator(books, name)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=1)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def with_token(
    session: aiohttp.ClientSession,
    cluster: Cluster,
    books: asyncpg.Pool,
    *scopes: str,
    name: str = "ada",
    expires_at: datetime | None = None,
) -> Operator:
    await an_operator(books, name)
    return Operator(session, cluster, "", (await create_token(books, name, scopes, expires_at)).token)


@pytest.fixture
async def operator(session: aiohttp.ClientSession, cluster: Cluster, books: asyncpg.Pool) -> Operator:
    """With every scope."""
    return await with_token(session, cluster, books, *SCOPES)


def filled(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: NOT_THERE[found[1]], path)


# -- what it does


async def test_an_account_is_sold_credit_and_given_a_key_without_a_shell(
    operator: Operator, caller: Caller, books: asyncpg.Pool
) -> None:
    made = await operator.request("POST", "/operator/accounts", json={"name": "Ada", "credit_usd": 1.5, "ref": "c-1"})
    assert made.status == 201
    account = made.json["result"]
    assert account["available_usd"] == "1.5"
    path = f"accounts/{account['account_id']}"
    credited = await operator.made(f"{path}/credit", usd="2", ref="pay-1", note="card")
    assert credited["balance_usd"] == "3.5"
    assert await operator.seen(path) == credited
    key = await operator.made(f"{path}/keys", name="first", limit_usd="1", ref="k-1")
    mine = Caller(operator.session, operator._cluster, account["account_id"], key["key"])
    assert (await mine.chat(told(tokens=3))).status == 200
    (listed,) = await operator.seen(f"{path}/keys")
    assert (listed["key_id"], "key" in listed) == (key["key_id"], False)
    revoked = await operator.request("DELETE", f"/operator/keys/{key['key_id']}")
    assert revoked.json["result"]["revoked_at"]
    await eventually_true(lambda: _is_refused(mine), "the key is refused")
    await mine.settled(books)


async def _is_refused(caller: Caller) -> bool:
    return (await caller.request("GET", "/api/account")).status == 401


async def test_answers_and_refusals_are_as_documented(operator: Operator) -> None:
    document = (await operator.request("GET", "/operator/openapi.json")).json
    account = await operator.request("POST", "/operator/accounts", json={"name": "Ada", "ref": "documented"})
    fits(account, document, "POST", "/operator/accounts")
    path, place = f"/operator/accounts/{account.json['result']['account_id']}", "/operator/accounts/{id}"
    for body in ({"usd": 1, "ref": "documented-1"}, {"usd": -5, "ref": "documented-2"}, {}):
        reply = await operator.request("POST", f"{path}/credit", json=body)
        fits(reply, document, "POST", f"{place}/credit")
    fits(await operator.request("POST", f"{path}/keys", json={"ref": "k"}), document, "POST", f"{place}/keys")
    fits(await operator.request("GET", f"{path}/keys"), document, "GET", f"{place}/keys")
    fits(await operator.request("POST", "/operator/ledger/check"), document, "POST", "/operator/ledger/check")
    for name in ("accounts", "queues", "workers", "audit", "audit?limit=0"):
        reply = await operator.request("GET", f"/operator/{name}")
        fits(reply, document, "GET", f"/operator/{name.partition('?')[0]}")


async def test_accounts_come_in_pages(operator: Operator) -> None:
    made = [(await operator.made("accounts", name=f"p{n}", ref=f"page-{n}"))["account_id"] for n in range(3)]
    first = await operator.seen(f"accounts?limit=2&cursor={made[0]}")
    assert [one["account_id"] for one in first["accounts"]] == made[1:]
    whole = await operator.seen("accounts?limit=1")
    assert whole["next_cursor"] == whole["accounts"][0]["account_id"]


async def test_the_audit_log_says_which_operator_and_which_request(operator: Operator) -> None:
    await operator.made("accounts", name="Eve", ref="audited before")
    reply = await operator.request("POST", "/operator/accounts", json={"name": "Ada", "ref": "audited"})
    page = await operator.seen("audit?actor=operator:ada&limit=1")
    (entry,) = page["entries"]
    assert (entry["action"], entry["actor"]) == ("account.create", "operator:ada")
    assert entry["target"] == f"account:{reply.json['result']['account_id']}"
    assert entry["request_id"] == reply.headers["x-request-id"]
    older = await operator.seen(f"audit?limit=1&cursor={page['next_cursor']}")
    assert older["entries"][0]["at"] <= entry["at"]
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert await operator.seen(f"audit?since={tomorrow}") == {"entries": [], "next_cursor": None}
    for never in ("0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"):
        assert (await operator.request("GET", f"/operator/audit?since={never}")).status == 400


async def test_an_accounts_own_changes_of_keys_are_in_the_audit_log(operator: Operator, new_caller: NewCaller) -> None:
    manager = await new_caller(rules=KeyRules(scopes=("manage",)))
    made = (await manager.request("POST", "/api/keys", json={})).json["result"]
    reply = await manager.request("DELETE", f"/api/keys/{made['key_id']}")
    actor = f"account:{manager.account_id}/key:{manager.key.split('_')[1]}"
    entries = (await operator.seen(f"audit?actor={actor}"))["entries"]
    assert [one["action"] for one in entries] == ["key.revoke", "key.create"]
    assert entries[0]["request_id"] == reply.headers["x-request-id"]
    assert made["key"].split("_")[2][:32] not in str(entries)


async def test_queues_and_workers_are_shown_and_switched(operator: Operator) -> None:
    queues = await operator.seen("queues")
    assert {"openai:interactive", "gemini:batch"} <= {one["name"] for one in queues["queues"]}
    assert len(await operator.seen("workers")) >= 3
    paused = {"provider": "gemini", "paused": True}
    assert await operator.made("queues/gemini/pause", ref="began") == paused
    assert all(one["paused"] == (one["provider"] == "gemini") for one in (await operator.seen("queues"))["queues"])
    assert await operator.made("queues/gemini/resume", ref="over") == {"provider": "gemini", "paused": False}
    assert await operator.made("queues/gemini/pause", ref="began") == paused
    assert not any(one["paused"] for one in (await operator.seen("queues"))["queues"])
    assert (await operator.refused("workers/wrk_nobody/drain"))[0] == 404
    assert (await operator.refused("queues/nobody/pause"))[0] == 404


async def test_upstreams_are_shown_and_switched(operator: Operator, caller: Caller) -> None:
    names = [one["name"] for one in await operator.seen("upstreams")]
    assert "openai" in names
    assert (await operator.refused("upstreams/nobody/drain"))[0] == 404
    try:
        (drained,) = await operator.made("upstreams/openai/drain", ref="drain-1")
        assert drained["state"] == "drained"
        assert await operator.made("upstreams/openai/drain", ref="drain-1") == [drained]
    finally:
        (enabled,) = await operator.made("upstreams/openai/enable")
    assert enabled["state"] != "drained"

    async def is_served() -> bool:
        return (await caller.chat(told(tokens=2))).status == 200

    await eventually_true(is_served, "front doors have heard of it")
    entries = (await operator.seen("audit?actor=operator:ada&limit=2"))["entries"]
    assert [one["action"] for one in entries] == ["upstream.enable", "upstream.drain"]


async def test_a_worker_is_drained(operator: Operator, cluster: Cluster) -> None:
    cluster.start("worker-8")
    try:
        await cluster.until_log("worker-8", "worker started")
        path = f"workers/{cluster.worker_id('worker-8')}/drain"

        async def drained() -> bool:  # it has to have said hello
            reply = await operator.request("POST", f"/operator/{path}", json={"ref": path[-40:]})
            return reply.status == 200 and bool(reply.json["result"]["draining"])

        await eventually_true(drained, "it is drained")
        await cluster.until_log("worker-8", "worker draining")
    finally:
        await cluster.drain("worker-8")


async def test_the_books_are_checked(operator: Operator) -> None:
    report = await operator.made("ledger/check", ref="nightly-1")
    assert set(report) >= {"ok", "violations", "accounts", "requests"}
    assert await operator.made("ledger/check", ref="nightly-1") == report


# -- who may


@pytest.mark.parametrize("route", GUARDED, ids=lambda route: route.name)
async def test_a_token_without_the_scope_of_a_route_is_told_which_it_lacks(
    session: aiohttp.ClientSession, cluster: Cluster, books: asyncpg.Pool, route: Any
) -> None:
    others = [scope for scope in SCOPES if scope != route.scope]
    lacking = await with_token(session, cluster, books, *others)
    reply = await lacking.request(route.method, filled(route.path), json={})
    assert (reply.status, reply.error["code"]) == (403, "permission_denied")
    assert f"`{route.scope}`" in reply.error["message"]
    alone = await with_token(session, cluster, books, str(route.scope))
    assert (await alone.request(route.method, filled(route.path), json={})).status in {200, 400, 404}


async def test_api_keys_and_ended_tokens_open_nothing(
    session: aiohttp.ClientSession, cluster: Cluster, books: asyncpg.Pool, new_caller: NewCaller
) -> None:
    customer = await new_caller(rules=KeyRules(scopes=KEY_SCOPES))
    revoked = await with_token(session, cluster, books, *SCOPES)
    await revoke_operator(books, "ada", token_id=revoked.key.split("_")[1])
    of_revoked = await with_token(session, cluster, books, *SCOPES, name="gone")
    await revoke_operator(books, "gone")
    expired = await with_token(session, cluster, books, *SCOPES)
    query = "UPDATE operator_tokens SET expires_at = now() WHERE id = $1"
    await books.execute(query, expired.key.split("_")[1])
    for route in GUARDED:
        for who in (customer, revoked, of_revoked, expired):
            url = who.urls[0] + filled(route.path)
            async with session.request(route.method, url, headers=who.authorization, json={}) as response:
                assert response.status in {401, 429}, (route.name, await response.text())
    good = await with_token(session, cluster, books, *SCOPES)
    reply = await good.request("GET", "/operator/queues", headers={"Authorization": "", "x-api-key": good.key})
    assert reply.status in {401, 429}


async def test_a_token_of_an_operator_opens_no_other_route(operator: Operator) -> None:
    for route in ROUTES:
        if route.scope:
            path = re.sub(r"\{\w+\}", "x", route.path)
            for headers in ({}, {"Authorization": "", "x-api-key": operator.key}):
                reply = await operator.request(route.method, path, headers=headers, json={})
                assert reply.status == 401, (route.name, reply.body)


async def test_who_guesses_is_told_to_wait_and_locks_out_nobody(
    session: aiohttp.ClientSession, cluster: Cluster, operator: Operator
) -> None:
    door = operator.urls[0]
    stranger = Operator(session, cluster, "", "rmo_guess").at(door)

    async def limited() -> Reply | None:
        reply = await stranger.request("GET", "/operator/workers")
        return reply if reply.status == 429 else None

    reply = await eventually_true(limited, "guesses are limited")
    assert 1 <= int(reply.headers["Retry-After"]) <= 60
    assert (await operator.at(door).request("GET", "/operator/workers")).status == 200


# -- once for each ref


async def test_the_same_ref_again_has_the_first_answer(operator: Operator) -> None:
    account = (await operator.made("accounts", name="Ada", ref="once-account"))["account_id"]
    for path, body in (
        ("accounts", {"name": "Ada", "ref": "once-account"}),
        (f"accounts/{account}/credit", {"usd": "5", "ref": "once-credit"}),
        (f"accounts/{account}/keys", {"ref": "once-key"}),
        ("queues/bedrock/resume", {"ref": "once-resume"}),
    ):
        first, second = [await operator.request("POST", f"/operator/{path}", json=body) for _ in range(2)]
        assert (second.status, second.body) == (first.status, first.body)
        assert second.headers["Idempotent-Replayed"] == "true"
    assert (await operator.seen(f"accounts/{account}"))["balance_usd"] == "5"
    assert len(await operator.seen(f"accounts/{account}/keys")) == 1


async def test_a_ref_with_another_body_or_path_is_refused(operator: Operator) -> None:
    account = (await operator.made("accounts", name="Ada", ref="other-body"))["account_id"]
    status, message = await operator.refused("accounts", name="Bob", ref="other-body")
    assert (status, "`ref`" in message) == (409, True)
    assert (await operator.refused(f"accounts/{account}/credit", usd=5, ref="other-body"))[0] == 409
    assert (await operator.seen(f"accounts/{account}"))["balance_usd"] == "0"


async def test_refs_that_come_at_once_do_one_thing(operator: Operator) -> None:
    account = (await operator.made("accounts", name="Ada", ref="race"))["account_id"]
    paths = [(f"accounts/{account}/credit", {"usd": "7", "ref": "race-credit"})] * 12
    paths += [(f"accounts/{account}/keys", {"ref": "race-key"})] * 12
    replies = await asyncio.gather(*(operator.request("POST", f"/operator/{path}", json=body) for path, body in paths))
    assert len({reply.body for reply in replies[:12]}) == 1
    assert len({reply.body for reply in replies[12:]}) == 1
    assert (await operator.seen(f"accounts/{account}"))["balance_usd"] == "7"
    assert len(await operator.seen(f"accounts/{account}/keys")) == 1


async def test_a_refused_change_leaves_its_ref_to_the_next_try(operator: Operator) -> None:
    account = (await operator.made("accounts", name="Ada", ref="poor"))["account_id"]
    assert (await operator.refused(f"accounts/{account}/credit", usd="-1", ref="back"))[0] == 409
    await operator.made(f"accounts/{account}/credit", usd="1", ref="in")
    assert (await operator.made(f"accounts/{account}/credit", usd="-1", ref="back"))["balance_usd"] == "0"


async def test_a_key_is_shown_again_to_the_token_that_asked_only(
    session: aiohttp.ClientSession, cluster: Cluster, books: asyncpg.Pool, operator: Operator
) -> None:
    account = (await operator.made("accounts", name="Ada", ref="shown"))["account_id"]
    key = await operator.made(f"accounts/{account}/keys", ref="shown-key")
    stored = str([tuple(row) for row in await books.fetch("SELECT * FROM operator_refs")])
    assert key["key"].split("_")[2][:32] not in stored
    other = await with_token(session, cluster, books, *SCOPES)
    status, message = await other.refused(f"accounts/{account}/keys", ref="shown-key")
    assert (status, key["key_id"] in message) == (409, True)
    await books.execute("UPDATE operator_refs SET created_at = now() - interval '25 hours' WHERE ref = 'shown-key'")

    async def forgotten() -> bool:
        return (await operator.refused(f"accounts/{account}/keys", ref="shown-key"))[0] == 409

    await eventually_true(lambda: _no_salt(books), "its salt is gone")
    assert await forgotten()


async def _no_salt(books: asyncpg.Pool) -> bool:
    return await books.fetchval("SELECT salt IS NULL FROM operator_refs WHERE ref = 'shown-key'") is True


async def test_a_front_door_that_dies_before_it_answers_credits_once(
    operator: Operator, cluster: Cluster, books: asyncpg.Pool
) -> None:
    account = (await operator.made("accounts", name="Ada", ref="dies"))["account_id"]
    body = {"usd": "3", "ref": "dies-credit"}
    path = f"/operator/accounts/{account}/credit"
    cluster.start("web-9")
    await cluster.until_log("web-9", "front door open")
    dying = operator.at(cluster.url("web-9"))
    async with books.acquire() as connection, connection.transaction():
        await connection.execute("SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE", account)
        asking = asyncio.create_task(dying.request("POST", path, json=body))
        await eventually_true(lambda: _somebody_waits(books), "it waits for the account")
        await cluster.kill("web-9")
        with pytest.raises(aiohttp.ClientError):
            await asking
    for _ in range(2):
        assert (await operator.request("POST", path, json=body)).json["result"]["balance_usd"] == "3"


async def _somebody_waits(books: asyncpg.Pool) -> bool:
    return bool(await books.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


# -- what is no request


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"name": "", "ref": "r"},
        {"name": "x" * 201, "ref": "r"},
        {"name": "x", "ref": ""},
        {"name": "x", "ref": "  "},
        {"name": "x", "ref": "r" * 256},
        {"name": "x\0", "ref": "r"},
        {"name": "x", "ref": "r\0"},
        {"name": "x", "ref": "r", "credit_usd": "-1"},
        {"name": "x", "ref": "r", "credit_usd": "1e400"},
        {"name": "x", "ref": "r", "credit_usd": "0.0000000001"},
        {"name": "x", "ref": "r", "admin": True},
        {"name": ["x"], "ref": "r"},
    ],
    ids=str,
)
async def test_bad_bodies_are_named(operator: Operator, body: dict[str, Any]) -> None:
    reply = await operator.request("POST", "/operator/accounts", json=body)
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")
    if "credit_usd" in body and not body["credit_usd"].startswith("-"):
        assert "at most 1000000000 and with at most nine decimals" in reply.error["message"]


async def test_odd_names_are_only_names_and_large_bodies_are_refused(operator: Operator, books: asyncpg.Pool) -> None:
    name = "'; DROP TABLE audit; --"
    assert (await operator.made("accounts", name=name, ref=name))["name"] == name
    assert await operator.seen(f"audit?actor={name}") == {"entries": [], "next_cursor": None}
    assert (await operator.refused("accounts/'%3B--/credit", usd=1, ref="x"))[0] == 404
    assert (await operator.request("DELETE", "/operator/keys/'%3B--")).status == 404
    whole = await operator.request("DELETE", "/operator/keys/rml_abcdefghijkl_secret")
    assert (whole.status, "secret" in whole.error["message"]) == (404, False)
    large = {"name": "x" * 70_000, "ref": "large"}
    assert (await operator.request("POST", "/operator/accounts", json=large)).status == 413
    assert await books.fetchval("SELECT count(*) FROM audit") > 0


async def test_what_is_held_is_not_taken_back(operator: Operator, caller: Caller) -> None:
    asking = asyncio.create_task(caller.chat(told(tokens=3, first_ms=1_500), max_tokens=1_000))

    async def held() -> str | None:
        wallet = await operator.seen(f"accounts/{caller.account_id}")
        return None if wallet["held_usd"] == "0" else str(wallet["balance_usd"])

    balance = await eventually_true(held, "something is held")
    status, message = await operator.refused(f"accounts/{caller.account_id}/credit", usd=f"-{balance}", ref=balance)
    assert (status, "hold" in message) == (409, True)
    assert (await asking).status == 200


async def test_it_can_be_switched_off(operator: Operator, cluster: Cluster) -> None:
    cluster.start("web-8", OPERATOR_API="0")
    try:
        await cluster.until_log("web-8", "front door open")
        off = operator.at(cluster.url("web-8"))
        for path in ("/operator/queues", "/operator/openapi.json"):
            assert (await off.request("GET", path)).status == 404
    finally:
        await cluster.drain("web-8")
