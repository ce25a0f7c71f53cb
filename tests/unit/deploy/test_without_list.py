"""The installation's progress is shown without the list of all packages."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from deploy import without_list

PROGRAM = Path(without_list.__file__)
COLOURED = b" \x1b[32m+\x1b[39m \x1b[1maiohttp\x1b[0m\x1b[2m==3.14.5\x1b[0m\n"
PROGRESS = b"\r\x1b[2K\x1b[37m.\x1b[0m \x1b[2mPreparing packages... (3/124)\x1b[0m"


@pytest.mark.parametrize(
    "listed", [COLOURED, b" + aiohttp==3.14.5\n", b" - aiohttp==3.14.4\n", b" ~ rebootml==0.1.0\n"]
)
@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_lines_of_the_list_are_left_out_however_they_arrive(listed: bytes, size: int) -> None:
    whole = b"Resolved 124 packages\n" + PROGRESS + b"\nInstalled 124 packages\n" + listed + listed + b"warning: x\n"
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert b"".join(without_list.unlisted(pieces)) == whole.replace(listed, b"")


def test_progress_is_shown_before_its_line_ends() -> None:
    assert next(part for part in without_list.unlisted(iter([PROGRESS])) if part) == PROGRESS


@pytest.mark.parametrize("said", [b"error: No solution\n  hint: a==1 and a==2\n", b"no line feed at the end", b"  x"])
def test_nothing_else_is_left_out(said: bytes) -> None:
    assert b"".join(without_list.unlisted([said])) == said


def test_the_command_has_a_terminal_as_wide_as_ours_and_its_exit_status_is_given() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 97))
    asks = "import os, sys; sys.stderr.write(f'{os.isatty(2)} {os.get_terminal_size(2).columns}'); sys.exit(7)"
    ended = subprocess.run(
        [sys.executable, PROGRAM, sys.executable, "-c", asks], stderr=theirs, timeout=30, check=False
    )
    os.close(theirs)
    shown = os.read(ours, 1_000)
    os.close(ours)
    assert (ended.returncode, shown) == (7, b"True 97")
