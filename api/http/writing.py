"""Writes bodies no faster than the caller takes them, and no more of them at once than there is room for.

Whoever takes nothing, or next to nothing, is cut off by `slow_readers.py`: that is a `ConnectionError` here or a
cancellation, as when the caller goes by himself.
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
"""Of a large body: what is written before the reader must have taken what was written."""
JSON = "application/json"
NDJSON = "application/x-ndjson"


async def room_for(request: web.Request, size: int, owner: str) -> AbstractContextManager[HeldBytes | None]:
    """Room for an answer of about `size` bytes, asked for before it is made; a small one needs none. Raises `Overloaded`."""
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
    """A whole answer in JSON. A large one of account `owner` is counted as long as it is being sent, unless `held` counts it
    already. Raises `Overloaded` when there is no room for it `within_s`.
    """
    if len(body) <= PART_BYTES:
        return web.Response(body=body, status=status, content_type=JSON, headers=headers)
    with held or await request.app[ANSWERS].hold(len(body), owner, within_s=within_s) as room:
        room.shrink(len(body))
        return await send_whole(request, body, status=status, headers={**(headers or {}), "Content-Type": JSON})


async def send_whole(
    request: web.Request, body: bytes, *, status: int = 200, headers: Mapping[str, str]
) -> web.StreamResponse:
    """A body of known length, however large, in parts; for what is in memory anyway."""
    if len(body) <= PART_BYTES or request.method == "HEAD":
        return web.Response(body=body, status=status, headers=headers)
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    async with BodyWriter(request, response) as writer:
        await writer.write(body)
        await writer.end()
    return response


def break_off(request: web.Request) -> None:
    """Close the connection after what was written, without the final chunk: a FIN, and only a stuck reader gets a reset."""
    if request.transport:
        request.transport.close()


class Keepalive(NamedTuple):
    """`signal` is sent whenever nothing was for `every_s`."""

    signal: bytes
    every_s: float


class BodyWriter:
    """Writes a body piece by piece; each is taken by the kernel, but for a part, before the next. Used with `async with`."""

    def __init__(self, request: web.Request, response: web.StreamResponse, keepalive: Keepalive | None = None) -> None:
        self._request = request
        self._response = response
        self._keepalive = keepalive
        self._keeping: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
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
        if self._keeping:
            self._keeping.cancel()

    async def write(self, data: bytes) -> None:
        """The first piece sends the status and the headers, too; an empty one only them."""
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
        """The tidy end of the body."""
        if self._keeping:
            self._keeping.cancel()
        await self.write(b"")
        await self._response.write_eof()

    async def _write_part(self, part: bytes | memoryview) -> None:
        if part:
            await self._response.write(part)
            await self._request.writer.drain()  # aiohttp itself waits after 64 KB only

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
