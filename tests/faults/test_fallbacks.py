"""Requests whose first model cannot be had, while whoever has them dies: the next one answers each, charged once."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import asyncpg
import pytest

from deploy.simulator.app import running_simulator
from shared.catalogue.models import load_catalogue
from shared.ids import new_id
from shared.ledger.accounts import create_account
from shared.ledger.api_keys import KeyRules, create_key
from shared.ledger.check import check_ledger
from shared.money import NanoUsd, Usage, usd_to_nano
from shared.stores import keys
from tests.faults.conftest import HURRIED, Scale
from tests.harness.caller import told
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.figures import Figures
from tests.harness.support import eventually_true, free_port

PROOF = "20 fallbacks"
DEAD, SERVES = "nowhere", "deepseek-chat"
CREDIT_USD = Decimal(100)
TOKENS = 12
OVERLAY = """
[[model]]
name = "nowhere"
company = "Acme"
provider = "openai"
api = "openai-chat"
upstream = "gpt-4o-2024-08-06"
base_url = "http://127.0.0.1:{port}/v1"
key_variable = "OPENAI_NOWHERE_KEY"
input = 1
output = 2
context_window = 8000
max_output_tokens = 1000
limit_parameter = "max_tokens"
lifecycle = "active"
sources = "the operator"
"""
"""Behind which is nobody."""
ALL = {"WORKER_QUEUES": "openai:interactive,deepseek:interactive"}
ENVIRONMENT = HURRIED | ALL | {"LEASE_S": "2", "VENDOR_RETRIES_MAX": "1", "RETRY_DELAY_S": "0.05"}
AGAIN_S, TRIES = 0.2, 100


class World(NamedTuple):
    """A cluster, its books, and an account with a key."""

    cluster: Cluster
    books: asyncpg.Pool
    session: aiohttp.ClientSession
    account: str
    key: str

    async def ask(self, text: str, *, stream: bool) -> dict[str, Any]:
        """Asked with the same Idempotency-Key until there is an answer, at any front door."""
        options = {"models": [SERVES], "stream": stream, "stats": True, "max_tokens": 50}
        body = {"model": DEAD, "messages": [{"role": "user", "content": text}], "options": options}
        headers = {"Authorization": f"Bearer {self.key}", "Idempotency-Key": new_id("once")}
        for _ in range(TRIES):
            try:
                url = f"{random.choice(self.cluster.urls)}/api/endpoint"
                async with self.session.post(url, json=body, headers=headers) as response:
                    answer = await response.read()
                    if response.status == 200:
                        return _answer(answer, response.headers, stream=stream)
            except (aiohttp.ClientError, ValueError):
                pass
            await asyncio.sleep(AGAIN_S)
        raise AssertionError("a request was never answered")

    async def check(self, answers: list[dict[str, Any]]) -> None:
        """Every answer was charged once, at the price of the model that gave it, and nothing else was."""
        query = "SELECT balance_nano FROM accounts WHERE id = $1 AND held_nano = 0 AND in_flight = 0"
        balance = await eventually_true(lambda: self.books.fetchval(query, self.account), "nothing is held", 60)
        rows = await self.books.fetch("SELECT * FROM requests WHERE account_id = $1 AND charged_nano > 0", self.account)
        assert {row["model"] for row in rows} == {SERVES}
        assert len(rows) == len(answers)
        price = load_catalogue().find(SERVES).price
        charges = [price.cost(Usage(one["tokens_input"], one["tokens_output"])) for one in answers]
        assert sorted(row["charged_nano"] for row in rows) == sorted(charges)
        assert usd_to_nano(CREDIT_USD) - balance == sum(charges)
        for row in rows:
            tried = json.loads(row["tried"])
            assert [(one["model"], one["code"]) for one in tried] == [(DEAD, "provider_error"), (SERVES, "succeeded")]
        assert (await check_ledger(self.books)).violations == []


def _answer(body: bytes, headers: Any, *, stream: bool) -> dict[str, Any]:
    """With its model and its tokens. Raises `ValueError` for a stream that has failed."""
    assert headers["x-model-served"] == SERVES
    if not stream:
        return json.loads(body)["result"]  # type: ignore[no-any-return]
    text, _, record = body.partition(b"\x1e")
    return {"response": text.decode(), **_without_error(json.loads(record))}


def _without_error(record: dict[str, Any]) -> dict[str, Any]:
    if "error" in record:
        raise ValueError(record["error"]["code"])
    return record


@pytest.fixture(scope="module")
async def falling(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Two front doors and two workers; DeepSeek is another simulator than OpenAI."""
    folder: Path = tmp_path_factory.mktemp("falling")
    overlay = folder / "overlay.toml"
    overlay.write_text(OVERLAY.format(port=free_port()))
    async with running_simulator() as deepseek:
        vendor = {
            "OPENAI_NOWHERE_KEY": "none",
            "DEEPSEEK_API_KEY": "simulated",
            "DEEPSEEK_BASE_URL": deepseek.deepseek,
            "CATALOGUE": str(overlay),
        }
        async with running_cluster(folder / "cluster", ENVIRONMENT | vendor, direct=True) as cluster:
            yield cluster


@pytest.fixture
async def world(falling: Cluster) -> AsyncIterator[World]:
    async with (
        asyncpg.create_pool(falling.postgres.url, min_size=1, max_size=4) as books,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session,
    ):
        account = (await create_account(books, "someone", NanoUsd(usd_to_nano(CREDIT_USD)))).id
        key = (await create_key(books, account, KeyRules())).key
        yield World(falling, books, session, account, key)


async def nothing_more(_: Cluster) -> None:
    pass


async def redis_is_emptied(cluster: Cluster) -> None:
    await cluster.valkey.command("FLUSHALL")


async def a_front_door_is_killed(cluster: Cluster) -> None:
    await cluster.kill("web-1")
    cluster.start("web-1")


@pytest.mark.parametrize(
    "more", [nothing_more, redis_is_emptied, a_front_door_is_killed], ids=lambda more: more.__name__
)
async def test_a_request_between_two_models_is_answered_and_charged_once_when_everybody_dies_and(
    world: World, scale: Scale, more: Callable[[Cluster], Awaitable[None]]
) -> None:
    cluster = world.cluster
    for name in list(cluster.workers):
        await cluster.kill(name)
    cluster.start("worker-1", WORKER_QUEUES="openai:interactive")
    await cluster.until_log("worker-1", "worker started")
    asking = [asyncio.ensure_future(world.ask(told(tokens=TOKENS), stream=n % 2 == 0)) for n in range(scale.callers)]
    queue = keys.queue("deepseek", "interactive")

    async def all_moved() -> bool:
        return int(str(await cluster.valkey.command("ZCARD", queue))) == scale.callers

    await eventually_true(all_moved, "all wait for their second model")
    await cluster.kill("worker-1")
    await more(cluster)
    for name in ("worker-1", "worker-2"):
        cluster.start(name)
    answers = await asyncio.gather(*asking)
    await cluster.ready()
    assert {answer["model"] for answer in answers} == {SERVES}
    await world.check(answers)


async def test_requests_that_fall_back_while_workers_and_front_doors_are_killed_are_answered_and_charged_once(
    world: World, scale: Scale, seed: str, figures: Figures
) -> None:
    cluster, lot, answers = world.cluster, random.Random(f"{seed} fallbacks"), []
    stop = asyncio.Event()

    async def keep_asking() -> None:
        while not stop.is_set():
            answers.append(await world.ask(told(tokens=TOKENS, pace_ms=5), stream=False))

    async with asyncio.TaskGroup() as group:
        for _ in range(scale.callers):
            group.create_task(keep_asking())
        for kills in range(scale.worker_kills):
            await asyncio.sleep(lot.uniform(0.2, 1.0))
            victim = lot.choice(cluster.workers if kills % 3 else cluster.doors)
            await cluster.kill(victim)
            cluster.start(victim)
            await cluster.ready()
        stop.set()
    await world.check(answers)
    figures.add(PROOF, "kill -9 / requests that fell back", f"{scale.worker_kills} / {len(answers)}")
