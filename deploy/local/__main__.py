"""`python -m deploy.local`: the whole service on one machine, as `make run` starts it.

Exit 0 after a stop that was asked for, 1 when something cannot be started, 2 when a setting is wrong.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys

from deploy.local.errors import StartError
from deploy.local.options import Options
from deploy.local.run import run

OPEN_FILES = 65_536


def main() -> int:
    """Read the settings, run, and report errors in one place."""
    try:
        options = Options.load(os.environ)
    except ValueError as error:
        return _refuse(error, 2)
    _raise_open_files()
    try:
        asyncio.run(run(options))
    except StartError as error:
        return _refuse(error, 1)
    return 0


def _refuse(error: Exception, code: int) -> int:
    print(f"make run: {error}", file=sys.stderr, flush=True)
    return code


def _raise_open_files() -> None:
    """Let every child hold thousands of connections: many systems begin with 1,024 and allow far more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
