from __future__ import annotations

import subprocess
import sys

CODE = """
import os, resource, structlog
from shared.runtime.open_files import OpenFiles
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
watched, opened = OpenFiles(90), []

def told():
    with structlog.testing.capture_logs() as lines:
        watched.look()
        watched.look()
    return [(line["event"], line.get("alert", False)) for line in lines]

assert told() == []
while len(opened) == 0 or opened[-1] < 54:
    opened.append(os.open(os.devnull, os.O_RDONLY))
assert told() == [("files that may be opened run out", True)], told()
try:
    while True:
        opened.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
assert told() == []
for number in opened:
    os.close(number)
assert told() == [("files may be opened again", False)]
opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(54)]
assert told() == [("files that may be opened run out", True)]
"""
"""In a process of its own, which may open but few."""


def test_an_operator_hears_once_that_files_run_out_and_that_they_do_no_longer() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=60)


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    code = (
        "import resource; from shared.runtime.process import raise_open_files;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (50, 200)); assert raise_open_files() == 200;"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (200, 200)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
