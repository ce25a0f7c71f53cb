"""A worker and a front door whose clocks go wrong while they run: an operator hears of it, and callers do not notice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.caller import Caller, expected, told
from tests.harness.cluster import Cluster
from tests.harness.support import shifted_by

STARTED = {"worker-1": "worker started", "web-1": "front door open"}


@pytest.fixture
async def shift(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Path]:
    """The file that says by how much the clocks of a front door and of the only worker are off."""
    file = tmp_path / "shift"
    folder = shifted_by(0, file)["PYTHONPATH"]
    others = [name for name in cluster.workers if name not in STARTED]
    for name in (*STARTED, *others):
        await cluster.drain(name)
    try:
        for name, event in STARTED.items():
            cluster.start(name, PYTHONPATH=folder, SHIFT_FILE=str(file), CLOCK_LOOK_EVERY_S="0.3")
            await cluster.until_log(name, event)
        await cluster.ready()
        yield file
    finally:
        for name in STARTED:
            await cluster.drain(name)
        for name in (*STARTED, *others):
            cluster.start(name)
        await cluster.ready()


@pytest.mark.parametrize("seconds", [700, -700])
async def test_requests_are_served_in_time_whatever_a_machine_s_clock_shows(
    caller: Caller, cluster: Cluster, shift: Path, seconds: int
) -> None:
    shifted_by(seconds, shift)
    for name in STARTED:
        await cluster.until_log(name, "clocks are apart")
    for door in cluster.urls:
        reply = await caller.at(door).chat(told(tokens=3))
        assert reply.status == 200, reply.json
        assert reply.json["result"]["response"] == expected(told(tokens=3))
    shifted_by(0, shift)
    for name in STARTED:
        await cluster.until_log(name, "clocks are together again")
