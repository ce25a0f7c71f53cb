"""What every process does for itself at its start."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys

from aiohttp import web_response


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one: each stream is a connection. Returns what is in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def settle_memory() -> None:
    """Take what stands after the start (modules, catalogue, clients) out of the garbage collector's sight for good, and let
    it look less often: else it walks through all of it again and again while requests make short-lived objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def return_large_blocks() -> None:
    """Have each block of a megabyte or more given back to the system as soon as it is freed. glibc would keep it for the next
    one, in pieces that do not fit: after a few payloads of 14 MB a process had twice the memory that it used.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # which only glibc has
        if mallopt:
            mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


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


_PR_SET_PDEATHSIG = 1
_M_MMAP_THRESHOLD = -3
LARGE_BLOCK_BYTES = 1_048_576
SERVER_NAME = "rebootml"
COLLECT_AFTER = (10_000, 20, 20)
"""Allocations, and collections of the younger generation, before each generation is looked at."""
