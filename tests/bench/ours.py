"""This project with everything on: keys with a rate limit, holds committed in Postgres, exact settlement, queue, journal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from pathlib import Path

import aiohttp
import asyncpg

from deploy.local.child import Child
from deploy.local.listener import free_port, listening
from deploy.local.stores import embedded_postgres, embedded_valkey
from shared.ledger.accounts import create_account
from shared.ledger.api_keys import KeyRules, create_key
from shared.money import usd_to_nano
from shared.stores.migrations import migrate
from tests.bench import cpu
from tests.bench.surfaces import SURFACES, Surface
from tests.bench.targets import Bench, Target, until_answering

CREDIT_USD = Decimal(1_000_000)
RPM = 10_000_000
SLOTS = 200
MODEL = "openai-gpt-4o-mini"
NAME = "this project"
HERE = Path(__file__).parents[2]
PYTHON = (sys.executable, "-P")
"""Without the current folder on the path, so that `PYTHONPATH` says which checkout runs."""


class System:
    """Made by `running`: its stores, its processes, and keys to ask it with."""

    def __init__(self, bench: Bench, database_url: str, redis_url: str, port: int) -> None:
        self.bench = bench
        self.database_url = database_url
        self.redis_url = redis_url
        self.port = port
        self.children: dict[str, Child] = {}
        self.stores: dict[str, list[int]] = {}

    async def new_keys(self, accounts: int = 1) -> list[str]:
        """One key for each of so many new accounts with credit."""
        pool = await asyncpg.create_pool(self.database_url, min_size=1, max_size=1)
        try:
            return [await self._new_key(pool, number) for number in range(accounts)]
        finally:
            await pool.close()

    async def _new_key(self, pool: asyncpg.Pool, number: int) -> str:
        account = await create_account(pool, f"bench {number}", usd_to_nano(CREDIT_USD))
        return (await create_key(pool, account.id, KeyRules(name="bench", rpm=RPM))).key

    def target(self, surface: Surface, key: str, name: str = NAME) -> Target:
        """This system, asked with one key."""
        return Target(
            name=name,
            surface=surface,
            port=self.port,
            model=MODEL,
            headers={"Authorization": f"Bearer {key}"},
            processes={name: [child.pid] for name, child in self.children.items()} | self.stores,
            note=f"everything on; {surface.path}",
        )

    async def speaks(self, surface: Surface) -> bool:
        """Whether this release has that API."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{self.port}{surface.path}", json={}) as answer,
        ):
            return answer.status == 401


@contextlib.asynccontextmanager
async def running(
    bench: Bench,
    *,
    doors: int = 1,
    workers: int = 1,
    settings: Mapping[str, str] | None = None,
    tree: Path | None = None,
) -> AsyncIterator[System]:
    """So many front doors on one socket and so many workers, on stores of their own; `tree` is another checkout."""
    folder = bench.folder
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(listening("127.0.0.1", free_port()))
        with cpu.starting_on(bench.system_core):
            database_url = await stack.enter_async_context(embedded_postgres(folder))
            redis_url = await stack.enter_async_context(embedded_valkey(folder))
        await migrate(database_url)
        system = System(bench, database_url, redis_url, listener.getsockname()[1])
        system.stores = {name: [_pid_in(folder / name / file)] for name, file in PID_FILES.items()}
        environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "WORKER_SLOTS": str(SLOTS)}
        environment |= {"PYTHONPATH": str(tree or HERE), **(settings or {})}
        vendor = {"OPENAI_API_KEY": "bench", "OPENAI_BASE_URL": f"{bench.mock_url}/v1"}
        for number in range(workers):
            name = f"worker{number + 1}" if workers > 1 else "worker"
            command = (*PYTHON, "-m", "workers")
            system.children[name] = await stack.enter_async_context(bench.child(name, command, environment | vendor))
        for number in range(doors):
            name = f"web{number + 1}" if doors > 1 else "web"
            system.children[name] = await stack.enter_async_context(_door(bench, name, environment, listener.fileno()))
        await _until_ready(system)
        yield system


PID_FILES = {"postgres": "postmaster.pid", "valkey": "valkey.pid"}


def _pid_in(path: Path) -> int:
    return int(path.read_text(encoding="ascii").split("\n", 1)[0])


def _door(
    bench: Bench, name: str, environment: Mapping[str, str], listener: int
) -> contextlib.AbstractAsyncContextManager[Child]:
    command = (*PYTHON, "-m", "api")
    return bench.child(name, command, {**environment, "LISTEN_FD": str(listener)}, pass_fds=(listener,))


async def _until_ready(system: System) -> None:
    (key,) = await system.new_keys()
    last = list(system.children.values())[-1]
    await until_answering(system.target(SURFACES["native"], key), last)
