"""Tells an operator when a process runs out of files that it may open: each connection is one.

Nobody else would: the event loop accepts what it has no room for and closes it again, so that callers are cut off without a
word.
"""

from __future__ import annotations

import asyncio
import os
import resource

import structlog

log = structlog.get_logger(__name__)
LOOK_EVERY_S = 1.0


class OpenFiles:
    """`look` alerts once, when so many percent of what may be opened is taken, and says when that is over."""

    def __init__(self, alert_percent: int) -> None:
        self._alert_percent = alert_percent
        self._short = False

    def look(self) -> None:
        """Takes a moment, however many are open: a new one has the lowest number that is free."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = lowest_free(limit)
        short = taken * 100 >= limit * self._alert_percent
        if short and not self._short:
            log.error("files that may be opened run out", alert=True, open_files=taken, limit=limit)
        elif self._short and not short:
            log.info("files may be opened again", open_files=taken, limit=limit)
        self._short = short


async def watch_open_files(alert_percent: int) -> None:
    """Look every second, until cancelled."""
    open_files = OpenFiles(alert_percent)
    while True:
        open_files.look()
        await asyncio.sleep(LOOK_EVERY_S)


def lowest_free(limit: int) -> int:
    """How many files are open, if none was closed in between: all numbers below this are taken. `limit` when none is free."""
    try:
        number = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return limit
    os.close(number)
    return number
