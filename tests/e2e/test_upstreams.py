"""Keys and regions that fail, one at a time and all at once: what a caller notices, and how soon they are used again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis.asyncio

from shared.queue.upstreams import UpstreamReport, UpstreamState, UpstreamStates
from shared.settings import Settings
from shared.stores.redis_client import connect
from shared.stores.scripts import Scripts
from tests.harness.caller import Caller, Reply, expected, told
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.support import eventually_true
from tests.integration.deploy.test_cli import REFUSED, Cli

KEYS = ("key-aaaa", "key-bbbb", "key-cccc")
ROWS = "".join(
    f'[[upstream]]\nname = "openai-{key[-1]}"\nprovider = "openai"\nkey_variable = "OPENAI_{key[-1].upper()}_KEY"\n'
    for key in KEYS
)
COUNT = itertools.count()
NAMES = {"openai-a", "openai-b", "openai-c"}
ENVIRONMENT = {
    "LEASE_S": "3",
    "IDLE_TIMEOUT_S": "2",
    "REQUEST_DEADLINE_S": "60",
    "HEARTBEAT_S": "0.2",
    "IDLE_WAIT_S": "0.1",
    "UPSTREAM_FAILED_IN_ROW": "5",
    "UPSTREAM_CALLS_MIN": "10",
    "UPSTREAM_OPEN_S": "0.5",
    "UPSTREAM_OPEN_MAX_S": "20",
    "UPSTREAM_RAMP_MAX": "4",
    "UPSTREAM_WAIT_S": "1.5",
    "UPSTREAM_PROBE_S": "1",
}
ENVIRONMENT |= {f"OPENAI_{key[-1].upper()}_KEY": key for key in KEYS}


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp("upstreams")
    (folder / "overlay.toml").write_text(ROWS, encoding="utf-8")
    settings = ENVIRONMENT | {"CATALOGUE": str(folder / "overlay.toml"), "METRICS_HOST": "127.0.0.1"}
    async with running_cluster(folder, settings, doors=1, workers=2, direct=True) as running:
        yield running


@pytest.fixture(scope="module")
async def books(cluster: Cluster) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=2) as pool:
        yield pool


class Upstreams:
    """What befalls them, and how all workers say they are."""

    def __init__(self, cluster: Cluster, states: UpstreamStates) -> None:
        self._cluster = cluster
        self._states = states

    async def befall(self, fault: str, *keys: str, **more: object) -> None:
        for key in keys or KEYS:
            await self._cluster.simulator.befall(vendor="openai", key=key, fault=fault, **more)

    async def states(self) -> dict[str, UpstreamState]:
        return (await self._states.exchange([UpstreamReport(name) for name in NAMES])).states

    async def all_are(self, state: str, *names: str) -> None:
        async def they_are() -> bool:
            known = await self.states()
            return all(known[name].state == state for name in names or NAMES)

        await eventually_true(they_are, f"{names or NAMES} are {state}")

    async def recover(self, caller: Caller) -> None:
        """Real traffic tries them; a vendor is not asked for nothing."""

        async def they_did() -> bool:
            await asyncio.gather(*(caller.chat(told(tokens=2)) for _ in range(6)))
            return all(state.state == "closed" for state in (await self.states()).values())

        await eventually_true(they_did, "all are closed")


@pytest.fixture
async def upstreams(cluster: Cluster, caller: Caller) -> AsyncIterator[Upstreams]:
    settings = Settings.load({**cluster.environment, "DATABASE_URL": "postgresql://", "REDIS_URL": cluster.valkey.url})
    async with connect(settings, redis.asyncio.Redis) as client:
        with contextlib.closing(Scripts(client, settings)) as scripts:
            found = Upstreams(cluster, UpstreamStates(scripts, settings))
            yield found
            await found.befall("")
            await found.recover(caller)


async def _ask(caller: Caller, number: int, **options: Any) -> Counter[int]:
    replies = await asyncio.gather(*(caller.chat(told(tokens=3), **options) for _ in range(number)))
    return Counter(reply.status for reply in replies)


@pytest.mark.parametrize("fault", ["dead", "down", "wrong_key", "no_credit", "unfinished", "silent"])
async def test_what_fails_at_one_key_is_answered_by_another_and_the_key_is_left_alone_until_it_is_well(
    upstreams: Upstreams, caller: Caller, books: asyncpg.Pool, fault: str
) -> None:
    """JSON answers: of a stream that breaks off its caller has had a part."""
    await upstreams.befall(fault, "key-bbbb")
    for _ in range(3):
        assert await _ask(caller, 20) == {200: 20}

    async def is_left_alone() -> UpstreamState | None:
        state = (await upstreams.states())["openai-b"]
        if state.state in {"open", "half open"}:
            return state
        assert await _ask(caller, 4) == {200: 4}
        return None

    state = await eventually_true(is_left_alone, "the key is left alone")
    assert state.reason == {"wrong_key": "credentials", "no_credit": "credit"}.get(fault, "failures")
    await caller.settled(books)
    await upstreams.befall("")
    await upstreams.recover(caller)


async def test_a_stream_that_has_begun_is_not_begun_again(upstreams: Upstreams, caller: Caller) -> None:
    await upstreams.befall("unfinished")
    reply = await caller.chat(told(tokens=9), stream=True)
    assert (reply.status, reply.complete) == (200, False)
    text, _, error = reply.body.decode().partition("\x1e")
    assert expected(told(tokens=9)).startswith(text)
    assert json.loads(error)["error"]["code"] == "provider_error"


async def test_a_key_that_falls_silent_costs_its_first_callers_a_while_and_the_others_nothing(
    upstreams: Upstreams, caller: Caller
) -> None:
    await upstreams.befall("silent", "key-aaaa")
    for _ in range(3):
        assert await _ask(caller, 12, stream=True) == {200: 12}
    assert (await upstreams.states())["openai-a"].reason == "failures"


async def test_who_finds_all_keys_throttled_waits_in_the_queue(upstreams: Upstreams, caller: Caller) -> None:
    await upstreams.befall("throttled", per_minute=60, burst=1)
    assert await _ask(caller, 6) == {200: 6}
    assert {state.state for state in (await upstreams.states()).values()} == {"closed"}, "which is no failure"


async def test_when_all_are_down_for_long_callers_are_told_how_long_and_nothing_is_held(
    upstreams: Upstreams, caller: Caller, books: asyncpg.Pool
) -> None:
    await upstreams.befall("down")

    async def refused() -> Reply | None:
        """Each probe that fails opens it for longer."""
        await _ask(caller, 10)
        reply = await caller.chat(told())
        is_long = reply.status == 503 and int(reply.headers["Retry-After"]) > 3
        return reply if is_long else None

    reply = await eventually_true(refused, "it is open for longer than anybody waits")
    assert reply.error["code"] == "provider_busy"

    async def unavailable() -> bool:
        models = (await caller.request("GET", "/api/models")).json["result"]
        return not next(model["available"] for model in models if model["name"] == "openai-gpt-4o-mini")

    await eventually_true(unavailable, "the front door has heard of it")
    await caller.settled(books)
    asked = await books.fetchval("SELECT count(*) FROM requests WHERE account_id = $1", caller.account_id)
    assert (await caller.chat(told())).status == 503
    assert await books.fetchval("SELECT count(*) FROM requests WHERE account_id = $1", caller.account_id) == asked
    assert (await caller.request("GET", "/api/account")).json["result"]["balance_usd"] == "1"


async def test_an_operator_hears_of_a_refused_key_once(upstreams: Upstreams, caller: Caller, logs: Path) -> None:
    said = sum((logs / f"worker-{n}.log").read_text().count("refuses the operator's credentials") for n in (1, 2))
    await upstreams.befall("wrong_key", "key-cccc")

    def alerts() -> int:
        return (
            sum((logs / f"worker-{n}.log").read_text().count("refuses the operator's credentials") for n in (1, 2))
            - said
        )

    async def is_heard() -> bool:
        assert await _ask(caller, 10) == {200: 10}
        return alerts() > 0

    await eventually_true(is_heard, "an alert")
    assert await _ask(caller, 10) == {200: 10}
    assert alerts() == 1


# what operators do


@pytest.fixture
def cli(cluster: Cluster, tmp_path: Path) -> Cli:
    return Cli(tmp_path, DATABASE_URL=cluster.postgres.url, REDIS_URL=cluster.valkey.url)


async def test_operators_see_every_upstream(cli: Cli, caller: Caller, upstreams: Upstreams) -> None:
    await _ask(caller, 6)
    rows = {row["name"]: row for row in cli.json("upstream", "list")}
    assert {name for name in rows if name.startswith("openai")} == NAMES
    row = rows["openai-a"]
    assert set(row) == {"name", "provider", "state", "models", "cooling_until", "calls", "errors"}
    assert (row["provider"], row["state"], row["cooling_until"]) == ("openai", "closed", None)
    assert "openai-gpt-4o-mini" in row["models"]
    await upstreams.befall("wrong_key", "key-aaaa")
    await _ask(caller, 12)
    row = next(row for row in cli.json("upstream", "list") if row["name"] == "openai-a")
    assert row["state"] in {"open", "half open"}
    assert row["errors"] > 0


async def test_a_drained_upstream_ends_what_it_runs_and_begins_nothing(
    cli: Cli, cluster: Cluster, caller: Caller, upstreams: Upstreams
) -> None:
    running = [asyncio.create_task(caller.chat(told(tokens=3, hold=0, key=f"drain-{n}"))) for n in range(9)]
    for number in range(9):
        await cluster.simulator.call_begins(f"drain-{number}")
    for name in ("openai-a", "openai-b"):
        assert [row["state"] for row in cli.json("upstream", "drain", name)] == ["drained"]

    async def only_c() -> bool:
        key = f"after-drain-{next(COUNT)}-"
        replies = await asyncio.gather(*(caller.chat(told(tokens=2, key=f"{key}{n}")) for n in range(9)))
        assert {reply.status for reply in replies} == {200}
        return {call.account for call in await cluster.simulator.calls(key)} == {"cccc"}

    await eventually_true(only_c, "all new calls go to the one that is left")
    for number in range(9):
        await caller.release(f"drain-{number}")
    assert {(reply.status, reply.complete) for reply in await asyncio.gather(*running)} == {(200, True)}
    for name in ("openai-a", "openai-b"):
        assert [row["state"] for row in cli.json("upstream", "enable", name)] == ["closed"]


async def test_a_check_calls_the_upstream_and_says_what_is_wrong_with_it(
    cli: Cli, caller: Caller, upstreams: Upstreams
) -> None:
    assert [row["name"] for row in cli.json("upstream", "check", "openai-b")] == ["openai-b"]
    await upstreams.befall("wrong_key", "key-bbbb")
    refused = cli("upstream", "check", "openai-b")
    assert (refused.status, "refused this service's own account" in refused.err) == (REFUSED, True)
    assert (await upstreams.states())["openai-b"].state in {"open", "half open"}
    await upstreams.befall("", "key-bbbb")
    assert [row["state"] for row in cli.json("upstream", "check", "openai-b")] == ["rising"]
    unknown = cli("upstream", "drain", "openai-z")
    assert (unknown.status, "openai-z" in unknown.err) == (REFUSED, True)
