"""What every process does for itself at its start."""

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
    """Raise the soft limit of open files to the hard one: each stream is a connection. Returns what is in force."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says that there is no limit, and takes no such one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def settle_memory() -> None:
    """Take what stands after the start (modules, catalogue, clients) out of the garbage collector's sight for good, and let
    it look less often: else it walks through all of it again and again while requests make short-lived objects. And let
    the C library return each large piece of memory to the system as soon as it is freed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries than glibc have none, and no need of it
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)


def hide_versions() -> None:
    """Make every answer of this process say `Server: rebootml`. aiohttp adds the header to all answers, also to those that it
    makes by itself. It would tell the versions of aiohttp and Python, and no setting of aiohttp changes that.
    """
    web_response.SERVER_SOFTWARE = SERVER_NAME  # type: ignore[attr-defined]  # aiohttp does not export the name


def end_with_parent(parent_pid: int) -> None:
    """Get SIGTERM when the process `parent_pid` ends, however it ends; exit if it has ended already. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        sys.exit(1)


def heed_hangups(renew: Callable[[], Coroutine[Any, Any, None]], *tell: Callable[[], None]) -> None:
    """At every SIGHUP, which says that secrets have changed: run `renew` (connections made anew), call each of `tell`. For
    the running event loop; without this the signal ends a process.
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
"""glibc raises this by itself with every larger piece that is freed (mallopt(3)), and then keeps what large bodies took."""
SERVER_NAME = "rebootml"
COLLECT_AFTER = (10_000, 20, 20)
"""Allocations, and collections of the younger generation, before each generation is looked at."""
