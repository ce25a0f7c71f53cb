"""Writes lines to a caller as they are read from the database, no faster than the caller takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from aiohttp import web

from api.streaming import BodyWriter

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
