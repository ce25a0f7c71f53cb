"""Writes a request's events to its caller as they come, in the form of its API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

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
    sequence = first
    response = web.StreamResponse(headers={**headers, "X-Accel-Buffering": "no", "Content-Type": form.content_type})
    response.charset = "utf-8"
    async for event in _with_keepalive(events, settings.sse_keepalive_s) if form.keepalive else events:
        if isinstance(event, Failed) and not response.prepared:
            raise event.as_error()
        if not response.prepared:
            await response.prepare(request)
        data = form.render(sequence, event) if event else form.keepalive or b""
        sequence += event is not None
        await write_within(request, response, data, settings.write_timeout_s)
        if event and not form.clean_end(event) and isinstance(event, Failed):
            _break_off(request, settings.write_timeout_s)
            return response
    if not response.prepared:
        await response.prepare(request)
    await response.write_eof()
    return response


async def write_within(request: web.Request, response: web.StreamResponse, data: bytes, within_s: float) -> None:
    """Raises `ConnectionError` when the caller takes nothing for `within_s`."""
    if not data:
        return
    try:
        async with asyncio.timeout(within_s):
            await response.write(data)
    except TimeoutError:
        if request.transport:
            request.transport.abort()
        raise ConnectionResetError("the caller reads nothing") from None


async def _with_keepalive(events: AsyncIterator[Event], every_s: float) -> AsyncIterator[Event | None]:
    """The events, and None whenever there was none for `every_s`."""
    waiting: asyncio.Future[Event] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({waiting}, timeout=every_s)
            if not done:
                yield None
                continue
            try:
                event = waiting.result()
            except StopAsyncIteration:
                return
            waiting = None
            yield event
    finally:
        if waiting:
            waiting.cancel()


def _break_off(request: web.Request, within_s: float) -> None:
    """Close the connection after what was written, without the final chunk: a FIN, and only a stuck reader gets a reset."""
    transport = request.transport
    if transport:
        transport.close()
        asyncio.get_running_loop().call_later(within_s, transport.abort)
