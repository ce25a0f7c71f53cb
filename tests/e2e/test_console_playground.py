"""The playground asks through the same way as the API, as the key of the session."""

from __future__ import annotations

import json
import re
from typing import Any

import asyncpg
import pytest

from shared.ledger.api_keys import KeyRules
from shared.money import nano_to_usd
from tests.e2e.conftest import NewCaller
from tests.e2e.consoles import Browser, NewBrowser, Seen
from tests.harness.caller import MODEL, Caller, expected, told

STREAM = {"Accept": "text/event-stream"}


async def _ask(browser: Browser, text: str, csrf: str, **headers: str) -> Seen:
    body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
    body["stream"] = True
    return await browser.ask(
        "POST", "/console/api/chat", json=body, headers={**STREAM, "x-csrf-token": csrf, **headers}
    )


async def test_a_model_streams_and_is_paid_for_by_the_account_of_the_session(
    owner: Caller, browser: Browser, books: asyncpg.Pool
) -> None:
    page = await browser.get("/console/playground")
    assert re.search(f'<option value="{MODEL}" [^>]+ selected>', page.text)
    reply = await _ask(browser, told(tokens=4), page.csrf)
    *chunks, end = re.findall(r"^data: (.*)", reply.text, re.MULTILINE)
    said = [choice["delta"].get("content") or "" for data in chunks for choice in json.loads(data).get("choices", [])]
    assert ("".join(said), end) == (expected(told(tokens=4)), "[DONE]")
    charged = 1_000_000_000 - await owner.settled(books)
    row = await books.fetchrow("SELECT key_id, charged_nano FROM requests WHERE id = $1", reply.headers["x-request-id"])
    assert row
    assert (row["key_id"], row["charged_nano"]) == (owner.key.split("_")[1], charged)
    assert charged > 0
    (price,) = re.findall(r"event: price\ndata: (.*)", reply.text)
    assert json.loads(price) == {"usd": nano_to_usd(charged), "tokens_reasoning": 0}


@pytest.mark.parametrize(("csrf", "headers"), [("", {}), ("0" * 64, {}), (None, {"Origin": "https://evil.example"})])
async def test_another_site_asks_nothing(
    owner: Caller, browser: Browser, books: asyncpg.Pool, csrf: str | None, headers: dict[str, str]
) -> None:
    given = (await browser.get("/console/playground")).csrf if csrf is None else csrf
    reply = await _ask(browser, told(tokens=1), given, **headers)
    assert (reply.status, json.loads(reply.text)["error"]["code"]) == (403, "permission_denied")
    assert not await books.fetchval("SELECT count(*) FROM requests WHERE account_id = $1", owner.account_id)


async def test_without_a_session_a_key_in_a_header_asks_nothing(owner: Caller, new_browser: NewBrowser) -> None:
    reply = await _ask(new_browser(owner), told(tokens=1), "", Authorization=f"Bearer {owner.key}")
    assert (reply.status, json.loads(reply.text)["error"]["code"]) == (401, "invalid_api_key")


async def test_the_limits_of_the_key_hold(new_caller: NewCaller, new_browser: NewBrowser) -> None:
    caller = await new_caller(rules=KeyRules(rpm=1))
    browser = new_browser(caller)
    await browser.sign_in(caller.key)
    csrf = (await browser.get("/console/playground")).csrf
    assert (await _ask(browser, told(tokens=1), csrf)).status == 200
    assert (await _ask(browser, told(tokens=1), csrf)).status == 429
