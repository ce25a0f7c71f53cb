"""Every page with things on it, light on a desktop and dark on a phone: axe finds nothing, and no page is too wide."""

from __future__ import annotations

import json
from typing import Literal

import asyncpg
import pytest
from axe_playwright_python.async_playwright import Axe

from shared.ledger.api_keys import SCOPES, KeyRules
from tests.console.conftest import NewPage, sign_in
from tests.e2e.conftest import NewCaller
from tests.harness.caller import MODEL, Caller, told

HOSTILE = f"<b>{'long' * 40}"
EVERYTHING = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
OF_LOOKS = ["color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size"]
"""Of axe's rules those for which the theme or the width makes a difference: the page is the same but for its looks."""
LOOKS: list[tuple[Literal["light", "dark"], tuple[int, int], list[str]]] = [
    ("light", (1280, 900), EVERYTHING),
    ("dark", (360, 760), OF_LOOKS),
]


@pytest.fixture(scope="module")
async def shopper(new_caller: NewCaller) -> Caller:
    """An account that has something on every page."""
    return await new_caller(rules=KeyRules(name=HOSTILE, scopes=SCOPES))


@pytest.fixture(scope="module")
async def paths(shopper: Caller, books: asyncpg.Pool) -> list[str]:
    message = [{"role": "user", "content": f"{told(tokens=40)} {HOSTILE}"}]
    asked = await shopper.chat(message[0]["content"], headers={"Idempotency-Key": "one"})
    await shopper.chat(told(status=400), headers={"Idempotency-Key": "two"})
    lines = [{"custom_id": f"{HOSTILE}{number}", "model": MODEL, "messages": message} for number in range(3)]
    body = "\n".join(map(json.dumps, [*lines, {"custom_id": "no model"}]))
    headers = {"Content-Type": "application/x-ndjson"}
    batch = (await shopper.request("POST", "/api/batches", data=body, headers=headers)).json["result"]["id"]
    for rules in ({"name": "ended"}, {"name": "limited", "limit_usd": "2.5", "rpm": 60, "scopes": ["read"]}):
        made = (await shopper.request("POST", "/api/keys", json=rules)).json["result"]
    await shopper.request("DELETE", f"/api/keys/{made['key_id']}")
    await shopper.settled(books)
    of_one = [f"requests/{asked.headers['x-request-id']}", f"batches/{batch}", "nothing"]
    listed = [
        "playground",
        "models?q=gpt-5",
        "usage",
        "usage?group_by=model",
        "requests",
        "requests?q=none",
        "batches",
        "keys",
    ]
    return [*listed, "balance", *of_one]


async def test_axe_finds_nothing_and_no_page_is_wider_than_the_screen(
    new_page: NewPage, shopper: Caller, paths: list[str]
) -> None:
    page = await new_page()
    wrong: dict[str, object] = {}
    await page.goto("/console")
    for path in ["", *paths]:
        if path:
            await page.goto(f"/console/{path}")
        else:
            await sign_in(page, shopper.key)
        for theme, size, rules in LOOKS:
            await page.emulate_media(color_scheme=theme)
            await page.set_viewport_size({"width": size[0], "height": size[1]})
            found = await Axe().run(page, options={"runOnly": rules, "resultTypes": ["violations"]})
            told = [f"{one['id']}: {one['nodes'][0]['html']}" for one in found.response["violations"]]
            width = await page.evaluate("document.documentElement.scrollWidth")
            if told or width > size[0]:
                wrong[f"{path} {theme}"] = (width, told)
    assert not wrong, json.dumps(wrong, indent=1)
