"""How load is shared among keys that allow more or less, and what a request costs on a good day."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy.simulator.script import Script
from tests.faults.conftest import Scale
from tests.faults.reading import read
from tests.faults.test_upstreams import ENVIRONMENT, PROOF
from tests.faults.trial import Trial, trial
from tests.faults.upstreams import Sold, selling, sold
from tests.harness.cluster import Cluster
from tests.harness.figures import Figures, quantile

SHARED = sold("shared", 900, 3)
WELL = (sold("alone", 910, 1), sold("three", 920, 3))
"""No fault befalls them."""
PER_MINUTE = (300, 600, 1_200)
CALLERS = 40
FROM_S, FOR_S = 10.0, 40.0
"""After a while the paces are known."""
QUICK = Script(tokens=4, first_ms=20, pace_ms=0)
GOOD_DAY, ROUNDS = 200, 6
COSTS = ("CPU ms", "Redis commands", "transactions")
"""CPU is that of front doors and workers."""
_WRITTEN = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    folder = tmp_path_factory.mktemp("shared")
    async with selling(folder, ENVIRONMENT, [SHARED, *WELL]) as running:
        yield running


async def test_load_is_shared_by_what_each_key_allows(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    async with trial(cluster, "shared", seed, scale.limit_s) as run:
        for way, per_minute in zip(SHARED.ways, PER_MINUTE, strict=True):
            allows = {"per_minute": per_minute, "burst": max(1, per_minute // 120)}
            await cluster.simulator.befall(vendor="openai", key=way.key, fault="throttled", **allows)
        began = time.time()
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(_keep_asking(run, SHARED, began + FROM_S + FOR_S))
        calls = await cluster.simulator.calls()
        await run.until_no_hold(30)
    window = [call for call in calls if began + FROM_S <= call.started_at < began + FROM_S + FOR_S]
    answered = Counter(call.account for call in window if call.ending == "completed")
    refused = sum(call.ending == "throttled" for call in window)
    shares = [
        answered[way.account] / (per_minute * FOR_S / 60)
        for way, per_minute in zip(SHARED.ways, PER_MINUTE, strict=True)
    ]
    lost = Counter(read(one).error for one in run.asked if not read(one).finished)
    figures.add(
        PROOF, f"keys that allow {PER_MINUTE} a minute: used of each", ", ".join(f"{share:.0%}" for share in shares)
    )
    figures.add(PROOF, "and calls refused, of so many / requests lost", f"{refused:,}, {len(window):,} / {dict(lost)}")
    assert min(shares) > 0.9, shares


async def test_what_a_request_costs_on_a_good_day_is_measured(
    cluster: Cluster, scale: Scale, seed: str, figures: Figures
) -> None:
    """One key and three by turns, so that what else the machine does befalls both."""
    async with trial(cluster, "good day", seed, scale.limit_s) as run:
        for model in WELL:
            await _ask_in_turn(run, model, 50)
        idle = await _idle(cluster, 3.0)
        rounds = [[await _measured(cluster, run, model, idle) for model in WELL] for _ in range(ROUNDS)]
    for place, model in enumerate(WELL):
        name = f"good day, {len(model.ways)} key{'s' * (len(model.ways) > 1)}"
        figures.spread(PROOF, f"{name}: an answer takes", [took for pair in rounds for took in pair[place].took])
        costs = (statistics.median(costs) for costs in zip(*(pair[place].costs for pair in rounds), strict=True))
        figures.add(PROOF, f"{name}: {', '.join(COSTS)} a request", ", ".join(f"{cost:.2f}" for cost in costs))
    for number, what in enumerate(COSTS):
        ratios = [three.costs[number] / one.costs[number] for one, three in rounds]
        figures.add(PROOF, f"good day, three keys / one: {what}", _listed(ratios))
    ratios = [quantile(three.took, 0.5) / quantile(one.took, 0.5) for one, three in rounds]
    figures.add(PROOF, "good day, three keys / one: p50 of an answer", _listed(ratios))


class Round(NamedTuple):
    """What a request of a model costs (`COSTS`), and how long each of them took."""

    costs: tuple[float, ...]
    took: list[float]


async def _measured(cluster: Cluster, run: Trial, model: Sold, idle: tuple[float, ...]) -> Round:
    """`idle` is what the service does by itself, a second."""
    began, before = time.monotonic(), await _counted(cluster)
    took = await _ask_in_turn(run, model, GOOD_DAY)
    after, seconds = await _counted(cluster), time.monotonic() - began
    spent = zip(before, after, idle, strict=True)
    return Round(tuple((later - earlier - still * seconds) / GOOD_DAY for earlier, later, still in spent), took)


async def _idle(cluster: Cluster, seconds: float) -> tuple[float, ...]:
    """What the service does by itself, a second."""
    before = await _counted(cluster)
    await asyncio.sleep(seconds)
    return tuple((later - earlier) / seconds for earlier, later in zip(before, await _counted(cluster), strict=True))


def _listed(ratios: list[float]) -> str:
    """Each, and in front their median."""
    return f"{statistics.median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})"


async def _keep_asking(run: Trial, model: Sold, until: float) -> None:
    while time.time() < until:
        await run.send(run.prepare("json", QUICK, model=model.name))


async def _ask_in_turn(run: Trial, model: Sold, count: int) -> list[float]:
    """Seconds of each answer, for two callers."""

    async def ask() -> list[float]:
        return [(await run.send(run.prepare("json", QUICK, model=model.name))).took_s for _ in range(count // 2)]

    one, other = await asyncio.gather(ask(), ask())
    return one + other


async def _counted(cluster: Cluster) -> tuple[float, ...]:
    """As `COSTS` says, so far."""
    info = await cluster.valkey.command("INFO", "stats")
    (row,) = await cluster.postgres.fetch(_WRITTEN)
    assert isinstance(info, dict)
    cpu_s = sum(_cpu_s(cluster.pid(name)) for name in (*cluster.doors, *cluster.workers))
    return cpu_s * 1_000, float(info["total_commands_processed"]), float(row["xact_commit"])


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
