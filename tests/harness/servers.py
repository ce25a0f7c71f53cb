"""The stores and the simulator under a cluster: they can be stopped, killed and started again on the same data."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from urllib.parse import quote, unquote

import aiohttp
import asyncpg
import msgspec
from redis.asyncio import Redis

from deploy.local.child import Child, Program
from deploy.local.stores import STOP_S, Store, start
from deploy.simulator.calls import CALLS_MAX, BillLine, Call
from tests.harness.forking import started
from tests.harness.support import eventually

NICE = 19
UNSYNCED = {"fsync": "off", "full_page_writes": "off"}
"""Postgres leaves writing to the disk to the kernel: a killed server loses nothing by that, only a killed machine does."""


class StoreServer:
    """Postgres or Valkey: stopped tidily or killed, always started again at the same place on the same data."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return self.store.url

    async def start(self) -> None:
        self._child = await start(self.store)

    async def stop(self) -> None:
        if self._child:
            await self._child.stop(STOP_S)

    async def kill(self) -> None:
        """Kill -9."""
        assert self._child is not None
        self._child.signal(SIGKILL)
        await self._child.ended()

    def pause(self) -> None:
        assert self._child is not None
        self._child.signal(SIGSTOP)

    def resume(self) -> None:
        assert self._child is not None
        self._child.signal(SIGCONT)

    @property
    def died(self) -> bool:
        return self._child is not None and self._child.exit_code is not None


class Valkey(StoreServer):
    """What the faults do to it beside killing."""

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return Path(unquote(self.url.removeprefix("unix://").partition("?")[0]))

    async def command(self, *words: str) -> object:
        async with Redis.from_url(self.url) as client:
            return await client.execute_command(*words)

    async def kill_subscribers(self) -> int:
        """Cut every subscription; gives how many there were."""
        return int(str(await self.command("CLIENT", "KILL", "TYPE", "pubsub")))


class Postgres(StoreServer):
    """What the checks ask it: one connection per question, because it is restarted all the time."""

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()


class Simulator:
    """The vendor: a process of its own, and what its call log says."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: Child | None = None
        self.port = 0

    async def start(self) -> None:
        port_file = self._folder / "simulator.port"
        port_file.unlink(missing_ok=True)
        program = Program(
            name="simulator",
            command=(sys.executable, "-m", "deploy.simulator", "--port", str(self.port), "--port-file", str(port_file)),
            environment={"PATH": os.defpath, "SIM_CACHE": "0"},  # a call costs the same whatever came before
            log=self._folder / "logs" / "simulator.log",
            stop_signal=SIGTERM,
        )
        self._child = started(program)
        await eventually(port_file.exists, "the simulator listens")
        self.port = int(port_file.read_text(encoding="ascii"))

    async def stop(self) -> None:
        if self._child:
            await self._child.stop(STOP_S)

    def give_way(self) -> None:
        """Leave the processor to whoever else wants it, because a vendor has machines of its own."""
        assert self._child
        os.setpriority(os.PRIO_PROCESS, self._child.pid, NICE)

    async def calls(self, prefix: str = "") -> list[Call]:
        """The calls whose key begins with `prefix`, oldest first."""
        answer = await self._ask("GET", f"/_calls?limit={CALLS_MAX}&prefix={quote(prefix)}")
        return msgspec.json.decode(answer, type=dict[str, list[Call]])["calls"]

    async def answered(self) -> dict[str, int]:
        """How many calls were answered to their end, by the end of the key."""
        seen = msgspec.json.decode(await self._ask("GET", "/_upstreams"))["seen"]
        return {one["account"]: one["endings"].get("completed", 0) for one in seen}

    async def bill(self, prefix: str = "") -> list[BillLine]:
        """What the vendor bills for these calls."""
        return msgspec.json.decode(
            await self._ask("GET", f"/_calls/bill?prefix={prefix}"), type=dict[str, list[BillLine]]
        )["bill"]

    async def call_begins(self, key: str, count: int = 1, timeout_s: float = 30) -> None:
        """Wait until the vendor has been called with this key so many times."""
        await self._ask("GET", f"/_calls/wait?key={key}&count={count}&timeout_s={timeout_s}")

    async def hurry(self) -> None:
        """Take a millisecond for each token of those who do not say otherwise."""
        await self._ask("POST", "/_defaults", {"first_ms": 1, "pace_ms": 1})

    async def befall(self, **condition: object) -> None:
        """Give the calls of a vendor, a key or a region a fault (see `deploy/simulator/upstreams.py`); no fault ends it."""
        await self._ask("POST", "/_upstreams", condition)

    async def plan(self, plan: object) -> None:
        """Make known what the model does in each turn (see `deploy/simulator/plans.py`)."""
        await self._ask("POST", "/_plans", plan)

    async def release(self, key: str) -> None:
        """Let the calls of a key pass their gate."""
        await self._ask("POST", f"/_release?key={key}")

    async def _ask(self, method: str, path: str, document: object = None) -> bytes:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://127.0.0.1:{self.port}{path}", json=document) as response,
        ):
            response.raise_for_status()
            return await response.read()
