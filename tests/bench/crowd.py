"""More callers of one vendor than a worker has slots for it: the rate must not fall where its share is full.

Settings are as shipped, and the worker could call other vendors, too: a vendor's share of it is what `make run` gives.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.bench import ours
from tests.bench.surfaces import SURFACES
from tests.bench.targets import Bench, Target
from tests.bench.workloads import WORKLOADS, Outcome, run

AS_SHIPPED = {"WORKER_SLOTS": "", "DEEPSEEK_API_KEY": "bench", "GEMINI_API_KEY": "bench"}
"""An empty variable is one that is not set. Nobody asks for the other vendors' models."""
PAUSE_S = 0.3


class Crowd(msgspec.Struct, frozen=True, kw_only=True):
    """So many callers in turn, for each number of workers; the first number of callers is what the others are compared with.
    `against` is another checkout, measured beside this one.
    """

    callers: tuple[int, ...] = (24, 60, 64, 100, 300)
    workers: tuple[int, ...] = (1, 2, 4)
    repeats: int = 3
    against: Path | None = None

    async def rates(self, bench: Bench, say: Callable[[str], None]) -> None:
        """Instant JSON answers per second, and how they compare with those of the same round's first number of callers."""
        for workers in self.workers:
            async with contextlib.AsyncExitStack() as stack:
                targets = [await _started(bench, stack, workers, tree) for tree in self._trees()]
                rounds = [await self._round(bench, targets) for _ in range(self.repeats)]
            for callers, target in itertools.product(self.callers, targets):
                outcomes = [one[target.name, callers] for one in rounds]
                ratios = [one[target.name, callers].per_s / one[target.name, self.callers[0]].per_s for one in rounds]
                say(f"{target.name}, workers {workers}, callers {callers}: {_figures(outcomes, ratios)}")

    def _trees(self) -> list[Path | None]:
        return [self.against, None] if self.against else [None]

    async def _round(self, bench: Bench, targets: list[Target]) -> dict[tuple[str, int], Outcome]:
        """Everything once, so that all meet the same weather."""
        outcomes = {}
        for callers, target in itertools.product(self.callers, targets):
            workload = msgspec.structs.replace(WORKLOADS["B"], callers=callers)
            outcomes[target.name, callers] = await run(workload, [target], bench.mock_pid)
            await asyncio.sleep(PAUSE_S)
        return outcomes


def _figures(outcomes: list[Outcome], ratios: list[float]) -> str:
    """Medians. A core that is not busy says that callers waited for something else than the CPU, or that others had it."""
    per_s = statistics.median(outcome.per_s for outcome in outcomes)
    cpu_ms = statistics.median(sum(outcome.cpu_ms.values()) for outcome in outcomes)
    busy = per_s * cpu_ms / 1000
    return f"{per_s:,.0f}/s, × {statistics.median(ratios):.2f}, CPU {cpu_ms:.2f} ms each, core busy {busy:.0%}"


async def _started(bench: Bench, stack: contextlib.AsyncExitStack, workers: int, tree: Path | None) -> Target:
    folder = bench.under(f"{'other' if tree else 'ours'}{workers}")
    system = await stack.enter_async_context(ours.running(folder, workers=workers, settings=AS_SHIPPED, tree=tree))
    (key,) = await system.new_keys()
    return system.target(SURFACES["native"], key, tree.name if tree else ours.NAME)


def numbers(text: str) -> tuple[int, ...]:
    """A comma list, as an argument of the command."""
    return tuple(int(number) for number in text.split(","))
