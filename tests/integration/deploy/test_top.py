"""`rebootml top`: the live view on a terminal of any size, driven by Textual's pilot, and a single picture without one."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import msgspec
import pytest
from arq.connections import ArqRedis
from textual.pilot import Pilot
from textual.widgets import Static

from deploy.cli.top.drawing import bars
from deploy.cli.top.figures import Source
from deploy.cli.top.screen import DARK, LIGHT, Top
from shared.catalogue.models import load_catalogue
from shared.operators.switches import drain_upstream, off_since, pause_provider, switched_off
from shared.queue.heartbeat import Heartbeat, announce
from shared.queue.upstreams import PublishedRow, UpstreamReport, UpstreamStates, publish_rows
from shared.runtime.last_minute import Lately
from shared.settings import Settings
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.harness.support import eventually
from tests.integration.conftest import NewAccount
from tests.integration.deploy.test_cli import Cli

SIZES = [(80, 24), (100, 30), (120, 40), (140, 45)]
LATELY = Lately(waits={38: 19, 50: 1}, first_tokens={38: 1, 45: 9}, tokens_per_s=40.0)
"""19 waits of 0.9 s and one of 8.3; first tokens after 0.9 and nine after 3.3 seconds."""
QUEUE = keys.queue("openai", "interactive")
USED = """
INSERT INTO usage_by_day (account_id, day, model, key_id, requests, failed, tokens_input, tokens_output, tokens_cached,
    tokens_reasoning, charged_nano)
VALUES ($1, (now() AT TIME ZONE 'UTC')::date, 'openai-gpt-4o-mini', 'key', $2, 1, 100, $3, 0, 0, 2000000000)
ON CONFLICT (account_id, day, model, key_id) DO UPDATE SET
    requests = usage_by_day.requests + EXCLUDED.requests, tokens_output = usage_by_day.tokens_output + EXCLUDED.tokens_output
"""


@pytest.fixture
async def source(
    pool: asyncpg.Pool, redis_client: ArqRedis, lua: Scripts, settings: Settings, new_account: NewAccount
) -> Source:
    """One worker that runs two jobs, while one has waited for twenty seconds and Gemini is paused."""
    await new_account(5_000_000_000)
    now = time.time() * 1000
    await redis_client.zadd(QUEUE, {"a": now - 20_000, "b": now + 5_000, "c": now + 5_000})
    queues = (QUEUE, keys.queue("gemini", "interactive"))
    worker = Heartbeat(id="wrk_12345678", queues=queues, claims=queues, services=(), slots=4, running=2, host="here")
    worker = msgspec.structs.replace(worker, upstreams={"openai": "1", "spare": "2"}, lately={"openai": LATELY})
    rows = [PublishedRow(name=name, provider="openai", models=()) for name in worker.upstreams]
    await publish_rows(redis_client, rows)
    await announce(redis_client, worker, 600)
    await pause_provider(pool, "gemini", paused=True)
    await drain_upstream(pool, "spare", drained=True)
    return Source(pool, redis_client, lua, load_catalogue(None, settings.price_factor), settings)


def shown(app: Top, name: str) -> str:
    return str(app.query_one(f"#{name}", Static).visual)


async def until_shown(app: Top, pilot: Pilot[None]) -> None:
    await eventually(lambda: "wanted" in shown(app, "headline"), "the first picture is there")
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES)
async def test_it_shows_states_in_words_whatever_the_size_of_the_terminal(
    source: Source, size: tuple[int, int]
) -> None:
    app = Top(source)
    async with app.run_test(size=size) as pilot:
        await until_shown(app, pilot)
        assert "LATE" in shown(app, "headline")
        assert "2 of 4 slots run, 3 wanted" in shown(app, "headline")
        lines = {line.split()[0]: line for line in shown(app, "vendors").splitlines()}
        assert lines["openai"].split()[1:4] == ["serving", "1", "2"]
        assert "paused " in lines["gemini"]
        assert "932ms" in lines["openai"]
        assert "3.3s" in lines["openai"]
        assert "no worker" in lines["deepseek"]
        assert "drained" in shown(app, "upstreams")
        assert "openai:interactive" in shown(app, "queues")
        assert "available" in shown(app, "money")
        assert "2/4" in shown(app, "workers")
        for name in ("vendors", "upstreams", "queues", "money", "workers"):
            widest = max(map(len, shown(app, name).splitlines()))
            assert widest <= app.query_one(f"#{name}").content_size.width, f"{name} does not fit"


async def test_keys_change_the_colours_and_end_it(source: Source) -> None:
    app = Top(source)
    async with app.run_test() as pilot:
        await until_shown(app, pilot)
        assert app.theme == DARK
        await pilot.press("d")
        assert app.theme == LIGHT
        await pilot.press("q")
    assert app.return_code == 0


async def test_a_store_that_is_away_is_told_and_the_last_picture_stays(source: Source, lua: Scripts) -> None:
    app = Top(source)
    async with app.run_test() as pilot:
        await until_shown(app, pilot)
        lua.close()
        await eventually(lambda: "AWAY" in shown(app, "headline"), "it says that Redis is away")
        assert "openai" in shown(app, "vendors")


async def test_rates_are_what_counters_grew_by(source: Source, pool: asyncpg.Pool, new_account: NewAccount) -> None:
    account = await new_account(1)
    await pool.execute(USED, account, 10, 0)
    first = await source.read()
    assert first.rates.requests_per_s == 0
    assert first.money.requests_today >= 10
    began = time.monotonic()
    await pool.execute(USED, account, 30, 600)
    second = await source.read()
    seconds = time.monotonic() - began
    assert second.rates.requests_per_s >= 30 / (seconds + 1)
    openai = next(vendor for vendor in second.vendors if vendor.name == "openai")
    assert openai.rates == second.rates
    assert openai.rates.tokens_per_s == LATELY.tokens_per_s
    assert next(vendor for vendor in second.vendors if vendor.name == "gemini").rates.requests_per_s == 0


async def test_it_knows_since_when_something_is_out_of_service_and_why(
    source: Source, lua: Scripts, settings: Settings, pool: asyncpg.Pool
) -> None:
    await UpstreamStates(lua, settings).exchange([UpstreamReport("openai", outcomes="c")])
    figures = await source.read()
    off = await off_since(pool)
    known = {vendor.name: (vendor.state, vendor.since) for vendor in figures.vendors}
    assert known["gemini"] == ("paused", off["provider", "gemini"])
    openai, spare = figures.upstreams
    assert (openai.state, openai.reason) == ("open", "credentials")
    assert (spare.state, spare.reason, spare.since) == ("drained", "operator", off["upstream", "spare"])
    assert openai.since
    assert spare.since
    assert known["openai"] == ("open", max(openai.since, spare.since))
    times = figures.times
    assert (times.wait_p50_s, times.wait_p95_s, times.first_token_p50_s) == (0.932, 0.932, 3.339)


async def test_without_a_terminal_it_is_one_picture(
    source: Source, database_url: str, redis_database_url: str, tmp_path: Path
) -> None:
    cli = Cli(tmp_path, DATABASE_URL=database_url, REDIS_URL=redis_database_url)
    document = cli.json("top")
    assert document.keys() == set(msgspec.structs.asdict(await source.read()))
    assert document["slots"] == 4
    said = cli("top").out
    assert all(f"{title}\n" in said for title in ("NOW", "VENDORS", "UPSTREAMS", "QUEUES", "WORKERS", "MONEY"))
    assert "no worker" in said


@pytest.mark.parametrize(
    ("words", "stored"),
    [
        (("queue", "pause", "openai"), "openai"),
        (("worker", "drain", "wrk_12345678"), "wrk_12345678"),
        (("upstream", "drain", "openai"), "openai"),
    ],
    ids=str,
)
async def test_what_a_worker_has_not_heard_of_is_stored_and_told_so(
    source: Source,
    pool: asyncpg.Pool,
    database_url: str,
    redis_database_url: str,
    tmp_path: Path,
    words: tuple[str, ...],
    stored: str,
) -> None:
    """The worker of this picture says hello once, and nothing of what was switched."""
    stores = {"DATABASE_URL": database_url, "REDIS_URL": redis_database_url}
    cli = Cli(tmp_path, **stores, HEARTBEAT_S="0.01", WORKER_SEEN_S="0.1")
    ran = cli(*words)
    assert (ran.status, ran.err.count("\n"), "wrk_12345678" in ran.err) == (1, 1, True)
    assert stored in set().union(*await switched_off(pool))
    await pool.execute("TRUNCATE switched_off")
    assert cli("queue", "resume", "gemini").status == 0


def test_bars_have_the_height_of_their_values() -> None:
    assert bars([0, 1, 4, 8], 5, 8) == "  ▂▅█"


@pytest.mark.parametrize("module", ["api.app", "workers.main", "deploy.cli.cli"])
def test_nothing_else_loads_what_draws_on_terminals(module: str) -> None:
    program = f"import sys, {module}; print('textual' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
