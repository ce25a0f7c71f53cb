"""A long run of mixed load on one service: memory, descriptors, connections and keys stay flat. `make soak MINUTES=30`.

Answers, streams, streams that are left, requests that are cancelled, batches, keys that are made, rotated and revoked,
refusals and scrapes go on side by side, each at a pace of its own, so that the load of both halves is the same. What is kept
for a while (journals, settle records) is kept for a twelfth of the run, so that long before its half as much is dropped as is
added.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from shared.ledger.accounts import create_account
from shared.ledger.api_keys import SCOPES, KeyRules, create_key
from shared.ledger.check import check_ledger
from shared.money import NanoUsd
from shared.runtime.tasks import background_tasks
from tests.e2e.test_batches import line, results, send, until
from tests.harness.caller import Caller, Reply, told
from tests.harness.cluster import Cluster, running_cluster
from tests.harness.figures import Figures
from tests.harness.flat import Bound, halves
from tests.harness.memory import NOW, megabytes
from tests.harness.support import eventually_true, free_port

PROOF = "soak"
MINUTES = float(os.environ.get("MINUTES", "30"))
SAMPLE_S = min(10.0, MINUTES * 60 / 40)
KEPT_S = min(600.0, MINUTES * 60 / 12)
CREDIT = NanoUsd(10_000_000_000_000)
ENVIRONMENT = {
    "JOURNAL_TTL_S": f"{KEPT_S:g}",
    "SETTLED_KEPT_S": f"{min(60.0, KEPT_S):g}",
    "KEYS_PER_ACCOUNT_MAX": "1000000",
    "SWEEP_EVERY_S": "5",
    "ABANDONED_AFTER_S": "1",
}


BOUNDS = {
    "Redis MB": Bound(10, 4),
    "MB": Bound(3, 3),
    "descriptors": Bound(0, 12),
    "connections": Bound(0, 2),
    "keys": Bound(10, 100),
}
"""By what is sampled, which is the end of a series' name."""


class Busy(Exception):
    """A request was told 503, as a machine that is busy with other things may make happen."""


BUSY = "told to come again"
BUSY_PERCENT_MAX = 1.0


def answered(reply: Reply, *statuses: int) -> Reply:
    """The reply, whose status is one of these. Raises `Busy` for 503."""
    if reply.status == 503:
        raise Busy
    assert reply.status in statuses, reply.body
    return reply


class Load:
    """Callers in endless loops; each counts what it did."""

    def __init__(self, cluster: Cluster, ports: dict[str, int], caller: Caller) -> None:
        self.cluster = cluster
        self.ports = ports
        self.caller = caller
        self.counts: dict[str, int] = {}
        self._numbers = itertools.count()

    def loops(self) -> list[tuple[str, int, float, Callable[[], Awaitable[None]]]]:
        """What is done, by how many at once, every so many seconds each."""
        return [
            ("answers", 4, 0.2, self._answer),
            ("streams", 6, 0.3, self._stream),
            ("streams left", 2, 0.5, self._leave),
            ("cancelled", 2, 0.5, self._cancel),
            ("refusals", 1, 0.5, self._refused),
            ("vendor failures", 1, 1.0, self._fails),
            ("batches", 1, 2.0, self._batch),
            ("keys", 1, 1.0, self._keys),
            ("scrapes", 1, 5.0, self._scrape),
        ]

    async def run(self, title: str, every_s: float, do: Callable[[], Awaitable[None]]) -> None:
        while True:
            began = time.monotonic()
            try:
                await do()
                done = title
            except Busy:
                done = BUSY
            self.counts[done] = self.counts.get(done, 0) + 1
            await asyncio.sleep(max(0.0, every_s - (time.monotonic() - began)))

    async def _answer(self) -> None:
        answered(await self.caller.chat(told(tokens=20)), 200)

    async def _stream(self) -> None:
        reply = answered(await self.caller.chat(told(tokens=40, pace_ms=20), stream=True), 200)
        assert reply.complete, reply.body

    async def _leave(self) -> None:
        body = {"model": "openai-gpt-4o-mini", "options": {"stream": True}}
        messages = [{"role": "user", "content": told(tokens=200, pace_ms=50)}]
        caller = self.caller
        async with caller.session.post(
            caller.url("/api/endpoint"), json=body | {"messages": messages}, headers=caller.authorization
        ) as response:
            if response.status == 503:
                raise Busy
            assert response.status == 200
            await response.content.readany()

    async def _cancel(self) -> None:
        reply = answered(await self.caller.chat(told(tokens=400, pace_ms=50), headers={"Prefer": "respond-async"}), 202)
        answered(await self.caller.request("DELETE", reply.headers["Location"]), 200, 202, 204, 409)

    async def _refused(self) -> None:
        assert (await self.caller.chat("x", model="nobody-knows-it")).status == 404

    async def _fails(self) -> None:
        answered(await self.caller.chat(told(status=400)), 502)

    async def _batch(self) -> None:
        number = next(self._numbers)
        lines = [line(f"{number}-{one}", told(tokens=5)) for one in range(100)]
        batch = answered(await send(self.caller, lines), 201).json["result"]
        ended = await until(self.caller, batch["id"])
        assert ended["state"] == "completed", ended
        assert len(await results(self.caller, batch["id"])) == 100
        assert (await self.caller.request("DELETE", f"/api/batches/{batch['id']}")).status < 300

    async def _keys(self) -> None:
        made = await self._changed("POST", "/api/keys", {"name": "soak"})
        used = Caller(self.caller.session, self.cluster, self.caller.account_id, made["key"])
        answered(await used.chat(told(tokens=2)), 200)
        rotated = await self._changed("POST", f"/api/keys/{made['key_id']}/rotate", {"grace_s": 0})
        for key_id in {made["key_id"], rotated["key_id"]}:
            assert (await self.caller.request("DELETE", f"/api/keys/{key_id}")).status < 300

    async def _changed(self, method: str, path: str, body: dict[str, Any]) -> Any:
        return answered(await self.caller.request(method, path, json=body), 200, 201).json["result"]

    async def _scrape(self) -> None:
        for name, port in self.ports.items():
            for path in ("/metrics", "/scale") if name.startswith("web") else ("/metrics",):
                async with self.caller.session.get(f"http://127.0.0.1:{port}{path}") as response:
                    assert response.status == 200
                    await response.read()


async def _sample(cluster: Cluster, pool: asyncpg.Pool) -> dict[str, float]:
    """All series now, by their names."""
    found: dict[str, float] = {}
    for name in (*cluster.doors, *cluster.workers):
        pid = cluster.pid(name)
        found[f"{name} MB"] = megabytes(pid, NOW)
        found[f"{name} descriptors"] = _descriptors(pid)
    found["Postgres connections"] = await pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    )
    found["Redis keys"] = int(str(await cluster.valkey.command("DBSIZE")))
    memory: Any = await cluster.valkey.command("INFO", "memory")
    clients: Any = await cluster.valkey.command("INFO", "clients")
    found["Redis MB"] = memory["used_memory"] / 1e6
    found["Redis connections"] = clients["connected_clients"]
    return found


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@asynccontextmanager
async def _loaded(folder: Path) -> AsyncIterator[tuple[Load, asyncpg.Pool]]:
    """Two front doors and two workers."""
    ports = {name: free_port() for name in ("web-1", "web-2", "worker-1", "worker-2")}
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(running_cluster(folder, ENVIRONMENT, doors=0, workers=0, direct=True))
        for name, port in ports.items():
            cluster.start(name, METRICS_PORT=str(port))
        await cluster.ready()
        pool = await stack.enter_async_context(asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=1))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        account = await create_account(pool, "someone", CREDIT)
        key = await create_key(pool, account.id, KeyRules(scopes=SCOPES))
        yield Load(cluster, ports, Caller(session, cluster, account.id, key.key)), pool


@pytest.mark.timeout(MINUTES * 60 + 300)
async def test_what_a_service_takes_stays_flat_under_mixed_load(tmp_path: Path, figures: Figures) -> None:
    samples: list[dict[str, float]] = []
    async with _loaded(tmp_path / "soak") as (load, pool):
        async with background_tasks() as group:
            for title, count, every_s, do in load.loops():
                for _ in range(count):
                    group.create_task(load.run(title, every_s, do))
            began = time.monotonic()
            while time.monotonic() - began < MINUTES * 60:
                await asyncio.sleep(SAMPLE_S)
                load.cluster.check_nobody_died()
                samples.append(await _sample(load.cluster, pool))
        await _until_settled(pool)
        assert (await check_ledger(pool)).violations == []
    for title, count in load.counts.items():
        figures.add(PROOF, f"{MINUTES:g} minutes: {title}", count)
    assert load.counts.get(BUSY, 0) <= BUSY_PERCENT_MAX / 100 * sum(load.counts.values())
    compared = halves(samples, BOUNDS)
    for one in compared:
        figures.add(PROOF, f"{one.series}: most in the first half -> in the second (bound)", str(one))
    assert [f"{one.series}: {one}" for one in compared if one.has_grown] == []


async def _until_settled(pool: asyncpg.Pool) -> None:
    async def ask() -> bool:
        return bool(await pool.fetchval("SELECT bool_and(held_nano = 0) FROM accounts"))

    await eventually_true(ask, "nothing is held any more", 90)
