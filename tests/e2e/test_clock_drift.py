"""A worker and a front door whose clocks go wrong while they run: an operator hears of it, and callers do not notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.caller import Caller, expected, told
from tests.harness.cluster import Cluster
from tests.harness.support import free_port, shifted_by

AHEAD = "rebootml_clock_ahead_seconds"


@pytest.mark.parametrize("seconds", [700, -700])
async def test_requests_are_served_in_time_whatever_a_machine_s_clock_shows(
    caller: Caller, cluster: Cluster, tmp_path: Path, seconds: int
) -> None:
    shift, port = tmp_path / "shift", free_port()
    folder = shifted_by(0, shift)["PYTHONPATH"]
    before = cluster.workers
    for name in (*before, "web-1"):
        await cluster.drain(name)
    for name, metrics_port in (("worker-1", port), ("web-1", free_port())):
        cluster.start(
            name,
            PYTHONPATH=folder,
            SHIFT_FILE=str(shift),
            CLOCK_LOOK_EVERY_S="0.3",
            METRICS_PORT=str(metrics_port),
        )
    await cluster.ready()
    shifted_by(seconds, shift)
    for name in ("worker-1", "web-1"):
        await cluster.until_log(name, "clocks are apart")
    for door in cluster.urls:
        reply = await caller.at(door).chat(told(tokens=3))
        assert (reply.status, reply.json["result"]["response"]) == (200, expected(told(tokens=3)))
    async with caller.session.get(f"http://127.0.0.1:{port}/metrics") as response:
        shown = await response.text()
    for store in ("redis", "postgres"):
        (line,) = [one for one in shown.splitlines() if one.startswith(f'{AHEAD}{{store="{store}"}}')]
        assert abs(float(line.split()[1]) - seconds) < 30
    assert 'rebootml_alerts_total{alert="clocks are apart"} 1.0' in shown
    shifted_by(0, shift)
    await cluster.until_log("worker-1", "clocks are together again")
    for name in ("worker-1", "web-1"):
        await cluster.drain(name)
    for name in (*before, "web-1"):
        cluster.start(name)
    await cluster.ready()
    assert (await caller.chat(told())).status == 200
