"""`rebootml queue`, `worker` and the rest at a service that runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from shared.queue.heartbeat import Heartbeat, living_workers
from tests.harness.caller import MODEL, Caller, told
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true
from tests.integration.deploy.test_cli import DONE, REFUSED, Cli

LEAVES_AFTER_S = 2.0


@pytest.fixture
def cli(cluster: Cluster, tmp_path: Path) -> Cli:
    return Cli(tmp_path, DATABASE_URL=cluster.postgres.url, REDIS_URL=cluster.valkey.url)


async def _available(caller: Caller) -> bool:
    models = (await caller.request("GET", "/api/models")).json["result"]
    return bool(next(one["available"] for one in models if one["name"] == MODEL))


async def test_a_paused_providers_callers_are_told_when_to_come_back_and_are_served_when_it_is_resumed(
    cli: Cli, cluster: Cluster, caller: Caller
) -> None:
    assert cli.json("queue", "pause", "openai") == {"provider": "openai", "paused": True}
    try:
        assert {worker.paused for worker in await _workers(cluster)} == {("openai",)}
        await eventually_true(lambda: _is(_available(caller), expected=False), "the model is not available")
        refused = await eventually_true(lambda: _refused(caller), "a request is refused")
        assert (refused["code"], "paused" in refused["message"]) == ("overloaded", True)
        rows = cli.json("queue", "show")["queues"]
        assert {row["provider"] for row in rows if row["paused"]} == {"openai"}
    finally:
        assert cli.json("queue", "resume", "openai") == {"provider": "openai", "paused": False}
    assert {worker.paused for worker in await _workers(cluster)} == {()}
    await eventually_true(lambda: _is_served(caller), "requests are served again")
    await eventually_true(lambda: _available(caller), "the model is available again")


async def _workers(cluster: Cluster) -> list[Heartbeat]:
    async with redis.asyncio.Redis.from_url(cluster.valkey.url) as client:
        return await living_workers(client)


async def _is_served(caller: Caller) -> bool:
    return (await caller.chat(told(tokens=3))).status == 200


async def _is(found: object, *, expected: bool) -> bool:
    return bool(await found) is expected  # type: ignore[misc]


async def _refused(caller: Caller) -> dict[str, str] | None:
    """The error, or None where a request is admitted: before the pause, or because `WORKER_MISSING_S` is not over. Then it
    waits, and its caller leaves.
    """
    try:
        async with asyncio.timeout(LEAVES_AFTER_S):
            reply = await caller.chat(told(tokens=1))
    except TimeoutError:
        return None
    if reply.status == 200:
        return None
    assert int(reply.headers["Retry-After"]) >= 1
    return reply.error


async def test_workers_are_listed_and_drained(cli: Cli, cluster: Cluster, caller: Caller) -> None:
    cluster.start("worker-9")
    try:
        await cluster.until_log("worker-9", "worker started")
        worker_id = cluster.worker_id("worker-9")

        async def row() -> dict[str, Any] | None:
            return next((one for one in cli.json("worker", "list") if one["id"] == worker_id), None)

        found = await eventually_true(row, "it is listed")
        assert set(found) == {"id", "host", "slots", "running", "queues", "draining", "version"}
        assert (found["draining"], found["slots"]) == (False, 100)
        assert "openai:interactive" in found["queues"]
        assert cli.json("worker", "drain", worker_id)["draining"] is True
        assert [worker.draining for worker in await _workers(cluster) if worker.id == worker_id] == [True]
        assert {reply.status for reply in [await caller.chat(told(tokens=2)) for _ in range(5)]} == {200}
        shown = cli("worker", "list")
        assert shown.status == DONE
        assert worker_id in shown.out
    finally:
        await cluster.drain("worker-9")


async def test_a_worker_that_is_not_there_cannot_be_drained_and_redis_that_is_away_is_named(
    cli: Cli, cluster: Cluster, tmp_path: Path
) -> None:
    refused = cli("worker", "drain", "wrk_nobody")
    assert (refused.status, refused.err.count("\n")) == (REFUSED, 1)
    alone = Cli(tmp_path, DATABASE_URL=cluster.postgres.url, REDIS_URL="redis://127.0.0.1:1/0")
    for words in (("worker", "list"), ("queue", "show"), ("worker", "drain", "wrk_x")):
        refused = alone(*words)
        assert (refused.status, refused.err.count("\n")) == (REFUSED, 1)
        assert "REDIS_URL" in refused.err


def test_people_see_queues_and_workers_as_tables(cli: Cli) -> None:
    shown = cli("queue", "show").out
    assert "QUEUES\nNAME" in shown
    assert "WORKERS\nID" in shown
    assert "bedrock:batch" in shown
