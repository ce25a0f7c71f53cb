"""Writes a request's events to its caller as they come, in the form of its API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

from aiohttp import web

from api.formats.asked import StreamForm
from api.http.state import HELD_STREAMS, MAY_BE_SILENT
from api.http.writing import BodyWriter, Keepalive, break_off
from shared.job import Event, Failed, Served

if TYPE_CHECKING:
    from shared.runtime.growing_room import Growth
    from shared.settings import Settings


async def send_stream(
    request: web.Request,
    events: AsyncIterator[Event],
    form: StreamForm,
    headers: dict[str, str],
    settings: Settings,
    owner: str,
    *,
    first: int = 0,
    served_headers: Callable[[str | None], dict[str, str]] | None = None,
) -> web.StreamResponse:
    """Send all events, numbered from `first`.

    A failure before the first byte is raised, so that it has a status of its own. Bytes that the form holds until its end
    count for the account `owner`; if there is no room in time, the stream is broken off, and may be read again.
    `served_headers` makes the headers that depend on the model that serves (None for the first one); they are sent if
    the model is known in time. Raises `ConnectionError` if the caller is gone, or was cut off because it takes too little.
    """
    response = web.StreamResponse(headers={**headers, "X-Accel-Buffering": "no", "Content-Type": form.content_type})
    response.charset = "utf-8"
    request[MAY_BE_SILENT] = True
    keepalive = Keepalive(form.keepalive, settings.sse_keepalive_s) if form.keepalive else None
    with request.app[HELD_STREAMS].of(owner) as held:
        async with BodyWriter(request, response, keepalive) as body:
            writer = _EventWriter(form, body, held, settings.relay_within_s, first)
            if (opening := form.opening()) is not None:
                await body.write(opening)
            async for event in events:
                if isinstance(event, Failed) and not body.begun:
                    raise event.as_error()
                if served_headers and not body.begun:
                    response.headers.update(served_headers(event.model if isinstance(event, Served) else None))
                served_headers = None
                if not await writer.write(event):
                    break_off(request)
                    return response
            await body.end()
    return response


class _EventWriter:
    """Writes single events to a body in the form of the caller's API."""

    def __init__(self, form: StreamForm, body: BodyWriter, held: Growth, within_s: float, first: int) -> None:
        """`held` is the room for the bytes that the form holds; a larger one is waited for at most `within_s`."""
        self._form = form
        self._body = body
        self._held = held
        self._within_s = within_s
        self._sequence = first

    async def write(self, event: Event) -> bool:
        """Write one event. False if the stream must be broken off after it."""
        if isinstance(event, Served):
            self._form.served_by(event.model)
            is_whole = True
        else:
            is_whole = await self._write_rendered(self._form.render(self._sequence, event))
        self._sequence += 1
        return is_whole and (not isinstance(event, Failed) or self._form.clean_end(event))

    async def _write_rendered(self, rendered: bytes | Iterator[bytes]) -> bool:
        """False if there was no room in time for what the form holds."""
        for data in (rendered,) if isinstance(rendered, bytes) else rendered:
            holds = self._form.held_bytes
            if holds > self._held.size and not await self._held.grow_to(holds, self._within_s):
                return False
            await self._body.write(data)
        return True
