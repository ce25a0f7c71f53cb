"""Tells a run to stop: after Ctrl-C, SIGTERM, a closed terminal, or the end of the `make` that started it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path

WATCH_S = 0.5
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Stopping:
    """The wish to stop. `asked` is set when the run should stop, `hurry` at a second Ctrl-C."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()

    def listen(self) -> None:
        """Install signal handlers explicitly: a shell starts background jobs with SIGINT ignored."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        loop.add_signal_handler(signal.SIGTERM, self.asked.set)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup is respected
            loop.add_signal_handler(signal.SIGHUP, self.asked.set)

    def _interrupted(self) -> None:
        (self.hurry if self.asked.is_set() else self.asked).set()

    async def unless_asked(self, work: Coroutine[object, object, None]) -> None:
        """Do the work, or cancel it as soon as a stop is asked for."""
        task = asyncio.ensure_future(work)
        asked = asyncio.ensure_future(self.asked.wait())
        try:
            await asyncio.wait((task, asked), return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            if not task.done():
                task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def watch_make(self) -> None:
        """Stop if the `make` that started this run was interrupted or died. `make` passes SIGTERM on, but after a
        SIGINT to itself alone it waits for us (a terminal's Ctrl-C reaches us too). That case is detected by make's
        signal handler, which make has removed then.
        """
        make = os.getppid()
        if sys.platform != "linux" or not _is_make(make):
            return
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        while os.getppid() == make and _handles(make, signal.SIGINT):  # noqa: ASYNC110 - another's state is no event
            await asyncio.sleep(WATCH_S)
        self.asked.set()


def _is_make(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() in {"make", "gmake"}
    except OSError:
        return False


def _handles(pid: int, number: signal.Signals) -> bool:
    """True if the process still handles a signal, by catching it or by having ignored it from the beginning."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return any(int(fields[name], 16) >> (number - 1) & 1 for name in ("SigCgt", "SigIgn"))
