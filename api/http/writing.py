"""Writes bodies no faster than the caller takes them, and no more bodies at once than there is room for.

`slow_readers.py` cuts off callers that take nothing, or nearly nothing. Such an end appears here as a `ConnectionError`
or a cancellation, as if the caller had gone away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import NamedTuple, Self

from aiohttp import web

from api.http.state import ANSWERS, SETTINGS
from shared.runtime.byte_budget import HeldBytes

PART_BYTES = 65_536
"""Bytes of a large body that are written before the reader must have taken them."""
JSON = "application/json"
NDJSON = "application/x-ndjson"


async def room_for(request: web.Request, size: int, owner: str) -> AbstractContextManager[HeldBytes | None]:
    """Room for an answer of about `size` bytes, taken before it is created; a small answer needs none.
    Raises `Overloaded`.
    """
    if size <= PART_BYTES:
        return nullcontext()
    return await request.app[ANSWERS].hold(size, owner, within_s=request.app[SETTINGS].answer_within_s)


async def answer(
    request: web.Request,
    body: bytes,
    owner: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    held: HeldBytes | None = None,
    within_s: float = 0,
) -> web.StreamResponse:
    """Send a whole answer in JSON. A large one counts for the account `owner` while it is sent, unless `held` counts it
    already. Raises `Overloaded` if there is no room `within_s`.
    """
    if len(body) <= PART_BYTES:
        return web.Response(body=body, status=status, content_type=JSON, headers=headers)
    with held or await request.app[ANSWERS].hold(len(body), owner, within_s=within_s) as room:
        room.shrink(len(body))
        return await send_whole(request, body, status=status, headers={**(headers or {}), "Content-Type": JSON})


async def send_whole(
    request: web.Request, body: bytes, *, status: int = 200, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send a body of known length in parts, however large; for bodies that stay in memory anyway."""
    if len(body) <= PART_BYTES or request.method == "HEAD":
        return web.Response(body=body, status=status, headers=headers)
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    async with BodyWriter(request, response) as writer:
        await writer.write(body)
        await writer.end()
    return response


def break_off(request: web.Request) -> None:
    """Close the connection after what was written, without the final chunk: with a FIN, or with a reset if the reader
    is stuck.
    """
    if request.transport:
        request.transport.close()


class Keepalive(NamedTuple):
    """A keep-alive signal that is sent whenever nothing was sent for `every_s`."""

    signal: bytes
    every_s: float


class BodyWriter:
    """Writes a body piece by piece: before the next piece is written, the kernel must have taken all but a part of the last
    one. Use it with `async with`.
    """

    def __init__(self, request: web.Request, response: web.StreamResponse, keepalive: Keepalive | None = None) -> None:
        self._request = request
        self._response = response
        self._keepalive = keepalive
        self._keeping: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._preparing = asyncio.Lock()
        self._writes = 0
        """The number of writes that are under way; a keep-alive signal may be the second one."""
        self._wrote_at = self._loop.time()
        self.begun = False
        """True once the status was sent."""

    async def __aenter__(self) -> Self:
        if self._keepalive:
            self._keeping = self._loop.create_task(self._keep_alive(*self._keepalive))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeping:
            self._keeping.cancel()

    async def write(self, data: bytes) -> None:
        """Write a piece. The first one also sends status and headers; an empty one sends only them."""
        self.begun = True
        self._wrote_at = self._loop.time()
        self._writes += 1
        try:
            if not self._response.prepared or self._preparing.locked():
                await self._prepare()
            if len(data) <= PART_BYTES:
                await self._write_part(data)
            else:
                whole = memoryview(data)
                for begin in range(0, len(whole), PART_BYTES):
                    await self._write_part(whole[begin : begin + PART_BYTES])
        finally:
            self._writes -= 1

    async def end(self) -> None:
        """End the body properly."""
        if self._keeping:
            self._keeping.cancel()
        await self.write(b"")
        await self._response.write_eof()

    async def _write_part(self, part: bytes | memoryview) -> None:
        if part:
            await self._response.write(part)
            await self._request.writer.drain()  # aiohttp itself waits only after 64 KB

    async def _prepare(self) -> None:
        async with self._preparing:
            if not self._response.prepared:
                await self._response.prepare(self._request)

    async def _keep_alive(self, signal: bytes, every_s: float) -> None:
        with suppress(ConnectionError):  # the next write raises it again
            while True:
                idle_s = self._loop.time() - self._wrote_at
                if idle_s >= every_s and not self._writes and self._takes_more():
                    await self.write(signal)
                    idle_s = 0.0
                await asyncio.sleep(every_s - idle_s if idle_s < every_s else every_s)

    def _takes_more(self) -> bool:
        """True if the reader has nothing left to read. Only then is a keep-alive signal sent: nothing may ever wait for
        the reader because of it.
        """
        transport = self._request.transport
        return transport is not None and not transport.get_write_buffer_size()
