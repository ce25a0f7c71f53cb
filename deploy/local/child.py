"""One program run as a child process: in a session of its own, its output in a file, ended when its parent ends."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

import msgspec

POLL_S = 0.03
HURRY_S = 3.0
LOG_TAIL_BYTES = 4_000
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program to run, and the signal that stops it. The kernel sends `orphan_signal` if the parent dies."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    stop_signal: Signals = SIGTERM
    orphan_signal: Signals = SIGKILL
    pass_fds: tuple[int, ...] = ()
    capture: bool = False  # keep its stdout (up to a pipe's 64 KB) instead of logging it


class Child:
    """A running program; raises OSError if it cannot be started. It is polled and belongs to no event loop, so that a
    fixture may start it in one loop and stop it in another.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        program.log.parent.mkdir(exist_ok=True)
        with program.log.open("ab") as log:
            self._process = subprocess.Popen(
                program.command,
                env=program.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if program.capture else log,
                stderr=log,
                pass_fds=program.pass_fds,
                start_new_session=True,
                preexec_fn=_ends_with(os.getpid(), program.orphan_signal),  # noqa: PLW1509 - we have one thread only
            )
        self.pid = self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The program's exit code: None while it runs, negative if a signal ended it."""
        return self._process.poll()

    async def ended(self) -> int:
        """Wait for the program's end; whatever is left in its session is killed."""
        while (code := self.exit_code) is None:  # noqa: ASYNC110 - an exit is no event on every system and Python
            await asyncio.sleep(POLL_S)
        self._signal_session(SIGKILL)
        return code

    async def stop(self, grace_s: float, hurry: asyncio.Event | None = None) -> bool:
        """Ask the program to end, and kill it after the grace, or soon after a second signal on `hurry`; False if it
        was killed.
        """
        deadline = time.monotonic() + grace_s
        self.signal(self.program.stop_signal)
        while self.exit_code is None:
            if hurry is not None and hurry.is_set():
                hurry = None
                self.signal(self.program.stop_signal)
                deadline = min(deadline, time.monotonic() + HURRY_S)
            if time.monotonic() >= deadline:
                await self.kill()
                return False
            await asyncio.sleep(POLL_S)
        self._signal_session(SIGKILL)
        return True

    async def kill(self) -> None:
        """Kill the program now."""
        self.signal(SIGKILL)
        await self.ended()

    def signal(self, number: Signals) -> None:
        """Signal the program itself, if it still runs."""
        self._process.send_signal(number)

    def output(self) -> bytes:
        """The program's stdout, once it has ended."""
        if self._process.stdout is None:
            return b""
        with self._process.stdout as pipe:
            return pipe.read()

    def _signal_session(self, number: Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


async def run_to_end(program: Program, limit_s: float) -> tuple[int, bytes]:
    """Run a program once and return its exit code and its output. TimeoutError after the limit; then nothing is left
    running.
    """
    child = Child(program)
    try:
        async with asyncio.timeout(limit_s):
            code = await child.ended()
        return code, child.output()
    finally:
        await child.kill()


def _ends_with(parent: int, number: Signals) -> Callable[[], None] | None:
    """A function for the child to call before its program starts, so that the kernel ends it with its parent (Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # the parent died before prctl took effect
            os._exit(1)

    return before_exec


def log_tail(path: Path, lines: int = 5) -> str:
    """The last lines of a log, indented, to be shown beside its path."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
        text = file.read().decode(errors="replace")
        return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
    return ""
