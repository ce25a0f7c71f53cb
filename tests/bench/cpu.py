"""Cores and CPU time: who runs where, and what each process took, as the kernel counts it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cores() -> tuple[int, int] | None:
    """The core of the system under test, and that of mock and callers; None where there is one core or no choice."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    ours = sorted(os.sched_getaffinity(0))
    return (ours[0], ours[1]) if len(ours) > 1 else None


@contextlib.contextmanager
def starting_on(core: int | None) -> Iterator[None]:
    """What is started in this block runs on that core only: children inherit it."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def seconds_of(roots: list[int]) -> float:
    """CPU seconds that these processes and all below them have taken so far, ended children included."""
    return sum(map(_seconds, with_descendants(roots)))


def memory_mb_of(root: int) -> float:
    """Memory of a process and all below it, MB; what they share counts once (PSS), where the kernel says so."""
    return sum(_proportional(pid) or _resident(pid) for pid in with_descendants([root])) / 1e6


def with_descendants(roots: list[int]) -> list[int]:
    """These processes and everything that they have started."""
    children: dict[int, list[int]] = {}
    for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        if fields := _stat(pid):
            children.setdefault(int(fields[1]), []).append(pid)
    found, left = [], list(roots)
    while left:
        found.append(pid := left.pop())
        left += children.get(pid, [])
    return found


def _seconds(pid: int) -> float:
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) / TICKS_PER_S if fields else 0.0


def _proportional(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _resident(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[21]) * PAGE_BYTES if fields else 0


def _stat(pid: int) -> list[str]:
    """The fields from the state on, which is number 3 in proc(5); empty when it has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
