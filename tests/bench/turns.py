"""What accounts' turns cost: Redis's CPU for each job that is enqueued, claimed and finished while others wait."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import Callable
from pathlib import Path

import msgspec
import redis.asyncio

from deploy.local.stores import embedded_valkey
from shared.queue.queue import Queue, Room
from shared.settings import Settings
from shared.stores import keys
from shared.stores.redis_client import connect
from shared.stores.scripts import Script, Scripts
from tests.bench import cpu, ours
from tests.bench.targets import Bench
from tests.harness.builders import a_job

LUA = Path("shared/stores/lua")
QUEUE = keys.queue("openai", "interactive")
WAITING = ((0, 1), (1_000, 1), (1_000, 11), (9_000, 11), (9_000, 1_000))
"""Jobs that wait, and how many accounts they are of."""
JOBS = 3_000
AT_ONCE = 10
"""Calls that are under way together, and jobs of a claim."""


class Turns(msgspec.Struct, frozen=True, kw_only=True):
    """`against` is another checkout, whose scripts take part in every round."""

    repeats: int = 3
    against: Path | None = None

    async def costs(self, bench: Bench, say: Callable[[str], None]) -> None:
        """Medians, for queues of several lengths."""
        async with contextlib.AsyncExitStack() as stack:
            with cpu.starting_on(bench.system_core):
                url = await stack.enter_async_context(embedded_valkey(bench.folder))
            client = connect(Settings(database_url="", redis_url=url), redis.asyncio.Redis)
            stack.push_async_callback(client.aclose)
            for waiting, accounts in WAITING:
                rounds = [await self._round(client, url, waiting, accounts) for _ in range(self.repeats)]
                each = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
                first = next(iter(each))
                ratio = statistics.median(one[ours.NAME] / one[first] for one in rounds)
                figures = ", ".join(f"{name} {microseconds:.0f}" for name, microseconds in each.items())
                say(f"{waiting:,} wait, of {accounts:,} accounts: µs of Redis for a job: {figures}; × {ratio:.2f}")

    async def _round(self, client: redis.asyncio.Redis, url: str, waiting: int, accounts: int) -> dict[str, float]:
        trees = {self.against.name: self.against} if self.against else {}
        return {
            name: await _microseconds(client, url, tree, waiting, accounts)
            for name, tree in (*trees.items(), (ours.NAME, ours.HERE))
        }


async def _microseconds(client: redis.asyncio.Redis, url: str, tree: Path, waiting: int, accounts: int) -> float:
    """Of CPU for one job."""
    await client.flushall()
    with contextlib.closing(Scripts(client, Settings(database_url="", redis_url=url))) as scripts:
        if tree != ours.HERE:
            scripts._scripts = {path.stem: Script(path.read_bytes()) for path in (tree / LUA).glob("*.lua")}
        queue = Queue(scripts, lease_s=600, keep_run_s=60, depth_max=10 * (JOBS + waiting))
        for number in range(0, waiting, AT_ONCE):
            await _enqueue(queue, number, accounts)
        await _serve(queue)  # the first claim looks at all of them
        before = await _cpu_s(client)
        for number in range(0, JOBS, AT_ONCE):
            await _enqueue(queue, number, accounts)
            await _serve(queue)
        return (await _cpu_s(client) - before) * 1e6 / JOBS


async def _enqueue(queue: Queue, first: int, accounts: int) -> None:
    jobs = [a_job(account_id=f"acc_{number % accounts}") for number in range(first, first + AT_ONCE)]
    await asyncio.gather(*(queue.enqueue(job, QUEUE, channel="relay:web", key_id="key", rpm=None) for job in jobs))


async def _serve(queue: Queue) -> None:
    room = Room(QUEUE, AT_ONCE, AT_ONCE)
    await asyncio.gather(*[queue.finish(claim) for claim in await queue.claim("worker", [room], AT_ONCE)])


async def _cpu_s(client: redis.asyncio.Redis) -> float:
    used = await client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])
