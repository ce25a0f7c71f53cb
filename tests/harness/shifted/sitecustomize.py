# noqa: INP001 - Python itself looks for a file of this name
"""Sets the clock of a process that has this folder in its PYTHONPATH: by as many seconds as the file SHIFT_FILE says now."""

import os
import time
from contextlib import suppress
from pathlib import Path

right, file = time.time, Path(os.environ["SHIFT_FILE"])


def shifted() -> float:
    """What the clock shows."""
    with suppress(OSError, ValueError):
        return right() + float(file.read_text(encoding="ascii"))
    return right()


time.time = shifted
