"""What the whole path adds to the vendor's own time, for one caller with nothing else going on.

Measured by `make proofs`: nothing here is a limit.
"""

from __future__ import annotations

import time

import aiohttp
import pytest

from deploy.simulator.script import Script
from tests.faults.checker import Promise
from tests.faults.clients import UPSTREAM, Caller, Form
from tests.faults.conftest import ENVIRONMENTS, Scale
from tests.faults.trial import Trial, trial
from tests.harness.cluster import running_cluster
from tests.harness.figures import Figures, quantile

PROOF = "added latency"
QUICK = Script(tokens=5, first_ms=0, pace_ms=0)
WARM_UP = 20
MEASURED: dict[Form, str] = {"json": "whole JSON answer", "raw": "first byte of a stream"}


async def test_the_whole_path_is_measured_against_the_vendor_alone(
    tmp_path_factory: pytest.TempPathFactory, scale: Scale, seed: str, figures: Figures
) -> None:
    """Interleaved, so that both meet the same weather."""
    folder, environment = tmp_path_factory.mktemp("direct"), ENVIRONMENTS[10]
    async with (
        running_cluster(folder, environment, doors=1, workers=1, direct=True) as cluster,
        trial(cluster, "latency", seed, scale.limit_s) as run,
        aiohttp.ClientSession() as session,
    ):
        caller = Caller(run.api_key, cluster.patience_s, keeps_connections=True)
        for form, measured in MEASURED.items():
            pairs = [await _both_ways(run, form, caller, session) for _ in range(WARM_UP + scale.latencies)]
            _report(measured, pairs[WARM_UP:], figures)
        await caller.close()
        verdict = await run.check(Promise())
    assert not verdict.violations, verdict.violations


async def _both_ways(run: Trial, form: Form, caller: Caller, session: aiohttp.ClientSession) -> tuple[float, float]:
    """Seconds through us, and straight to the vendor; until the first byte for a stream."""
    asked = await run.send(run.prepare(form, QUICK), caller=caller)
    through = asked.took_s if form == "json" else (asked.first_byte_at or 0) - asked.sent_at
    began = time.perf_counter()
    message = asked.question.message.replace("key=latency", "key=vendor")  # else the checker takes it for a second call
    body = {"model": UPSTREAM, "messages": [{"role": "user", "content": message}], "stream": form != "json"}
    url = f"http://127.0.0.1:{run.cluster.simulator.port}/v1/chat/completions"
    async with session.post(url, json=body, headers={"Authorization": "Bearer simulated"}) as response:
        await response.content.readany()
        straight = time.perf_counter() - began
        await response.read()
    return through, straight


def _report(measured: str, pairs: list[tuple[float, float]], figures: Figures) -> None:
    through, straight = zip(*pairs, strict=True)
    for share in (0.5, 0.99):
        ways = [quantile(times, share) * 1_000 for times in (straight, through)]
        value = f"{ways[0]:.2f} -> {ways[1]:.2f}: {ways[1] - ways[0]:+.2f}  (n={len(pairs)})"
        figures.add(PROOF, f"{measured}, vendor alone -> through us, p{share * 100:g}, ms", value)
