"""Preparations that every process makes at its start."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from aiohttp import web_response

log = structlog.get_logger(__name__)


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one, because each stream is a connection. Returns
    the limit in force.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS reports no limit and refuses to set it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def settle_memory() -> None:
    """Exclude what exists after the start (modules, catalogue, clients) from garbage collection and collect less often;
    otherwise each collection walks through all of it. Also make the C library return each large piece of memory to the
    system when it is freed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it and needs it
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


def hide_versions() -> None:
    """Make every answer say `Server: rebootml`. aiohttp adds the header with its own and Python's version to all answers,
    including those that it makes itself, and has no setting for it.
    """
    web_response.SERVER_SOFTWARE = SERVER_NAME  # type: ignore[attr-defined]  # aiohttp does not export the name


def end_with_parent(parent_pid: int) -> None:
    """Get SIGTERM when the process `parent_pid` ends for any reason; exit if it has ended already. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        sys.exit(1)


def heed_hangups(renew: Callable[[], Coroutine[Any, Any, None]], *tell: Callable[[], None]) -> None:
    """At every SIGHUP, which says that secrets have changed, run `renew` (new connections) and call each of `tell`. Without
    a handler the signal would end the process.
    """
    running: set[asyncio.Task[None]] = set()

    def heed() -> None:
        log.info("secrets are read again")
        for one in tell:
            one()
        running.add(task := asyncio.ensure_future(renew()))
        task.add_done_callback(running.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, heed)


_PR_SET_PDEATHSIG = 1
_M_MMAP_THRESHOLD = -3
LARGE_BYTES = 262_144
"""The threshold in bytes above which glibc returns freed memory. Without it, glibc raises the threshold with every
larger piece that is freed (mallopt(3)) and keeps the memory of large bodies.
"""
SERVER_NAME = "rebootml"
COLLECT_AFTER = (10_000, 20, 20)
"""Allocations before the youngest generation is collected, and collections of each generation before the next older
one.
"""
