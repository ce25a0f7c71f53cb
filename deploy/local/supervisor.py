"""Keeps programs running, in tiers, and stops them tier by tier."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.child import POLL_S, Child, Program, log_tail
from deploy.local.errors import StartError
from deploy.local.terminal import say

STEADY_S = 10.0
"""Seconds of life after which a program restarts at once; a program that died sooner waits, twice as long each time."""
PAUSE_S = 0.5
PAUSE_S_MAX = 10.0
EARLY_DEATHS_MAX = 3
LOG_BYTES_MAX = 100_000_000
LOG_CHECK_S = 10.0


class Tier(enum.IntEnum):
    """The order of stopping: a program stops before those that it depends on."""

    WEB = 0
    WORKER = 1
    SIMULATOR = 2
    STORE = 3


class Service:
    """One program that is restarted whenever it dies, until it is told to stop."""

    def __init__(
        self,
        name: str,
        log: Path,
        program: Callable[[], Program],
        prepare: Callable[[], Awaitable[None]] | None = None,
        started: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.log = log
        self.child: Child | None = None
        self.deaths = 0
        self._program = program
        self._prepare = prepare
        self._started = started
        self._stop = asyncio.Event()

    async def keep(self) -> None:
        """Run the program again and again."""
        pause_s = 0.0
        while not self._stop.is_set():
            began = time.monotonic()
            reason = await self._run_once()
            if self._stop.is_set():
                return
            self.deaths += 1
            pause_s = 0.0 if time.monotonic() - began >= STEADY_S else pause_s
            say(f"  {self.name} {reason}; starting it again" + (f" in {pause_s:g} s" if pause_s else ""))
            await self._pause(pause_s)
            pause_s = min(max(PAUSE_S, pause_s * 2), PAUSE_S_MAX)

    async def stop(self, grace_s: float, hurry: asyncio.Event) -> None:
        """Stop the program for good: ask first, kill after the grace."""
        self._stop.set()
        if self.child is not None and not await self.child.stop(grace_s, hurry):
            say(f"  {self.name} did not end in time and was killed")

    def explain(self, what: str) -> StartError:
        """The error that says what is wrong with the program, with the end of its log."""
        return StartError(f"{self.name} {what}; its log is {self.log}\n{log_tail(self.log)}".rstrip())

    async def _run_once(self) -> str:
        """Run the program to its end, and say how it ended."""
        try:
            if self._prepare is not None:
                await self._prepare()
            if self._stop.is_set():
                return ""
            self.child = Child(self._program())
        except (OSError, StartError) as error:
            return f"cannot be started: {error}"
        self._started()
        return _how_it_ended(await self.child.ended())

    async def _pause(self, pause_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), pause_s or POLL_S)


class Supervisor:
    """Runs services within `async with`; leaving it stops all of them for whatever reason."""

    def __init__(self, logs: Path, stop_s: float, hurry: asyncio.Event) -> None:
        self._services: dict[Tier, list[Service]] = {tier: [] for tier in Tier}
        self._tasks = asyncio.TaskGroup()
        self._background: list[asyncio.Task[None]] = []
        self._logs = logs
        self._stop_s = stop_s
        self._hurry = hurry

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self.background(bound_logs(self._logs))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for tier in Tier:
            await asyncio.gather(*(service.stop(self._stop_s, self._hurry) for service in self._services[tier]))
        for task in self._background:
            task.cancel()
        # raise an ordinary error as it is; a cancellation may be the group's own, so the group handles it
        cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        await self._tasks.__aexit__(*((kind, error, trace) if cancelled else (None, None, None)))

    def background(self, work: Coroutine[object, object, None]) -> None:
        """Run something beside the services; it is cancelled when they have ended."""
        self._background.append(self._tasks.create_task(work))

    def add(self, tier: Tier, service: Service) -> Service:
        """Start a service and keep it."""
        self._services[tier].append(service)
        self._tasks.create_task(service.keep(), name=service.name)
        return service


async def until(ready: Callable[[], Awaitable[bool]], limit_s: float, *services: Service) -> None:
    """Wait until `ready` is true; `StartError` if a service that it depends on keeps dying, or if the time is up."""
    deadline = time.monotonic() + limit_s
    while not await ready():
        for service in services:
            if service.deaths >= EARLY_DEATHS_MAX:
                raise service.explain("ends again and again")
        if time.monotonic() > deadline:
            raise services[0].explain(f"is not ready after {limit_s:g} s")
        await asyncio.sleep(POLL_S)


async def bound_logs(folder: Path) -> None:
    """Limit the size of each log: beyond the limit it starts anew, and the old one is kept as `NAME.log.1`."""
    while True:
        _turn_over_long(folder)
        await asyncio.sleep(LOG_CHECK_S)


def _turn_over_long(folder: Path) -> None:
    for log in folder.glob("*.log"):
        if log.stat().st_size > LOG_BYTES_MAX:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)  # writers append, so they continue at the new end


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by signal {-code} ({signal.strsignal(-code)})"
