"""Accounts' turns: how long a small caller waits beside large ones, and what it costs Redis for each job that is enqueued,
claimed and finished while others wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import Callable
from pathlib import Path

import msgspec
import redis.asyncio

from deploy.local.stores import embedded_valkey
from shared.queue.claims import Room
from shared.queue.queue import Queue
from shared.settings import Settings
from shared.stores import keys
from shared.stores.redis_client import connect
from shared.stores.scripts import Script, Scripts
from tests.bench import cpu, ours
from tests.bench.load import connected
from tests.bench.mock import stream_seconds
from tests.bench.surfaces import SURFACES
from tests.bench.targets import Bench
from tests.bench.workloads import PACE_MS
from tests.harness.builders import a_job

LUA = Path("shared/stores/lua")
QUEUE = keys.queue("openai", "interactive")
WAITING = ((0, 1), (1_000, 1), (1_000, 11), (9_000, 11), (9_000, 1_000))
"""Jobs that wait, and how many accounts they are of."""
JOBS = 3_000
AT_ONCE = 10
"""Calls that are under way together, and jobs of a claim."""

SLOTS = 20
LARGE = (0, 1, 11)
CALLERS = 20
"""Of each large account, each with a stream of two seconds after the other: a slot is freed every tenth of a second."""
ASKS = 5
UNDER_WAY_S = 6.0
SETTLE_DOWN_S = 15.0
"""What the large callers left behind is given up after ten seconds."""


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

    async def waits(self, bench: Bench, say: Callable[[str], None]) -> None:
        """From a small caller's short question to its answer, one after the other."""
        for name, tree in self._trees().items():
            folder = bench.under("ours" if tree == ours.HERE else "other")
            async with ours.running(folder, settings={"WORKER_SLOTS": str(SLOTS)}, tree=tree) as system:
                for large in LARGE:
                    waits_ms = await _small_beside(system, large)
                    figures = ", ".join(f"{wait_ms:,.0f}" for wait_ms in waits_ms)
                    say(f"{name}: beside {large} accounts with {CALLERS} callers each: {figures} ms")

    def _trees(self) -> dict[str, Path]:
        return ({self.against.name: self.against} if self.against else {}) | {ours.NAME: ours.HERE}

    async def _round(self, client: redis.asyncio.Redis, url: str, waiting: int, accounts: int) -> dict[str, float]:
        return {name: await _microseconds(client, url, tree, waiting, accounts) for name, tree in self._trees().items()}


async def _small_beside(system: ours.System, large: int) -> list[float]:
    """The milliseconds of each question."""
    small, *others = await system.new_keys(1 + large)
    asked = [system.target(SURFACES["native"], key).request(f"pace={PACE_MS}", stream=True) for key in others]
    callers = [await connected(system.port) for _ in range(1 + large * CALLERS)]

    async def keep_asking(number: int) -> None:
        await asyncio.sleep(stream_seconds(PACE_MS) * min(number, SLOTS) / SLOTS)  # or all slots are freed at once
        while True:
            await callers[number].ask(asked[number % large])

    tasks = [asyncio.ensure_future(keep_asking(number)) for number in range(1, len(callers))]
    try:
        await asyncio.sleep(UNDER_WAY_S)
        question = system.target(SURFACES["native"], small).request("pace=0", stream=False)
        answers = [await callers[0].ask(question) for _ in range(ASKS)]
        return [(answer.ended_at - answer.asked_at) * 1_000 for answer in answers]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for caller in callers:
            caller.close()
        await asyncio.sleep(SETTLE_DOWN_S)


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
