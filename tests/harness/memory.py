"""How much memory a process had at most."""

from __future__ import annotations

from pathlib import Path

PEAK, NOW = "VmHWM", "VmRSS"
FORGET_PEAK = "5"
"""What `clear_refs` takes, see proc(5)."""


def forget_peak(pid: int) -> None:
    """From now on the peak is that of what follows."""
    Path(f"/proc/{pid}/clear_refs").write_text(FORGET_PEAK, encoding="ascii")


def megabytes(pid: int, which: str = PEAK) -> float:
    """Resident memory, at its peak or now."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(which))
    return int(line.split()[1]) * 1_024 / 1e6
