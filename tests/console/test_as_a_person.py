"""Each thing that the console is for, done in a browser as a person does it."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from pathlib import Path

import asyncpg
from playwright.async_api import Download, Locator, Page, expect

from shared.ledger.sessions import make_link
from tests.console.conftest import HOSTILE_MODEL, HOSTILE_VENDOR, SHOWN_WITHIN_MS, NewPage, sign_in
from tests.harness.caller import MODEL, Caller, expected, told
from tests.harness.cluster import Cluster

expect.set_options(timeout=SHOWN_WITHIN_MS)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"
OTHER = "google-gemini-3.8-flash"
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ENDED = re.compile(r"\$0\.\d+ · \d+ in, \d+ out.* · first token after \d+\.\d\d s · \d+\.\d\d s")


def _column(page: Page, number: int) -> Locator:
    return page.get_by_role("region", name=f"Conversation {number}", exact=True)


async def _ask(page: Page, text: str) -> None:
    await page.get_by_label("Message", exact=True).fill(text)
    await page.get_by_role("button", name="Ask", exact=True).click()


async def _drop(target: Locator, file: Path) -> None:
    """Drop the file on the target, as if it was dragged there from the desktop."""
    await target.scroll_into_view_if_needed()
    box = await target.bounding_box()
    assert box
    where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    devtools = await target.page.context.new_cdp_session(target.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        dragged = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        await devtools.send("Input.dispatchDragEvent", {"type": kind, **where, "data": dragged})


async def _hide(page: Page, *, hidden: bool) -> None:
    """What a page is told when its tab goes to the background, or comes back. Headless browsers show every tab."""
    await page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


async def test_a_link_signs_in_once_and_a_key_again_and_signing_out_ends_it(
    new_page: NewPage, owner: Caller, books: asyncpg.Pool
) -> None:
    page = await new_page()
    link = await make_link(books, owner.key.split("_")[1], 60)
    await page.goto(f"/console/enter/{link}")
    await page.wait_for_url("**/console/models")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in to the console")).to_be_visible()
    await page.goto(f"/console/enter/{link}")
    await expect(page.get_by_role("alert")).to_contain_text("This link has been used")
    await page.goto("/console/usage")
    await page.get_by_label("API key").fill(owner.key)
    await page.get_by_label("API key").press("Enter")
    await expect(page.get_by_role("heading", name="Usage")).to_be_visible()


async def test_two_models_stream_beside_each_other_and_go_on_in_turns(page: Page) -> None:
    await page.goto("/console/playground")
    await page.get_by_label("Model 2", exact=True).select_option(OTHER)
    await _ask(page, told(tokens=5))
    for number in (1, 2):
        await expect(_column(page, number).get_by_role("status")).to_have_text(ENDED)
        await expect(_column(page, number).locator(".answer pre")).to_contain_text("This text")
    await _ask(page, told(tokens=2))
    await expect(_column(page, 2).locator(".answer")).to_have_count(2)
    await expect(_column(page, 1).get_by_role("status")).to_have_text(ENDED)
    await page.get_by_role("button", name="Retry").click()
    await expect(_column(page, 1).get_by_role("status")).to_have_text(ENDED)
    await expect(_column(page, 1).locator(".turn")).to_have_count(4)
    await page.get_by_role("button", name="Start over").click()
    await expect(page.locator(".turn")).to_have_count(0)


async def test_what_streams_is_seen_as_it_comes_and_can_be_stopped(page: Page) -> None:
    await page.goto("/console/playground")
    await _ask(page, told(tokens=9, hold=3, key="stopped"))
    await expect(_column(page, 1).get_by_role("status")).to_have_text(re.compile(r"^first token after"))
    await page.get_by_role("button", name="Stop").click()
    await expect(_column(page, 1).get_by_role("status")).to_have_text(re.compile(r"^stopped after"))
    await page.goto("/console/requests")
    await expect(page.locator("tbody .state")).to_have_text("cancelled")


async def test_hostile_text_of_a_model_and_of_a_person_stays_text(page: Page, cluster: Cluster) -> None:
    await cluster.simulator.plan({"key": "hostile", "turns": [{"text": HOSTILE}]})
    await page.goto("/console/playground")
    await _ask(page, f"[[sim plan=hostile first_ms=0 pace_ms=0]] {HOSTILE}")
    column = _column(page, 1)
    await expect(column.get_by_role("status")).to_have_text(ENDED)
    await expect(column.locator(".answer pre")).to_have_text(HOSTILE)
    await expect(column.locator("script, img")).to_have_count(0)


async def test_a_vendors_hostile_name_stays_text_in_the_picker_and_in_the_list(page: Page) -> None:
    await page.goto(f"/console/models?q={HOSTILE_MODEL}")
    await expect(page.get_by_role("rowheader", name=HOSTILE_VENDOR)).to_be_visible()
    await page.get_by_role("link", name=HOSTILE_MODEL).click()
    for number in (1, 2):
        picker = page.get_by_label(f"Model {number}", exact=True)
        assert HOSTILE_VENDOR in await picker.locator("optgroup").evaluate_all("groups => groups.map(one => one.label)")
        await picker.select_option(HOSTILE_MODEL)
        await expect(_column(page, number).locator(".facts-line")).to_contain_text(HOSTILE_VENDOR)
    await expect(page.locator("main script, main img")).to_have_count(0)


async def test_a_model_calls_a_tool_thinks_and_sees_an_image(page: Page, cluster: Cluster, tmp_path: Path) -> None:
    picture = tmp_path / "dot <b>.png"
    picture.write_bytes(PIXEL)
    await page.goto("/console/playground")
    await page.get_by_label("Model 1", exact=True).select_option(OTHER)
    await page.get_by_text("Options and tools").click()
    await page.get_by_role("button", name="Put an example").click()
    await page.get_by_label("show what the model thinks").check()
    await page.get_by_label("Reasoning effort").select_option("high")
    await _drop(page.get_by_label("Message", exact=True), picture)
    await expect(page.get_by_label("Images of the message")).to_contain_text("dot <b>.png")
    await _ask(page, told(tokens=3, reasoning=4))
    column = _column(page, 1)
    await expect(column.locator(".call")).to_contain_text("get_weather")
    await expect(column.locator(".soft pre")).not_to_be_empty()
    await expect(column.locator(".turn").first).to_contain_text("[image]")
    await column.get_by_label("Result of get_weather").fill("Sunny, 21 °C.")
    await column.get_by_role("button", name="Send the results").click()
    await expect(column.locator(".answer pre")).to_contain_text("Sunny, 21 °C.")
    await expect(column.get_by_role("status")).to_have_text(ENDED)


async def test_the_request_is_shown_as_programs(page: Page) -> None:
    await page.goto("/console/playground")
    await page.get_by_label("Message", exact=True).fill('It\'s "so"')
    code = page.get_by_role("region", name="The request as code")
    await expect(code).to_contain_text("/v1/chat/completions")
    await expect(code).to_contain_text("It'\\''s")
    for name, call in (("openai", "client.chat.completions.create("), ("anthropic", "client.messages.create(")):
        await page.get_by_role("button", name=name).click()
        await expect(code).to_contain_text(call)
        compile(await code.inner_text(), name, "exec")


async def test_a_request_is_found_read_and_cancelled(page: Page, owner: Caller, books: asyncpg.Pool) -> None:
    headers = {"Prefer": "respond-async"}
    await owner.chat(told(tokens=3), headers=headers | {"Idempotency-Key": "one"})
    await owner.settled(books)
    accepted = await owner.chat(told(tokens=9, hold=2, key="person"), headers=headers, model=OTHER, stream=True)
    await page.goto("/console/requests")
    await page.get_by_placeholder("Model, key id").fill("4o-mini")
    await page.get_by_role("button", name="Search").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.locator("tbody a").click()
    await expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
    await expect(page.locator(".answer pre")).to_have_text(expected(told(tokens=3)))
    await page.goto(f"/console/requests/{accepted.json['result']['id']}")
    await expect(page.locator("[data-stream]")).not_to_be_empty()
    await page.get_by_role("button", name="Cancel the request").click()
    await expect(page.locator("h1 .state")).to_have_text("cancelled")


async def test_a_batch_is_sent_watched_and_downloaded(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    message = {"role": "user", "content": told(tokens=2)}
    lines = [{"custom_id": f"{HOSTILE}{number}", "model": MODEL, "messages": [message]} for number in range(5)]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    await page.goto("/console/batches")
    await _drop(page.get_by_label("File of lines"), file)
    await page.get_by_role("button", name="Send the batch").click()
    await expect(page.locator("h1 .state")).to_have_text("completed")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download results").click()
    results = (await _text_of(await download.value)).splitlines()
    assert [json.loads(line)["custom_id"] for line in results] == [line["custom_id"] for line in lines]


async def test_a_key_is_made_rotated_and_revoked(page: Page, owner: Caller) -> None:
    await page.goto("/console/keys")
    await page.get_by_text("New key").click()
    await page.get_by_label("Name").fill(HOSTILE)
    await page.get_by_role("button", name="Make the key").click()
    made = await page.locator(".secret").inner_text()
    await page.get_by_role("link", name="Back to the keys").click()
    row = page.locator("tr", has_text=made.split("_")[1])
    await expect(row.get_by_role("rowheader")).to_contain_text(HOSTILE)
    await row.locator("summary").click()
    await row.get_by_role("button", name="Rotate").click()
    successor = await page.locator(".secret").inner_text()
    await page.goto("/console/keys")
    row = page.locator("tr", has_text=successor.split("_")[1])
    await row.locator("summary").click()
    await row.get_by_role("button", name="Revoke").click()
    await expect(page.locator("tr", has_text=successor.split("_")[1]).locator(".state")).to_have_text("revoked")


async def test_usage_is_a_picture_a_table_and_a_file_and_the_balance_agrees(
    page: Page, owner: Caller, books: asyncpg.Pool
) -> None:
    await owner.chat(told(tokens=7))
    charged = f"{1_000_000_000 - await owner.settled(books):09d}".rstrip("0")
    await page.get_by_role("link", name="Usage").click()
    await expect(page.get_by_role("img", name=re.compile("Spend by day"))).to_be_visible()
    await expect(page.locator("tfoot .usd")).to_have_text(f"0.{charged}")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="CSV").click()
    assert f",0.{charged}\n" in await _text_of(await download.value)
    await page.get_by_role("link", name="Balance").click()
    await expect(page.locator("tbody tr").first).to_contain_text(f"−0.{charged}")
    await page.get_by_role("link", name="Models").click()
    await page.get_by_label("Model or vendor").fill("4o-mini")
    await page.get_by_label("Model or vendor").press("Enter")
    await expect(page.get_by_role("rowheader", name=MODEL).first).to_be_visible()


async def _text_of(download: Download) -> str:
    path = Path(await download.path())
    return await asyncio.to_thread(path.read_text, encoding="utf-8")


async def test_a_list_follows_what_runs_until_it_has_ended_but_not_while_it_is_hidden(
    page: Page, owner: Caller, books: asyncpg.Pool
) -> None:
    await page.clock.install()
    await owner.chat(told(tokens=2, hold=1, key="list"), headers={"Prefer": "respond-async"})
    await page.goto("/console/requests")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await _hide(page, hidden=True)
    await expect(page.locator("tbody .state")).to_have_text(re.compile("queued|running"))
    asked.clear()
    await owner.release("list")
    await owner.settled(books)
    await page.clock.fast_forward(60_000)
    await expect(page.locator("tbody .state")).to_have_text(re.compile("queued|running"))
    assert not asked
    await _hide(page, hidden=False)
    await expect(page.locator("tbody .state")).to_have_text("succeeded")
    asked.clear()
    await page.clock.fast_forward(60_000)
    await page.locator("tbody a").focus()
    assert not asked


async def test_without_a_script_all_but_the_playground_works(new_page: NewPage, owner: Caller, tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    line = {"custom_id": "a", "model": MODEL, "messages": [{"role": "user", "content": told(tokens=1)}]}
    file.write_text(json.dumps(line), encoding="utf-8")
    page = await new_page(java_script_enabled=False)
    await sign_in(page, owner.key)
    await page.goto("/console/playground")
    await expect(
        page.get_by_role("button", name="Ask", exact=True)
    ).to_be_disabled()  # else a prompt would stand in an address
    await page.goto("/console/batches")
    await page.get_by_label("File of lines").set_input_files(file)
    await page.get_by_role("button", name="Send the batch").click()
    await expect(page.get_by_role("heading", name="Batch")).to_be_visible()
    await page.goto("/console/usage?group_by=key")
    await page.locator("[name=group_by]").select_option("model")
    await page.get_by_role("button", name="Show").click()
    await page.wait_for_url("**group_by=model")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in to the console")).to_be_visible()
