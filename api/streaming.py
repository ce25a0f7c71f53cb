"""Writes a request's events to its caller as they come, in the form of its API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from aiohttp import web

from shared.alarm import Alarm
from shared.job import Event, Failed

if TYPE_CHECKING:
    from shared.settings import Settings


EVENT_STREAM = "text/event-stream"


class StreamForm(Protocol):
    """How events look on the wire."""

    content_type: str
    keepalive: bytes | None
    """What may be sent before the first token; None when the status must wait for it."""

    def render(self, sequence: int, event: Event) -> bytes:
        """The bytes of one event."""

    def clean_end(self, event: Event) -> bool:
        """Whether the transfer ends tidily after `event`, rather than visibly broken."""


def accepts(header: str, kind: str) -> bool:
    """Whether an `Accept` header names this media type and does not rule it out."""
    kinds = [one.replace(" ", "").lower().split(";") for one in header.split(",")]
    return any(name == kind and not {"q=0", "q=0.0", "q=0.00", "q=0.000"} & set(rest) for name, *rest in kinds)


async def send_stream(
    request: web.Request,
    events: AsyncIterator[Event],
    form: StreamForm,
    headers: dict[str, str],
    settings: Settings,
    *,
    first: int = 0,
) -> web.StreamResponse:
    """Send all events, numbered from `first`. A failure before the first byte is raised, so that it has a status of its own.

    Raises `ConnectionError` when the caller is gone, or reads nothing for `WRITE_TIMEOUT_S`.
    """
    response = web.StreamResponse(headers={**headers, "X-Accel-Buffering": "no", "Content-Type": form.content_type})
    response.charset = "utf-8"
    sequence = first
    keepalive = Keepalive(form.keepalive, settings.sse_keepalive_s) if form.keepalive else None
    async with BodyWriter(request, response, settings.write_timeout_s, keepalive) as body:
        async for event in events:
            if isinstance(event, Failed) and not body.begun:
                raise event.as_error()
            await body.write(form.render(sequence, event))
            sequence += 1
            if isinstance(event, Failed) and not form.clean_end(event):
                _break_off(request, settings.write_timeout_s)
                return response
        await body.end()
    return response


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


def _break_off(request: web.Request, within_s: float) -> None:
    """Close the connection after what was written, without the final chunk: a FIN, and only a stuck reader gets a reset."""
    transport = request.transport
    if transport:
        transport.close()
        asyncio.get_running_loop().call_later(within_s, transport.abort)
