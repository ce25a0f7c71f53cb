"""The service as it is deployed: two front doors, three workers, the simulator and stores, all real processes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from shared.ledger.accounts import create_account
from shared.ledger.api_keys import SCOPES, KeyRules, create_key
from shared.money import NanoUsd
from tests.e2e.consoles import Browser, NewBrowser
from tests.e2e.overlaid import Overlaid, running_overlaid
from tests.harness.caller import Caller
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.running import Running, running

NewCaller = Callable[..., Awaitable[Caller]]
KEYS_PER_ACCOUNT_MAX = 6
PAGE = "https://app.example.com"
"""Whose pages may call the service."""
ENVIRONMENT = {
    "LEASE_S": "3",
    "IDLE_TIMEOUT_S": "5",
    "ABANDONED_AFTER_S": "0.3",
    "WORKER_MISSING_S": "1",
    "BODY_BYTES_MAX": "1000000",
    "VENDOR_RETRIES_MAX": "1",
    "SSE_KEEPALIVE_S": "0.3",
    "BODY_WITHIN_S": "2",
    "BODY_BYTES_PER_S_MIN": "5",
    "KEEPALIVE_S": "6",
    "REFUSED_BODY_WITHIN_S": "0.5",
    "LOG_LEVEL": "debug",
    "RETENTION_EVERY_S": "0.5",
    "IDLE_WAIT_S": "0.2",
    "BATCH_LOOK_EVERY_S": "0.3",  # each look of each worker costs, also when no batch runs
    "KEY_ENDS_EVERY_S": "0.2",
    "CONSOLE_SIGN_INS_PER_MINUTE": "6000",
    "KEYS_PER_ACCOUNT_MAX": str(KEYS_PER_ACCOUNT_MAX),
    "CORS_ORIGINS": f"{PAGE},http://localhost:5173",
}


@pytest.fixture(scope="package")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with running_cluster(
        tmp_path_factory.mktemp("service"), ENVIRONMENT, doors=2, workers=3, direct=True
    ) as running:
        yield running


@pytest.fixture(scope="package")
async def overlaid(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Overlaid]:
    """Another one, which its tests may stop and kill as long as they start it again."""
    async with running_overlaid(tmp_path_factory.mktemp("overlaid"), ENVIRONMENT) as running:
        yield running


@pytest.fixture(scope="package")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`make run` as a newcomer meets it, except that it knows a plan, that its vendors are quick, and that it
    soon sees to what a killed process leaves behind.
    """
    folder = tmp_path_factory.mktemp("make_run")
    plans = folder / "plans.json"
    plans.write_text(json.dumps([{"key": "k1", "turns": [{"text": "As planned."}]}]), encoding="utf-8")
    simulator = {"SIM_PLANS": str(plans), "SIM_FIRST_MS": "1", "SIM_PACE_MS": "1"}
    (folder / "data").mkdir()
    (folder / "data").chmod(0o755)  # as a folder is that somebody has made before
    soon = {"LEASE_S": "1", "SWEEP_EVERY_S": "1", "SETTLE_RETRY_S": "0.1"}
    with running(folder / "data", ("make", "run"), PROCESSES="web=2,worker=2", **simulator, **soon) as run:
        yield run


@pytest.fixture(scope="package")
async def books(cluster: Cluster) -> AsyncIterator[asyncpg.Pool]:
    """The service's own database."""
    async with asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=4) as pool:
        yield pool


@asynccontextmanager
async def customers(cluster: Cluster, books: asyncpg.Pool) -> AsyncIterator[NewCaller]:
    """Makes an account with so much credit in nano-USD and a key with these rules."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=1)  # sooner than a front door ends what is idle
    async with aiohttp.ClientSession(connector=connector) as session:

        async def make(credit: int = 1_000_000_000, rules: KeyRules | None = None) -> Caller:
            account = await create_account(books, "someone", NanoUsd(credit))
            key = await create_key(books, account.id, rules or KeyRules())
            return Caller(session, cluster, account.id, key.key)

        yield make


@pytest.fixture
async def new_caller(cluster: Cluster, books: asyncpg.Pool) -> AsyncIterator[NewCaller]:
    async with customers(cluster, books) as make:
        yield make


@pytest.fixture
async def caller(new_caller: NewCaller) -> Caller:
    """Somebody with one dollar."""
    return await new_caller()


@pytest.fixture
def logs(cluster: Cluster) -> Path:
    """Where the processes log."""
    return cluster.folder / "logs"


@pytest.fixture
async def new_browser() -> AsyncIterator[NewBrowser]:
    opened: list[Browser] = []

    def make(caller: Caller) -> Browser:
        opened.append(Browser(caller.urls[0]))
        return opened[-1]

    yield make
    for browser in opened:
        await browser.http.close()


@pytest.fixture
async def owner(new_caller: NewCaller) -> Caller:
    return await new_caller(rules=KeyRules(scopes=SCOPES))


@pytest.fixture
async def browser(owner: Caller, new_browser: NewBrowser) -> Browser:
    """Signed in."""
    browser = new_browser(owner)
    assert (await browser.sign_in(owner.key)).status == 303
    return browser
