"""`python -m api`: a front door, configured by the environment. With `WEB_CONCURRENCY` several processes share one port."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

import structlog
import uvloop
from aiohttp import web

from api.app import create_app
from api.concurrency import run_several
from api.http.slow_readers import keep_little_unsent
from api.http_errors import DoorRunner
from api.services import SERVICES
from shared.errors import Unavailable
from shared.runtime import telemetry, traces
from shared.runtime.process import end_with_parent, heed_hangups, hide_versions, raise_open_files, settle_memory
from shared.settings import Settings, SettingsError
from shared.stores.migrations import MigrationError

log = structlog.get_logger(__name__)
BACKLOG = 1024
CLOSE_S = 1.0
"""Seconds that connections have to close by themselves once no request is running."""
LINGER_S = 0.5
"""Seconds for which requests that are already on their way over established connections are still answered before these
connections close.
"""


def main() -> int:
    """Run until the process is told to stop. Exit status 0 after a drain, 1 if it could not start."""
    try:
        settings = Settings.load()
        telemetry.configure(settings, "web")
        raise_open_files()
        hide_versions()
        if settings.parent_pid is not None:
            end_with_parent(settings.parent_pid)
        if settings.web_concurrency > 1:
            return run_several(settings.web_concurrency, _listen(settings), settings)
        traces.start(settings, "web")
        uvloop.run(_serve(settings))
    except (SettingsError, MigrationError, Unavailable) as error:
        print(f"api: {error}", file=sys.stderr)  # noqa: T201 - one line, also where logging is not set up yet
        return 1
    finally:
        traces.stop()
    return 0


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    app = create_app(settings)
    runner = DoorRunner(
        app,
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=CLOSE_S,
        keepalive_timeout=settings.keepalive_s,
        lingering_time=settings.refused_body_within_s,
        auto_decompress=False,  # `refuse_compressed` refuses compressed bodies
    )
    await runner.setup()
    try:
        listening = _listen(settings)
        keep_little_unsent(listening, settings.socket_unsent_bytes_max)
        site = web.SockSite(runner, listening, backlog=BACKLOG)
        await site.start()
        heed_hangups(app[SERVICES].ledger.renew_connections)
        settle_memory()
        log.info("front door open", host=settings.host, port=settings.port)
        await stop.wait()
        log.info("front door draining")
        app[SERVICES].draining.set()
        await site.stop()
        await asyncio.sleep(LINGER_S)
        await app[SERVICES].relay.drained(settings.drain_s)
    finally:
        await runner.cleanup()  # this stops accepting, then waits for running requests
    log.info("front door stopped")


def _listen(settings: Settings) -> socket.socket:
    """The socket that a parent passed down, otherwise a new one."""
    if settings.listen_fd is not None:
        return socket.socket(fileno=settings.listen_fd)
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(f"PORT={settings.port}: cannot listen on {settings.host}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
