"""What `make test` runs: pytest, and then once more, alone in one process, the few tests that failed beside the others.

A machine that is busy for a moment fails no run that way, and a fault fails it twice. What failed is always shown: both runs
print all they have to say, and the second lists what passed alone. The arguments are pytest's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.harness.figures import SEED

FAILED_MAX = 5
"""More failed tests than this are not run again: that is no moment's business."""
UNCOMPILED = "PYTHONDONTWRITEBYTECODE"
"""Where it is set, each of hundreds of processes would compile anew all that it imports."""
ALONE = ("-n", "0", "--last-failed", "--last-failed-no-failures", "none", "-rA", "--show-capture=no")


def run(arguments: Sequence[str]) -> int:
    """Give the exit status: 0 when each test has passed, the first time or alone."""
    with tempfile.TemporaryDirectory() as folder:  # so that what failed in an earlier run is not known there
        command = [sys.executable, "-m", "pytest", *arguments, "-o", f"cache_dir={folder}"]
        environment = {name: value for name, value in os.environ.items() if name != UNCOMPILED}
        environment["PROOFS_SEED"] = SEED  # the second run draws the same chances
        status = subprocess.run(command, env=environment, check=False).returncode
        failed = _failed(Path(folder))
        if status != pytest.ExitCode.TESTS_FAILED or not 0 < len(failed) <= FAILED_MAX:
            return status
        sys.stdout.write("\n".join(("", "These tests failed above. They run once more, alone:", *failed, "")))
        sys.stdout.flush()
        status = subprocess.run([*command, *ALONE], env=environment, check=False).returncode
        return status or (pytest.ExitCode.TESTS_FAILED if _failed(Path(folder)) else pytest.ExitCode.OK)


def _failed(cache: Path) -> list[str]:
    """What pytest has noted; a test that failed and was not run again is still there."""
    noted = cache / "v" / "cache" / "lastfailed"
    return list(json.loads(noted.read_text(encoding="utf-8"))) if noted.exists() else []


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
