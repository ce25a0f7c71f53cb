"""A forked process is like one that was started: its settings, its log, its exit code, its end."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from signal import SIGKILL, SIGTERM

from deploy.local.child import Child, Program
from tests.harness.forking import ANEW, Forked, started
from tests.harness.support import eventually


def _simulator(folder: Path, **environment: str) -> Child:
    port_file = folder / "port"
    return started(
        Program(
            name="simulator",
            command=(sys.executable, "-m", "deploy.simulator", "--port-file", str(port_file)),
            environment={"PATH": os.defpath} | environment,
            log=folder / "logs" / "simulator.log",
        )
    )


async def test_one_that_runs_ends_when_it_is_told_to_or_killed(tmp_path: Path) -> None:
    told, killed = _simulator(tmp_path), _simulator(tmp_path)
    assert isinstance(told, Forked) is not ANEW
    await eventually(lambda: told.program.log.read_text().count("listening") == 2, "both listen")
    assert (told.exit_code, killed.exit_code) == (None, None)
    assert {os.getsid(child.pid) for child in (told, killed)} == {told.pid, killed.pid}
    told.signal(SIGTERM)
    killed.signal(SIGKILL)
    assert (await told.ended(), await killed.ended()) == (0, -SIGKILL)


async def test_one_that_refuses_its_environment_says_so_in_its_log(tmp_path: Path) -> None:
    refused = _simulator(tmp_path, SIM_TOKENS="many")
    assert await refused.ended() == 2
    assert "tokens" in refused.program.log.read_text()


def test_one_that_changes_what_python_imports_is_started_anew(tmp_path: Path) -> None:
    child = _simulator(tmp_path, PYTHONPATH=str(tmp_path))
    assert not isinstance(child, Forked)
    child.signal(SIGKILL)
