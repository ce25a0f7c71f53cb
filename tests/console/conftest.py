"""The console in headless Chromium: one running service, one browser, and a signed-in page for each test."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from playwright.async_api import Browser, BrowserContext, Page, Playwright, async_playwright

from shared.ledger.api_keys import SCOPES, KeyRules
from tests.e2e.conftest import ENVIRONMENT, NewCaller, customers
from tests.harness.caller import Caller
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.support import free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = "Chromium is missing, so no page was opened: `apt-get install chromium` (.ci/run does it as root)"
SHOWN_WITHIN_MS = 20_000
"""The machine may be busy."""
HOSTILE_VENDOR = '<img src=x onerror=alert(1)>"</option></select><script>alert(2)</script>'
"""A vendor's name in an operator's overlay."""
HOSTILE_MODEL = "google-gemini-3.5-flash-lite"
NewPage = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="package")
async def chromium() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip(MISSING)
    playwright: Playwright
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        await browser.close()


@pytest.fixture(scope="package")
async def cluster(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    port = free_port()
    gemini = {"GEMINI_API_KEY": "simulated", "GOOGLE_GEMINI_BASE_URL": f"http://127.0.0.1:{port}/gemini"}
    folder = tmp_path_factory.mktemp("console")
    overlay = folder / "overlay.toml"
    row = f'[[model]]\nname = "{HOSTILE_MODEL}"\ncompany = {json.dumps(HOSTILE_VENDOR)}\n'
    await asyncio.to_thread(overlay.write_text, row, encoding="utf-8")
    environment = ENVIRONMENT | gemini | {"CATALOGUE": str(overlay)}
    async with running_cluster(folder, environment, doors=1, workers=1, direct=True, vendor_port=port) as running:
        yield running


@pytest.fixture(scope="package")
async def books(cluster: Cluster) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=4) as pool:
        yield pool


@pytest.fixture(scope="package")
async def new_caller(cluster: Cluster, books: asyncpg.Pool) -> AsyncIterator[NewCaller]:
    async with customers(cluster, books) as make:
        yield make


@pytest.fixture
async def owner(new_caller: NewCaller) -> Caller:
    return await new_caller(rules=KeyRules(name="the owner's", scopes=SCOPES))


@pytest.fixture
async def new_page(chromium: Browser, owner: Caller) -> AsyncIterator[NewPage]:
    """Opens a page in a browser profile of its own; a script that ran where none should have fails the test."""
    opened: list[BrowserContext] = []
    alerts: list[str] = []

    async def open_page(**wishes: object) -> Page:
        context = await chromium.new_context(base_url=owner.urls[0], **wishes)  # type: ignore[arg-type]
        context.set_default_timeout(SHOWN_WITHIN_MS)
        opened.append(context)
        page = await context.new_page()
        page.on("dialog", lambda dialog: alerts.append(dialog.message))
        page.on("pageerror", lambda error: alerts.append(str(error)))
        return page

    yield open_page
    for context in opened:
        await context.close()
    assert not alerts


@pytest.fixture
async def page(new_page: NewPage, owner: Caller) -> Page:
    """Signed in already."""
    page = await new_page()
    form: dict[str, str | float | bool] = {"key": owner.key, "next": "/console/batches"}
    signed_in = await page.request.post("/console/sign-in", form=form, max_redirects=0)
    assert signed_in.status == 303
    await page.goto("/console/batches")
    return page


async def sign_in(page: Page, key: str) -> None:
    """As a person would."""
    await page.goto("/console?next=/console/batches")
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/console/batches")
