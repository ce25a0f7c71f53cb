"""`make run` as a newcomer meets it: embedded stores, simulated vendors, a demo key that works."""

from __future__ import annotations

import json
import os
import signal
import stat
import urllib.request
from typing import Any

import aiohttp
import pytest

from tests.harness.running import Running, command_line, none_runs, running
from tests.harness.support import eventually, is_running

MODEL = "openai-gpt-4o-mini"


@pytest.fixture
def run(made_run: Running) -> Running:
    return made_run


def _ask(told: dict[str, Any], text: str = "Hello!") -> dict[str, Any]:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": text}]}).encode()
    headers = {"Authorization": f"Bearer {told['api_key']}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{told['url']}/api/endpoint", body, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        document: dict[str, Any] = json.loads(answer.read())
    return document


async def test_the_demo_key_asks_a_simulated_model(run: Running) -> None:
    told = await run.ready()
    assert set(told) == {"url", "api_key", "account_id", "console_url", "database_url", "redis_url", "simulator_url"}
    assert all(told.values())
    assert told["api_key"] in run.output
    assert run.output.count("simulated (set") == 4
    assert stat.S_IMODE((run.data_dir / "run.json").stat().st_mode) == 0o600
    answer = _ask(told)
    assert answer["status"] == 1
    assert answer["result"]["response"]


async def test_the_link_of_the_welcome_opens_the_console_once_with_every_scope(run: Running) -> None:
    told = await run.ready()
    assert told["console_url"] in run.output
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.get(told["console_url"]) as entered:
            assert entered.status == 200
        async with browser.get(f"{told['url']}/console/keys") as keys:
            page = await keys.text()
            assert (keys.status, "inference, read, manage" in page) == (200, True)
    async with aiohttp.ClientSession() as other, other.get(told["console_url"]) as again:
        assert (again.status, again.cookies) == (410, {})


async def test_a_folder_that_was_open_is_closed_to_others(run: Running) -> None:
    await run.ready()
    assert stat.S_IMODE(run.data_dir.stat().st_mode) == 0o700
    assert f"{run.data_dir} was open to others (0755): it is closed to them now (0700)" in run.output


async def test_the_simulator_plays_the_plans_of_sim_plans(run: Running) -> None:
    answer = _ask(await run.ready(), "[[sim plan=k1]]")
    assert answer["result"]["response"] == "As planned."


async def test_workers_run_as_python_m_workers(run: Running) -> None:
    await run.ready()
    assert command_line(run.pid("worker.2")) == ["python", "-m", "workers"]
    assert command_line(run.pid("web.1")) == ["python", "-m", "api"]


async def test_it_answers_again_after_each_part_was_killed(run: Running) -> None:
    told = await run.ready()
    postgres = (run.data_dir / "postgres" / "postmaster.pid").read_text(encoding="ascii").splitlines()[0]
    valkey = (run.data_dir / "valkey" / "valkey.pid").read_text(encoding="ascii")
    simulator = next(pid for pid in run.descendants() if "deploy.simulator" in command_line(pid))
    for pid in (int(postgres), int(valkey), simulator, run.pid("web.1"), run.pid("worker.1")):
        name = command_line(pid)
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: _answers(told), f"it answers after {name} was killed", deadline_s=60)


def _answers(told: dict[str, Any]) -> bool:
    try:
        return bool(_ask(told)["status"] == 1)
    except OSError:
        return False


async def test_started_again_it_keeps_account_credit_and_key(run: Running) -> None:
    before = await run.ready()
    left = await eventually(lambda: _settled_balance(before), "nothing is held", deadline_s=60)
    below = run.descendants()
    assert await run.stopped() == -signal.SIGTERM  # make dies of what it passed on
    assert not any(is_running(pid) for pid in below)
    with running(run.data_dir) as again:
        after = await again.ready()
        assert (after["api_key"], after["account_id"]) == (before["api_key"], before["account_id"])
        assert _settled_balance(after) == left
        below = again.descendants()
        again.process.kill()
        await none_runs(below)


def _settled_balance(told: dict[str, Any]) -> str | None:
    """The balance once nothing is held: what a killed worker left is settled by another a little later."""
    request = urllib.request.Request(
        f"{told['url']}/api/account", headers={"Authorization": f"Bearer {told['api_key']}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            account = json.loads(answer.read())["result"]
    except OSError:
        return None
    return str(account["balance_usd"]) if float(account["held_usd"]) == 0 else None
