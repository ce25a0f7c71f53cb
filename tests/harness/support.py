"""What tests of several rooms need: free ports, and waiting for an event with a deadline."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")
DEADLINE_S = 30.0
POLL_S, POLL_MAX_S = 0.02, 0.25
WAIT_PER_POLL = 10


def free_port() -> int:
    """A port of 127.0.0.1 that nobody holds at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def eventually(ask: Callable[[], T | None], what: str, deadline_s: float = DEADLINE_S) -> T:
    """Ask until the answer is true and return it; fails with `what` after the deadline."""
    began = time.monotonic()
    while not (answer := ask()):
        assert time.monotonic() < began + deadline_s, f"not within {deadline_s:g} s: {what}"
        await pause(began)
    return answer


async def pause(began: float) -> None:
    """Sleep between two questions, the longer the more time has passed since `began`: what takes long is asked seldom, and
    nobody waits a tenth longer than needed.
    """
    waited = time.monotonic() - began
    await asyncio.sleep(min(max(waited / WAIT_PER_POLL, POLL_S), POLL_MAX_S))


def is_running(pid: int) -> bool:
    """Whether the process lives; one that has ended and only waits to be collected does not."""
    try:
        return psutil.Process(pid).status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False


async def eventually_true(ask: Callable[[], Awaitable[T | None]], what: str, deadline_s: float = DEADLINE_S) -> T:
    """The same for a question that has to be awaited."""
    began = time.monotonic()
    while not (answer := await ask()):
        assert time.monotonic() < began + deadline_s, f"not within {deadline_s:g} s: {what}"
        await pause(began)
    return answer


def shifted_by(seconds: float, file: Path) -> dict[str, str]:
    """Variables of a process whose clock is so far ahead, until the file says something else."""
    file.write_text(str(seconds), encoding="ascii")
    return {"PYTHONPATH": str(Path(__file__).with_name("shifted")), "SHIFT_FILE": str(file)}
