"""What is changed from the console: keys, requests and batches, with the same rules as by the API."""

from __future__ import annotations

import json
import re

import aiohttp
import asyncpg
import pytest

from shared.ledger.api_keys import KeyRules
from tests.e2e.conftest import NewCaller
from tests.e2e.consoles import Browser, NewBrowser
from tests.harness.caller import MODEL, Caller, told
from tests.harness.support import eventually_true

KEY = re.compile(r"rml_\w+")


async def _send(browser: Browser, path: str, **fields: str) -> tuple[int, str, str]:
    csrf = (await browser.get("/console/models")).csrf
    sent = await browser.ask("POST", path, data={"csrf": csrf, **fields})
    return sent.status, sent.text, sent.headers.get("Location", "")


async def test_a_key_that_is_made_here_is_shown_once_and_has_its_rules(
    owner: Caller, browser: Browser, books: asyncpg.Pool
) -> None:
    status, page, _ = await _send(
        browser, "/console/keys", name="<b>one", scopes="inference", rpm="60", limit_usd="2.5", expires_in_s="604800"
    )
    assert status == 201
    (key,) = KEY.findall(page)
    assert "&lt;b&gt;one" in page
    rows = (await owner.request("GET", "/api/keys")).json["result"]
    made = next(row for row in rows if row["key_id"] == key.split("_")[1])
    assert (made["name"], made["scopes"], made["rpm"], made["limit_usd"]) == ("<b>one", ["inference"], 60, "2.5")
    assert made["expires_at"]
    assert not KEY.findall((await browser.get("/console/keys")).text)
    entry = await books.fetchrow("SELECT actor, request_id FROM audit WHERE target = $1", f"key:{made['key_id']}")
    assert entry
    assert entry["actor"] == f"account:{owner.account_id}/key:{owner.key.split('_')[1]}"


@pytest.mark.parametrize(
    "fields", [{"rpm": "many"}, {"limit_usd": "-1"}, {"limit_usd": "NaN"}, {"name": "x" * 201}, {"scopes": "all"}]
)
async def test_rules_that_make_no_sense_are_told_in_words_and_make_no_key(
    owner: Caller, browser: Browser, fields: dict[str, str]
) -> None:
    status, page, _ = await _send(browser, "/console/keys", **fields)
    assert (status, 'role="alert"' in page) == (400, True)
    assert len((await owner.request("GET", "/api/keys")).json["result"]) == 1


async def test_a_key_is_rotated_with_a_grace_and_revoked(owner: Caller, browser: Browser) -> None:
    made = (await owner.request("POST", "/api/keys", json={"name": "one"})).json["result"]
    status, page, _ = await _send(browser, f"/console/keys/{made['key_id']}/rotate", grace_s="3600")
    (successor,) = KEY.findall(page)
    assert status == 201
    status, _, where = await _send(browser, f"/console/keys/{successor.split('_')[1]}/revoke")
    assert (status, where) == (303, "/console/keys")
    rows = {row["key_id"]: row for row in (await owner.request("GET", "/api/keys")).json["result"]}
    assert rows[successor.split("_")[1]]["revoked_at"]
    assert rows[made["key_id"]]["expires_at"]


async def test_rotating_the_key_of_the_session_ends_the_session(owner: Caller, browser: Browser) -> None:
    status, page, _ = await _send(browser, f"/console/keys/{owner.key.split('_')[1]}/rotate", grace_s="3600")
    assert (status, "Sign in with the new key" in page) == (201, True)
    assert (await browser.get("/console/keys")).status == 303
    (successor,) = KEY.findall(page)
    assert (await browser.sign_in(successor)).status == 303
    assert (await browser.get("/console/keys")).status == 200


@pytest.mark.parametrize("rules", [KeyRules(), KeyRules(scopes=("read", "manage"), rpm=5)])
async def test_a_key_that_may_not_manage_keys_changes_none(
    new_caller: NewCaller, new_browser: NewBrowser, books: asyncpg.Pool, rules: KeyRules
) -> None:
    caller = await new_caller(rules=rules)
    browser = new_browser(caller)
    await browser.sign_in(caller.key)
    key_id = caller.key.split("_")[1]
    for path in ("/console/keys", f"/console/keys/{key_id}/rotate", f"/console/keys/{key_id}/revoke"):
        assert (await _send(browser, path))[0] == 403
    assert await books.fetchval("SELECT count(*) FROM api_keys WHERE account_id = $1", caller.account_id) == 1


async def test_a_request_that_runs_is_cancelled(owner: Caller, browser: Browser) -> None:
    headers = {"Prefer": "respond-async"}
    accepted = await owner.chat(told(tokens=5, hold=1, key="console"), headers=headers)
    path = f"/console/requests/{accepted.json['result']['id']}"
    assert "Cancel the request" in (await browser.get(path)).text
    status, _, where = await _send(browser, f"{path}/cancel")
    assert (status, where) == (303, path)

    async def cancelled() -> bool:
        return "state cancelled" in (await browser.get(path)).text

    await eventually_true(cancelled, "the page shows that it is cancelled")
    await owner.release("console")


async def test_a_batch_is_cancelled(owner: Caller, browser: Browser) -> None:
    lines = [
        {
            "custom_id": str(number),
            "model": MODEL,
            "messages": [{"role": "user", "content": told(tokens=500, pace_ms=50)}],
        }
        for number in range(50)
    ]
    body = "\n".join(map(json.dumps, lines))
    headers = {"Content-Type": "application/x-ndjson"}
    batch_id = (await owner.request("POST", "/api/batches", data=body, headers=headers)).json["result"]["id"]
    status, _, where = await _send(browser, f"/console/batches/{batch_id}/cancel")
    assert (status, where) == (303, f"/console/batches/{batch_id}")
    batch = (await owner.request("GET", f"/api/batches/{batch_id}")).json["result"]
    assert batch["state"] in {"cancelling", "cancelled"}


@pytest.mark.parametrize("kind", ["keys/{key}/revoke", "keys/{key}/rotate", "batches/{batch}/cancel"])
async def test_another_accounts_things_are_not_changed(
    owner: Caller, browser: Browser, new_caller: NewCaller, books: asyncpg.Pool, kind: str
) -> None:
    other = await new_caller()
    line = json.dumps({"custom_id": "a", "model": MODEL, "messages": [{"role": "user", "content": told(tokens=1)}]})
    headers = {"Content-Type": "application/x-ndjson"}
    batch_id = (await other.request("POST", "/api/batches", data=line, headers=headers)).json["result"]["id"]
    path = kind.format(key=other.key.split("_")[1], batch=batch_id)
    assert (await _send(browser, f"/console/{path}"))[0] == 404
    assert await books.fetchval("SELECT cancelled_at FROM batches WHERE id = $1", batch_id) is None
    assert (await other.request("GET", "/api/account")).status == 200


@pytest.mark.parametrize(
    "path", ["keys", "keys/{key}/revoke", "keys/{key}/rotate", "requests/x/cancel", "batches/x/cancel"]
)
async def test_every_change_needs_the_token_of_the_session(owner: Caller, browser: Browser, path: str) -> None:
    address = f"/console/{path.format(key=owner.key.split('_')[1])}"
    for fields in ({}, {"csrf": "0" * 64}):
        assert (await browser.ask("POST", address, data=fields)).status == 403
    assert len((await owner.request("GET", "/api/keys")).json["result"]) == 1


def _form(csrf: str, lines: bytes) -> aiohttp.FormData:
    form = aiohttp.FormData()
    if csrf:
        form.add_field("csrf", csrf)
    form.add_field("file", lines, filename="<b>lines.ndjson", content_type="application/octet-stream")
    return form


async def test_a_file_of_lines_becomes_a_batch_whose_results_are_downloaded(browser: Browser) -> None:
    lines = b"".join(
        json.dumps(
            {"custom_id": f"<i>{number}", "model": MODEL, "messages": [{"role": "user", "content": told(tokens=2)}]}
        ).encode()
        + b"\n"
        for number in range(5)
    )
    csrf = (await browser.get("/console/batches")).csrf
    sent = await browser.ask("POST", "/console/batches", data=_form(csrf, lines + b"no line\n"))
    assert sent.status == 303
    page = sent.headers["Location"]

    async def completed() -> bool:
        return "state completed" in (await browser.get(page)).text

    await eventually_true(completed, "the page shows that it is completed")
    assert "Lines that were not understood" in (await browser.get(page)).text
    results = await browser.get(f"/console/api/{page.removeprefix('/console/')}/results")
    rows = [json.loads(line) for line in results.text.splitlines()]
    assert [row["custom_id"] for row in rows if row["status"] == 1] == [f"<i>{number}" for number in range(5)]


@pytest.mark.parametrize("csrf", ["", "0" * 64])
async def test_a_file_of_another_site_becomes_no_batch(browser: Browser, owner: Caller, csrf: str) -> None:
    refused = await browser.ask("POST", "/console/batches", data=_form(csrf, b"{}"))
    assert refused.status == 403
    assert (await owner.request("GET", "/api/batches")).json["result"]["batches"] == []
