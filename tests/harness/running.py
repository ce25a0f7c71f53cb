"""Runs `python -m deploy.local` (or `make run`) in a folder and on a port of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from shared.vendors import VARIABLE_PREFIXES
from tests.harness.support import DEADLINE_S, POLL_S, eventually, free_port, is_running

PROJECT = Path(__file__).parents[2]
SUPERVISOR = (sys.executable, "-m", "deploy.local")
NOT_INHERITED = ("DATABASE_URL", "REDIS_URL", "PROCESSES", "DEMO", "HOST", "DRAIN_S", "PROCFILE", "MAKEFLAGS", "MFLAGS")


class Running:
    """A run under way; `output` is what it said so far."""

    def __init__(self, data_dir: Path, command: Sequence[str], environment: dict[str, str]) -> None:
        self.data_dir = data_dir
        self.port = int(environment["PORT"])
        self._output = data_dir.with_name(f"{data_dir.name}.output")
        _heed_interrupts()
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=PROJECT, env=environment, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def file(self, name: str) -> Any:
        with contextlib.suppress(FileNotFoundError):
            return json.loads((self.data_dir / name).read_text(encoding="utf-8"))
        return None

    async def ready(self) -> dict[str, Any]:
        """Wait for run.json; fails with what was said when the run ends instead."""

        def ask() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.output
            document: dict[str, Any] | None = self.file("run.json")
            return document

        return await eventually(ask, "run.json is written", deadline_s=120)

    async def ended(self, deadline_s: float = 60) -> int:
        await eventually(lambda: self.process.poll() is not None, "the run has ended", deadline_s)
        return self.process.returncode

    def pid(self, name: str) -> int:
        return next(int(row["pid"]) for row in self.file("processes.json") if row["name"] == name)

    def descendants(self) -> list[int]:
        """Every process below this one; those that have a session of their own too."""
        try:
            return [one.pid for one in psutil.Process(self.process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    async def stopped(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait for its end."""
        self.process.send_signal(number)
        return await self.ended()


@contextlib.contextmanager
def running(data_dir: Path, command: Sequence[str] = SUPERVISOR, **variables: str) -> Iterator[Running]:
    """Run for as long as the block lasts; what still runs then is killed, and its children with it."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in NOT_INHERITED and not name.startswith(VARIABLE_PREFIXES)
    }
    run = Running(data_dir, command, {**inherited, "DATA_DIR": str(data_dir), "PORT": str(free_port()), **variables})
    try:
        yield run
    finally:
        below = run.descendants()
        run.process.kill()
        run.process.wait()
        _kill(below)


def _heed_interrupts() -> None:
    """Started in the background of a script, the tests ignore SIGINT, and so would what they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _kill(pids: list[int]) -> None:
    """Kill those that are still there, those that supervise first; they are strangers' children, so they are polled."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + DEADLINE_S
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(POLL_S)


async def none_runs(pids: list[int]) -> None:
    await eventually(lambda: not any(is_running(pid) for pid in pids), f"{pids} have ended")


def command_line(pid: int) -> list[str]:
    return list(psutil.Process(pid).cmdline())
