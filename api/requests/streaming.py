"""Writes a request's events to its caller as they come, in the form of its API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from api.formats.asked import StreamForm
from api.http.state import HELD_STREAMS, MAY_BE_SILENT
from api.http.writing import BodyWriter, Keepalive, break_off
from shared.job import Event, Failed, Served

if TYPE_CHECKING:
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
    told: Callable[[str | None], dict[str, str]] | None = None,
) -> web.StreamResponse:
    """Send all events, numbered from `first`.

    A failure before the first byte is raised, so that it has a status of its own. Bytes that the form holds until its end
    count for the account `owner`; if there is no room in time, the stream is broken off, and may be read again. `told`
    makes the headers that depend on the model that serves (None for the first one); they are sent if the model is known in
    time. Raises `ConnectionError` if the caller is gone, or was cut off because it takes too little.
    """
    response = web.StreamResponse(headers={**headers, "X-Accel-Buffering": "no", "Content-Type": form.content_type})
    response.charset = "utf-8"
    sequence = first
    request[MAY_BE_SILENT] = True
    keepalive = Keepalive(form.keepalive, settings.sse_keepalive_s) if form.keepalive else None
    with request.app[HELD_STREAMS].of(owner) as held:
        async with BodyWriter(request, response, keepalive) as body:
            if (opening := form.opening()) is not None:
                await body.write(opening)
            async for event in events:
                if isinstance(event, Failed) and not body.begun:
                    raise event.as_error()
                if told and not body.begun:
                    response.headers.update(told(event.model if isinstance(event, Served) else None))
                told = None
                if isinstance(event, Served):
                    form.served_by(event.model)
                    sequence += 1
                    continue
                rendered = form.render(sequence, event)
                for data in (rendered,) if isinstance(rendered, bytes) else rendered:
                    if form.held_bytes > held.size and not await held.grow_to(form.held_bytes, settings.relay_within_s):
                        return _broken_off(request, response)
                    await body.write(data)
                sequence += 1
                if isinstance(event, Failed) and not form.clean_end(event):
                    return _broken_off(request, response)
            await body.end()
    return response


def _broken_off(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    break_off(request)
    return response
