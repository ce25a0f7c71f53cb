"""How cost grows: with processes, callers, accounts, open streams, the request log's length and prompts; in batches; and in
Redis with what waits.

Each figure prints lines and leaves them in `.bench/growth.json`; each stands on a system of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from tests.bench import cpu, ours, report
from tests.bench.batch_rate import batch_against_interactive
from tests.bench.crowd import Crowd
from tests.bench.load import Caller, connected
from tests.bench.log_length import log_of_ten_million
from tests.bench.surfaces import SURFACES
from tests.bench.targets import Bench
from tests.bench.turns import Turns
from tests.bench.workloads import WORKLOADS, Outcome, Workload
from tests.bench.workloads import run as run_workload

RESULTS = Path(".bench/growth.json")
STREAMS = (10, 100, 1_000, 5_000)
OPENING = 64
HELD_OPEN_MS = 20_000
"""The mock's pace for streams that only have to stay open: longer than it takes to open them all is not needed."""
SETTLE_DOWN_S = 2.0
Say = Callable[[str], None]
Figure = Callable[[Bench, Say], Awaitable[None]]


async def run(bench: Bench, what: Sequence[str], crowd: Crowd, turns: Turns) -> int:
    """All figures, or those named."""
    said: dict[str, list[str]] = {}
    figures = {**FIGURES, "callers": crowd.rates, "turns": turns.costs, "waits": turns.waits}
    async with bench.mock():
        for name in what or figures:
            print(f"{name}:")
            lines = said.setdefault(name, [])

            def say(line: str, lines: list[str] = lines) -> None:
                lines.append(line)
                print(f"  {line}", flush=True)

            await figures[name](bench.under(name), say)
    _write({"machine": report.machine(), "figures": said})
    return 0


def _write(document: object) -> None:
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(document)))


async def processes(bench: Bench, say: Say) -> None:
    """1, 2, 4 front doors and workers on the one core: CPU per request must not rise. With the callers of one, of whom each
    process then has a part, and with so many for each.
    """
    for count in (1, 2, 4):
        async with ours.running(bench.under(str(count)), doors=count, workers=count) as system:
            for name in ("B", "C"):
                alone = WORKLOADS[name]
                for callers in sorted({alone.callers, alone.callers * count}):
                    outcome = await _measured(bench, system, msgspec.structs.replace(alone, callers=callers))
                    say(f"{count} front doors, {count} workers, {name}, {callers} callers: {_costs(outcome)}")


async def accounts(bench: Bench, say: Say) -> None:
    """The same load from 1, 10 and 1,000 accounts in turn."""
    async with ours.running(bench) as system:
        for count in (1, 10, 1_000):
            outcome = await _measured(bench, system, WORKLOADS["B"], accounts=count)
            say(f"{count:,} accounts, B: {_costs(outcome)}")


async def prompts(bench: Bench, say: Say) -> None:
    """Prompts of 1 KB to 1 MB, 8 callers."""
    async with ours.running(bench) as system:
        for kilobytes in (1, 10, 100, 1_000):
            workload = Workload(name="prompts", callers=8, prompt_bytes=kilobytes * 1_000)
            say(f"prompts of {kilobytes:,} KB: {_costs(await _measured(bench, system, workload))}")


async def streams(bench: Bench, say: Say) -> None:
    """Memory with 10 to 5,000 streams open at once, each waiting for its next chunk."""
    most = STREAMS[-1]
    settings = {"WORKER_SLOTS": str(most), "IN_FLIGHT_MAX": str(2 * most), "QUEUE_DEPTH_MAX": str(2 * most)}
    async with ours.running(bench, settings=settings) as system:
        (key,) = await system.new_keys()
        question = system.target(SURFACES["native"], key).request(f"pace={HELD_OPEN_MS}", stream=True)
        callers: list[Caller] = []
        last: dict[str, float] = {}
        try:
            for count in (1, *STREAMS):
                await _open_until(callers, count, system.port, question)
                await asyncio.sleep(SETTLE_DOWN_S)
                now = {name: cpu.memory_mb_of(child.pid) for name, child in system.children.items()}
                say(f"{count:,} streams open: {_memory(now, last, count)}")
                last = last or now
        finally:
            for caller in callers:
                caller.close()


def _memory(now: dict[str, float], base: dict[str, float], count: int) -> str:
    each = [f"{name} {megabytes:.0f} MB" for name, megabytes in now.items()]
    more = sum(now.values()) - sum(base.values()) if base else 0.0
    return ", ".join(each) + (f", {more * 1000 / count:.0f} KB for each" if base else "")


async def _open_until(callers: list[Caller], count: int, port: int, question: bytes) -> None:
    """Open so many in all, a few at a time; each has its first token then."""
    limit = asyncio.Semaphore(OPENING)

    async def open_one() -> None:
        async with limit:
            caller = await connected(port)
            callers.append(caller)
            await caller.begin(question)

    async with asyncio.TaskGroup() as group:
        for _ in range(count - len(callers)):
            group.create_task(open_one())


async def _measured(bench: Bench, system: ours.System, workload: Workload, accounts: int = 1) -> Outcome:
    keys = await system.new_keys(accounts)
    return await run_workload(workload, [system.target(SURFACES["native"], key) for key in keys], bench.mock_pid)


def _costs(outcome: Outcome) -> str:
    parts: dict[str, float] = {}
    for name, ms in outcome.cpu_ms.items():
        kind = name.rstrip("0123456789")
        parts[kind] = parts.get(kind, 0.0) + ms
    each = ", ".join(f"{kind} {ms:.2f}" for kind, ms in parts.items())
    return f"{outcome.per_s:,.0f}/s, CPU {sum(parts.values()):.2f} ms each ({each})"


FIGURES: dict[str, Figure] = {
    "processes": processes,
    "callers": Crowd().rates,
    "turns": Turns().costs,
    "waits": Turns().waits,
    "accounts": accounts,
    "prompts": prompts,
    "streams": streams,
    "batch": batch_against_interactive,
    "log": log_of_ten_million,
}
