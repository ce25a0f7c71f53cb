"""Alerts when a process is about to run out of open files; each connection is one.

Nothing else would report that: the event loop accepts a connection for which there is no file and closes it again, so
callers are cut off without an error.
"""

from __future__ import annotations

import asyncio
import os
import resource

import structlog

log = structlog.get_logger(__name__)
LOOK_EVERY_S = 1.0


class OpenFiles:
    """`look` alerts once when the given share of the open files is used, and reports when that is over."""

    def __init__(self, alert_percent: int) -> None:
        self._alert_percent = alert_percent
        self._short = False

    def look(self) -> None:
        """Compare the lowest free file number with the limit; that is fast however many files are open."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = lowest_free(limit)
        short = taken * 100 >= limit * self._alert_percent
        if short and not self._short:
            log.error("files that may be opened run out", alert=True, open_files=taken, limit=limit)
        elif self._short and not short:
            log.info("files may be opened again", open_files=taken, limit=limit)
        self._short = short


async def watch_open_files(alert_percent: int) -> None:
    """Look every second until cancelled."""
    open_files = OpenFiles(alert_percent)
    while True:
        open_files.look()
        await asyncio.sleep(LOOK_EVERY_S)


def lowest_free(limit: int) -> int:
    """The lowest free file number: if no file was closed in between, this is the number of open files. `limit` if none is
    free.
    """
    try:
        number = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return limit
    os.close(number)
    return number
