"""`WEB_CONCURRENCY` front doors on one socket. The parent binds it and passes it down, restarts a child that dies, and
passes SIGHUP on: the children read their secrets again.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import structlog

from shared.settings import Settings

log = structlog.get_logger(__name__)
RESTART_PAUSE_S = 1.0
LOOK_EVERY_S = 0.2
REFUSED_TO_START, REFUSES_WITHIN_S = 1, 10.0
"""A child that exits with 1 this early cannot serve (its line on stderr says why), and another one could not either."""


def run_several(count: int, listener: socket.socket, settings: Settings) -> int:
    """Run the children until SIGTERM or SIGINT, then let them drain. Child `n` has the metrics port `METRICS_PORT` + n."""
    stopping: list[int] = []
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda number, _: stopping.append(number))
    children = [_start(number, listener, settings) for number in range(count)]
    signal.signal(signal.SIGHUP, lambda number, _: _pass_on(number, children))
    started = [time.monotonic()] * count
    while not stopping:
        time.sleep(LOOK_EVERY_S)
        for number, child in enumerate(children):
            if child.poll() == REFUSED_TO_START and time.monotonic() - started[number] < REFUSES_WITHIN_S:
                return _end(children, REFUSED_TO_START)
            if child.poll() is not None and not stopping:
                log.error("front door died", number=number, status=child.returncode)
                time.sleep(RESTART_PAUSE_S)
                children[number], started[number] = _start(number, listener, settings), time.monotonic()
    return _end(children, 0)


def _pass_on(number: int, children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.send_signal(number)


def _end(children: list[subprocess.Popen[bytes]], status: int) -> int:
    for child in children:
        child.terminate()
    return max(status, *(child.wait() for child in children))


def _start(number: int, listener: socket.socket, settings: Settings) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "LISTEN_FD": str(listener.fileno()),
        "WEB_CONCURRENCY": "1",
        "PARENT_PID": str(os.getpid()),
    }
    if settings.metrics_port and settings.listen_fd is None:
        environment["METRICS_PORT"] = str(settings.metrics_port + number)
    elif number > 0:
        environment.pop("METRICS_PORT", None)  # the process that passed the socket gave one port, not a range
    command = [sys.executable, "-m", "api"]
    return subprocess.Popen(command, env=environment, pass_fds=[listener.fileno()])  # noqa: S603 - our own program
