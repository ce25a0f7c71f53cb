"""Writes bodies piece by piece, no faster than the caller takes them, and lets go of callers who take nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Self

from aiohttp import web

from shared.runtime.alarm import Alarm

if TYPE_CHECKING:
    from shared.settings import Settings

NDJSON = "application/x-ndjson"


async def send_lines(
    request: web.Request, pieces: AsyncIterator[bytes], settings: Settings, headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """All pieces as one body. What fails before the first piece is raised and has a status of its own; a failure after it
    breaks the transfer off, so that no half of a file looks like all of it.
    """
    response = web.StreamResponse(headers={"Cache-Control": "no-store", **(headers or {}), "Content-Type": NDJSON})
    async with BodyWriter(request, response, settings.write_timeout_s) as body:
        async for piece in pieces:
            await body.write(piece)
        await body.end()
    return response


def break_off(request: web.Request, within_s: float) -> None:
    """Close the connection after what was written, without the final chunk: a FIN, and only a stuck reader gets a reset."""
    transport = request.transport
    if transport:
        transport.close()
        asyncio.get_running_loop().call_later(within_s, transport.abort)


class Keepalive(NamedTuple):
    """`signal` is sent whenever nothing was for `every_s`."""

    signal: bytes
    every_s: float


class BodyWriter:
    """Writes a body piece by piece. A caller who takes nothing for `within_s` is sent away, which is a `ConnectionError` here
    or a cancellation, as when he goes by himself. Used with `async with`.
    """

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        within_s: float,
        keepalive: Keepalive | None = None,
    ) -> None:
        self._request = request
        self._response = response
        self._within_s = within_s
        self._keepalive = keepalive
        self._keeping: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(self._send_away)
        self._preparing = asyncio.Lock()
        self._writes = 0
        """That are under way: a keep-alive signal may be one of two."""
        self._wrote_at = self._loop.time()
        self.begun = False
        """The status is on its way."""

    async def __aenter__(self) -> Self:
        if self._keepalive:
            self._keeping = self._loop.create_task(self._keep_alive(*self._keepalive))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._alarm.stop()
        if self._keeping:
            self._keeping.cancel()

    async def write(self, data: bytes) -> None:
        """The first piece sends the status and the headers, too; an empty one only them."""
        self.begun = True
        self._wrote_at = self._loop.time()
        self._alarm.set(self._wrote_at + self._within_s)
        self._writes += 1
        try:
            if not self._response.prepared or self._preparing.locked():
                await self._prepare()
            if data:
                await self._response.write(data)
        finally:
            self._writes -= 1
            if not self._writes:
                self._alarm.clear()

    async def end(self) -> None:
        """The tidy end of the body."""
        if self._keeping:
            self._keeping.cancel()
        await self.write(b"")
        self._alarm.set(self._loop.time() + self._within_s)
        await self._response.write_eof()

    async def _prepare(self) -> None:
        async with self._preparing:
            if not self._response.prepared:
                await self._response.prepare(self._request)

    async def _keep_alive(self, signal: bytes, every_s: float) -> None:
        with suppress(ConnectionError):  # whoever writes next meets it, too
            while True:
                idle_s = self._loop.time() - self._wrote_at
                if idle_s >= every_s and not self._writes and self._takes_more():
                    await self.write(signal)
                    idle_s = 0.0
                await asyncio.sleep(every_s - idle_s if idle_s < every_s else every_s)

    def _takes_more(self) -> bool:
        """Else it has something to read; and a signal must never be the one that waits for the reader."""
        transport = self._request.transport
        return transport is not None and not transport.get_write_buffer_size()

    def _send_away(self) -> None:
        if self._request.transport:
            self._request.transport.abort()
