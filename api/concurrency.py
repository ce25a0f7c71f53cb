"""`WEB_CONCURRENCY` front doors on one socket: the parent binds and passes it down, and restarts a child that dies."""

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


def run_several(count: int, listener: socket.socket, settings: Settings) -> int:
    """Run until SIGTERM or SIGINT, then let the children drain. Child `n` has `METRICS_PORT` + n."""
    stopping: list[int] = []
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda number, _: stopping.append(number))
    children = [_start(number, listener, settings) for number in range(count)]
    while not stopping:
        time.sleep(LOOK_EVERY_S)
        for number, child in enumerate(children):
            if child.poll() is not None and not stopping:
                log.error("front door died", number=number, status=child.returncode)
                time.sleep(RESTART_PAUSE_S)
                children[number] = _start(number, listener, settings)
    for child in children:
        child.terminate()
    return max(child.wait() for child in children)


def _start(number: int, listener: socket.socket, settings: Settings) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "LISTEN_FD": str(listener.fileno()),
        "WEB_CONCURRENCY": "1",
        "PARENT_PID": str(os.getpid()),
    }
    if settings.metrics_port:
        environment["METRICS_PORT"] = str(settings.metrics_port + number)
    command = [sys.executable, "-m", "api"]
    return subprocess.Popen(command, env=environment, pass_fds=[listener.fileno()])  # noqa: S603 - our own program
