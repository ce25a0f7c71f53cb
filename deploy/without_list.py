"""Runs a command whose stderr is a terminal, and hides the list of packages that uv prints after an installation.

`python deploy/without_list.py uv pip install …`: uv cannot show its progress without that list. `--quiet` hides both, and
uv shows no progress in a pipe. So the command gets a new terminal as its stderr, and this program passes on what appears
there. It uses the standard library only, because it runs before anything is installed.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import Iterable, Iterator

LISTED = re.compile(rb"(\x1b\[[\d;]*m| )+[+~-](\x1b\[[\d;]*m| )+\S+==\S+\s*")
"""` + name==version`, with or without colours; `-` and `~` mark packages that were removed or reinstalled."""
READ_BYTES = 65_536


def main(command: list[str]) -> int:
    """Run the command and return its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this program as it ends the command, without a traceback
    ours, theirs = pty.openpty()
    tty.setraw(theirs)  # the real terminal turns line feeds into new lines
    termios.tcsetwinsize(theirs, termios.tcgetwinsize(sys.stderr))
    with subprocess.Popen(command, stderr=theirs) as process:  # noqa: S603 - the caller's own words
        os.close(theirs)
        for data in unlisted(written(ours)):
            sys.stderr.buffer.write(data)
            sys.stderr.flush()
    return process.returncode


def written(terminal: int) -> Iterator[bytes]:
    """The bytes that appear on the terminal until the last program has closed it. Linux reports that end as an error."""
    with contextlib.suppress(OSError):
        while data := os.read(terminal, READ_BYTES):
            yield data


def unlisted(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The text without the lines of the list. Only the beginning of such a line is held back until the line ends."""
    kept = b""
    for piece in pieces:
        *lines, kept = (kept + piece).split(b"\n")
        yield b"".join(line + b"\n" for line in lines if not LISTED.fullmatch(line))
        if not kept.startswith(b" "):
            yield kept
            kept = b""
    yield kept


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
