"""How load is shared among keys that allow more or less, and what a request costs on a good day."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

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
GOOD_DAY = 600
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
    async with trial(cluster, "good day", seed, scale.limit_s) as run:
        for model in WELL:
            await _ask_in_turn(run, model, 50)
            idle = await _beats(cluster, 3.0)
            began, before = time.monotonic(), await _counted(cluster)
            took = await _ask_in_turn(run, model, GOOD_DAY)
            spent = time.monotonic() - began
            after = await _counted(cluster)
            commands, commits = ((after[n] - before[n] - idle[n] * spent) / GOOD_DAY for n in (0, 1))
            name = f"good day, {len(model.ways)} key{'s' * (len(model.ways) > 1)}"
            figures.add(PROOF, f"{name}: Redis commands, transactions a request", f"{commands:.2f}, {commits:.2f}")
            figures.spread(PROOF, f"{name}: an answer takes", took)
            figures.add(PROOF, f"{name}: p10 of that, s", f"{quantile(took, 0.1):.4f}")


async def _keep_asking(run: Trial, model: Sold, until: float) -> None:
    while time.time() < until:
        await run.send(run.prepare("json", QUICK, model=model.name))


async def _ask_in_turn(run: Trial, model: Sold, count: int) -> list[float]:
    """Seconds of each answer, for two callers."""

    async def ask() -> list[float]:
        return [(await run.send(run.prepare("json", QUICK, model=model.name))).took_s for _ in range(count // 2)]

    one, other = await asyncio.gather(ask(), ask())
    return one + other


async def _beats(cluster: Cluster, seconds: float) -> tuple[float, float]:
    """What the service does by itself, a second."""
    before = await _counted(cluster)
    await asyncio.sleep(seconds)
    after = await _counted(cluster)
    return (after[0] - before[0]) / seconds, (after[1] - before[1]) / seconds


async def _counted(cluster: Cluster) -> tuple[int, int]:
    info = await cluster.valkey.command("INFO", "stats")
    (row,) = await cluster.postgres.fetch(_WRITTEN)
    assert isinstance(info, dict)
    return int(info["total_commands_processed"]), int(row["xact_commit"])
