"""A test that fails twice fails the run, and one that passes alone does not; both are shown. A broken run is not repeated."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.running import PROJECT

FLICKERS = """
import pathlib

def test_flickers():
    seen = pathlib.Path(__file__).with_name("seen")
    first = not seen.exists()
    seen.touch()
    assert not first, "a busy moment"

def test_passes(): pass
"""
FAILS = "def test_fails(): assert not 'a fault'\n"
MANY = "\n".join(f"def test_{number}(): assert False" for number in range(6))
AGAIN = "They run once more, alone:"


@pytest.mark.parametrize(
    ("text", "arguments", "status", "shown", "last"),
    [
        pytest.param(FLICKERS, [], 0, ["busy", AGAIN, "PASSED test_it.py::test_flickers"], "1 passed", id="flickers"),
        pytest.param(
            FLICKERS + FAILS, [], 1, [AGAIN, "FAILED test_it.py::test_fails"], "1 failed, 1 passed", id="fails"
        ),
        pytest.param(MANY, [], 1, [], "6 failed", id="too many fail"),
        pytest.param(FLICKERS, ["-n", "1", "-x"], 2, ["busy"], "1 failed", id="stopped at the first"),
    ],
)
def test_what_failed_runs_once_more_alone(
    tmp_path: Path, text: str, arguments: list[str], status: int, shown: list[str], last: str
) -> None:
    (tmp_path / "test_it.py").write_text(text, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = kept | {
        "PYTHONPATH": str(PROJECT),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }  # other plug-ins start slowly
    command = [sys.executable, "-m", "tests.harness.run_again", "-p", "xdist", *arguments]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert ended.returncode == status, ended.stdout + ended.stderr
    assert all(words in ended.stdout for words in shown), ended.stdout
    assert (AGAIN in ended.stdout) is (AGAIN in shown), ended.stdout
    assert ended.stdout.splitlines()[-1].strip("= ").startswith(last), ended.stdout
