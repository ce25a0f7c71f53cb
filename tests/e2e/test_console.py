"""The console as a browser meets it: who may sign in, what a session may do, and that nothing hostile becomes markup."""

from __future__ import annotations

import html
import json
import re
import time
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
import redis.asyncio as redis

from api.console.routes import OPERATORS, PAGES
from api.console.session import COOKIE
from shared.ledger.api_keys import SCOPES, KeyRules
from shared.ledger.sessions import make_link
from shared.stores import keys
from tests.e2e.conftest import NewCaller
from tests.e2e.consoles import Browser, NewBrowser
from tests.harness.caller import MODEL, Caller, told
from tests.harness.cluster import Cluster

EVERYTHING = KeyRules(scopes=SCOPES)
HOSTILE = "<script>alert('&\"x')</script><img src=x onerror=alert(1)>"
READ = [page.path for page in PAGES if page.method == "GET" and "{" not in page.path]
FORGED = {"Origin": "https://evil.example"}


@pytest.mark.parametrize("path", [*READ, "/console/requests/req_1", "/console/batches/batch_1"])
async def test_without_a_session_every_page_leads_to_the_sign_in_and_back(
    owner: Caller, new_browser: NewBrowser, path: str
) -> None:
    browser = new_browser(owner)
    away = await browser.get(path)
    assert away.status == 303
    assert away.headers["Location"].startswith("/console")
    signed_in = await browser.sign_in(owner.key, next=path)
    back = path if "/api/" not in path else "/console/models"
    assert (signed_in.status, signed_in.headers["Location"]) == (303, back)


@pytest.mark.parametrize("path", READ)
async def test_every_page_opens_with_a_session(browser: Browser, path: str) -> None:
    page = await browser.get(path)
    assert page.status == 200
    assert len(page.text.encode()) < 100_000


@pytest.mark.parametrize("path", ["/console", *READ, *OPERATORS, "/console/nothing", "/console/static/nothing.css"])
async def test_every_answer_forbids_scripts_in_pages_frames_and_guessing_of_types(browser: Browser, path: str) -> None:
    page = await browser.get(path)
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Cache-Control"] == "no-store"
    assert not re.search(r"<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=|javascript:", page.text)


async def test_files_have_names_that_change_with_them_and_may_be_kept_for_ever(browser: Browser) -> None:
    page = await browser.get("/console/models")
    files = re.findall(r'(?:href|src)="(/console/static/[\w.]+)"', page.text)
    assert len(set(files)) >= 2
    for file in files:
        kept = await browser.get(file)
        assert (kept.status, kept.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")


async def test_the_cookie_is_kept_from_scripts_other_sites_and_other_paths(
    owner: Caller, new_browser: NewBrowser
) -> None:
    reply = await new_browser(owner).sign_in(owner.key)
    words = {word.strip() for word in reply.headers["Set-Cookie"].split(";")}
    assert {"HttpOnly", "SameSite=Strict", "Path=/console", "Max-Age=43200"} <= words
    assert "Secure" not in words  # it came over http


async def test_only_a_hash_of_the_session_is_stored(browser: Browser, books: asyncpg.Pool) -> None:
    token = browser.cookie
    assert token
    assert not await books.fetchval(
        "SELECT count(*) FROM console_sessions s WHERE s::text LIKE '%' || $1 || '%'", token
    )


@pytest.mark.parametrize("key", ["", "nonsense", "rml_aaaaaaaaaaaa_" + "a" * 38, HOSTILE, "rml_\udcff"])
async def test_what_is_no_key_signs_nobody_in_and_is_not_shown_again(
    owner: Caller, new_browser: NewBrowser, key: str
) -> None:
    browser = new_browser(owner)
    body = b"key=" + key.encode("utf-8", "surrogateescape")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    refused = await browser.ask("POST", "/console/sign-in", data=body, headers=headers)
    assert refused.status in {400, 401}
    assert not browser.cookie
    assert not key or key not in refused.text


async def test_nothing_takes_an_api_key_but_the_sign_in_and_no_api_takes_the_cookie(
    owner: Caller, browser: Browser, new_browser: NewBrowser
) -> None:
    stranger = new_browser(owner)
    for path in READ:
        for headers in ({"Authorization": f"Bearer {owner.key}"}, {"x-api-key": owner.key}):
            assert (await stranger.get(path, headers=headers)).status == 303
    token = browser.cookie
    for path in ("/api/account", "/api/keys", "/v1/models", "/api/requests"):
        for headers in ({"Cookie": f"{COOKIE}={token}"}, {"Authorization": f"Bearer {token}"}):
            assert (await stranger.get(path, headers=headers)).status == 401


async def _revoke(owner: Caller, key_id: str) -> None:
    assert (await owner.request("DELETE", f"/api/keys/{key_id}")).status == 200


async def _rotate(owner: Caller, key_id: str) -> None:
    assert (await owner.request("POST", f"/api/keys/{key_id}/rotate", json={"grace_s": 3600})).status == 201


@pytest.mark.parametrize("end", [_revoke, _rotate])
async def test_a_session_ends_with_its_key(owner: Caller, new_browser: NewBrowser, end: Any) -> None:
    made = (await owner.request("POST", "/api/keys", json={"name": "one"})).json["result"]
    browser = new_browser(owner)
    await browser.sign_in(made["key"])
    assert (await browser.get("/console/usage")).status == 200
    await end(owner, made["key_id"])
    assert (await browser.get("/console/usage")).status == 303


@pytest.mark.parametrize(
    "over", ["UPDATE console_sessions SET keep_until = now()", "UPDATE api_keys SET expires_at = now()"]
)
async def test_a_session_ends_when_its_time_or_its_keys_is_over(
    owner: Caller, new_browser: NewBrowser, books: asyncpg.Pool, over: str
) -> None:
    made = (await owner.request("POST", "/api/keys", json={})).json["result"]
    browser = new_browser(owner)
    await browser.sign_in(made["key"])
    await books.execute(f"{over} WHERE {'key_id' if 'sessions' in over else 'id'} = $1", made["key_id"])
    assert (await browser.get("/console/usage")).status == 303


async def test_signing_out_ends_the_session_for_whoever_has_kept_the_cookie(browser: Browser) -> None:
    token = browser.cookie
    csrf = (await browser.get("/console/models")).csrf
    assert (await browser.ask("POST", "/console/sign-out", data={"csrf": csrf})).status == 303
    assert (await browser.get("/console/models", headers={"Cookie": f"{COOKIE}={token}"})).status == 303


@pytest.mark.parametrize(
    ("fields", "headers"),
    [({}, {}), ({"csrf": "0" * 64}, {}), (None, FORGED), (None, {"Sec-Fetch-Site": "cross-site"})],
    ids=["no token", "another token", "another origin", "another site"],
)
async def test_a_form_of_another_site_changes_nothing(
    browser: Browser, fields: dict[str, str] | None, headers: dict[str, str]
) -> None:
    given = {"csrf": (await browser.get("/console/models")).csrf} if fields is None else fields
    refused = await browser.ask("POST", "/console/sign-out", data=given, headers=headers)
    assert refused.status == 403
    assert (await browser.get("/console/models")).status == 200


async def test_another_site_signs_nobody_in(owner: Caller, new_browser: NewBrowser) -> None:
    browser = new_browser(owner)
    assert (await browser.ask("POST", "/console/sign-in", data={"key": owner.key}, headers=FORGED)).status == 403
    assert not browser.cookie


async def test_a_key_without_a_scope_is_told_which_page_needs_it(
    new_caller: NewCaller, new_browser: NewBrowser
) -> None:
    caller = await new_caller(rules=KeyRules(scopes=("inference",)))
    browser = new_browser(caller)
    await browser.sign_in(caller.key)
    refused = await browser.get("/console/usage")
    assert (refused.status, "lacks the scope `read`" in refused.text) == (403, True)


async def test_another_accounts_objects_are_not_there(
    owner: Caller, new_caller: NewCaller, new_browser: NewBrowser, books: asyncpg.Pool
) -> None:
    await owner.chat(told(tokens=1))
    request_id = await books.fetchval("SELECT id FROM requests WHERE account_id = $1", owner.account_id)
    line = json.dumps({"custom_id": "a", "model": MODEL, "messages": [{"role": "user", "content": told(tokens=1)}]})
    headers = {"Content-Type": "application/x-ndjson"}
    batch_id = (await owner.request("POST", "/api/batches", data=line, headers=headers)).json["result"]["id"]
    stranger_caller = await new_caller(rules=EVERYTHING)
    stranger, mine = new_browser(stranger_caller), new_browser(owner)
    await stranger.sign_in(stranger_caller.key)
    await mine.sign_in(owner.key)
    for path in (
        f"/console/requests/{request_id}",
        f"/console/batches/{batch_id}",
        f"/console/api/batches/{batch_id}/results",
        f"/console/api/requests/{request_id}/stream",
    ):
        assert (await mine.get(path)).status == 200
        assert (await stranger.get(path)).status == 404
    assert request_id not in (await stranger.get("/console/requests")).text
    assert batch_id not in (await stranger.get("/console/batches")).text


async def test_hostile_texts_names_and_ids_are_shown_as_they_are_and_never_as_markup(
    owner: Caller, browser: Browser
) -> None:
    reply = await owner.chat(f"{told(tokens=3)} {HOSTILE}", headers={"Idempotency-Key": "hostile"})
    request_id = reply.headers["x-request-id"]
    await owner.request("POST", "/api/keys", json={"name": HOSTILE})
    line = json.dumps({"custom_id": HOSTILE, "model": HOSTILE, "messages": []})
    headers = {"Content-Type": "application/x-ndjson"}
    batch_id = (await owner.request("POST", "/api/batches", data=line, headers=headers)).json["result"]["id"]
    for path, shown in (
        (f"/console/requests/{request_id}", True),
        ("/console/keys", True),
        (f"/console/batches/{batch_id}", False),
        (f"/console/models?q={quote(HOSTILE)}", True),
        (f"/console/requests?q={quote(HOSTILE)}&cursor=", True),
        (f"/console?next={quote(HOSTILE)}", False),
        (f"/console/{quote(HOSTILE)}", False),
    ):
        page = await browser.get(path)
        assert HOSTILE not in page.text
        assert "<script>" not in page.text
        assert "<img src=x" not in page.text
        assert (html.escape(HOSTILE) in page.text.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")) is shown, path


@pytest.mark.parametrize(
    ("query", "is_shown"),
    [
        ("", False),
        ("?state=all", True),
        ("?state=leaving", True),
        ("?q=jurassic-2-mid", True),
        ("?state=available", False),
    ],
)
async def test_a_retired_model_is_listed_where_it_is_asked_for(browser: Browser, query: str, *, is_shown: bool) -> None:
    page = await browser.get(f"/console/models{query}")
    assert ("<code>a21-jurassic-2-mid</code>" in page.text) is is_shown


async def test_a_request_is_shown_with_its_receipt_and_its_answer(
    owner: Caller, browser: Browser, books: asyncpg.Pool
) -> None:
    reply = await owner.chat(told(tokens=5), headers={"Idempotency-Key": "shown"})
    request_id = reply.headers["x-request-id"]
    await owner.settled(books)
    page = (await browser.get(f"/console/requests/{request_id}")).text
    view = (await owner.request("GET", f"/api/requests/{request_id}")).json["result"]
    plain = re.sub(r"<[^>]+>", "", html.unescape(page))
    for amount in (view["hold_usd"], view["charged_usd"], view["receipt"]["price_version"], view["response"]):
        assert str(amount) in plain
    assert request_id in (await browser.get("/console/requests?state=succeeded&q=mini")).text
    assert request_id not in (await browser.get("/console/requests?state=failed")).text
    found = await browser.get(f"/console/requests?q={request_id}")
    assert found.headers["Location"] == f"/console/requests/{request_id}"


async def test_the_ledger_and_the_usage_have_what_was_charged(
    owner: Caller, browser: Browser, books: asyncpg.Pool
) -> None:
    await owner.chat(told(tokens=7))
    balance = await owner.settled(books)
    charged = 1_000_000_000 - balance
    shown = f"0.{charged:09d}".rstrip("0")
    plain = re.sub(r"<[^>]+>", "", (await browser.get("/console/balance")).text)
    assert f"−{shown}" in plain
    assert "Credit added" in plain
    rows = (await browser.get("/console/api/usage.csv?group_by=model,key")).text.splitlines()
    assert rows[0].startswith("model,key_id,key_name,requests,failed,")
    assert (len(rows), rows[1].split(",")[0], rows[1].split(",")[-1]) == (2, MODEL, shown)
    for group in ("day", "model", "key"):
        assert shown in re.sub(r"<[^>]+>", "", (await browser.get(f"/console/usage?group_by={group}")).text)


async def test_a_name_in_the_csv_is_no_formula(owner: Caller, new_browser: NewBrowser, books: asyncpg.Pool) -> None:
    made = (await owner.request("POST", "/api/keys", json={"name": "=HYPERLINK(1)"})).json["result"]
    first, owner.key = owner.key, made["key"]
    await owner.chat(told(tokens=1))
    await owner.settled(books)
    browser = new_browser(owner)
    await browser.sign_in(first)
    assert "'=HYPERLINK(1)" in (await browser.get("/console/api/usage.csv?group_by=key")).text


@pytest.mark.parametrize(("lives_s", "times"), [(0, 1), (60, 2)], ids=["too old", "used"])
async def test_a_link_opens_one_session_in_its_time(
    owner: Caller, new_browser: NewBrowser, books: asyncpg.Pool, lives_s: float, times: int
) -> None:
    link = await make_link(books, owner.key.split("_")[1], lives_s)
    browsers = [new_browser(owner) for _ in range(times)]
    entered = [await browser.get(f"/console/enter/{link}") for browser in browsers]
    assert [reply.status for reply in entered] == [200] * (times - 1) + [410]
    assert "sign in with an API key" in entered[-1].text
    assert not browsers[-1].cookie


async def test_whoever_tries_too_often_has_to_wait_whatever_the_key(
    owner: Caller, new_browser: NewBrowser, cluster: Cluster
) -> None:
    tries = keys.rate("sign-in:127.0.0.1")
    async with redis.from_url(cluster.valkey.url) as client:  # type: ignore[no-untyped-call]
        await client.set(tries, int(time.time() * 1000) + 120_000)
        try:
            browser = new_browser(owner)
            refused = await browser.sign_in(owner.key)
            assert (refused.status, "wait a minute" in refused.text, browser.cookie) == (429, True, None)
            assert (await browser.get("/console/enter/aaaa")).status == 429
        finally:
            await client.delete(tries)
    assert (await browser.sign_in(owner.key)).status == 303
