"""What every process does for itself at its start."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one: each stream is a connection. Returns what is in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def end_with_parent(parent_pid: int) -> None:
    """Get SIGTERM when the process `parent_pid` ends, however it ends; exit if it has ended already. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        sys.exit(1)


_PR_SET_PDEATHSIG = 1
