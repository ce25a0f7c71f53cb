"""Sends the results of a batch line by line, with a bounded number of pages in memory."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from api.http.state import RESULTS, SETTINGS
from api.http.writing import NDJSON, BodyWriter
from api.services import SERVICES
from shared.batches.batches import Batch
from shared.batches.results import Result, read_results
from shared.errors import Overloaded
from shared.runtime.byte_budget import HeldBytes

Render = Callable[[Result], bytes]
"""Makes the bytes that are sent for a result; empty if the result is left out."""


async def send_results(request: web.Request, batch: Batch, render: Render, after: int = 0) -> web.StreamResponse:
    """Send all ended lines after number `after` as one body. An error before the first line is raised and has a status of
    its own. An error after it breaks the transfer off, so that half a file never looks complete.
    """
    pool, settings = request.app[SERVICES].pool, request.app[SETTINGS]
    response = web.StreamResponse(headers={"Cache-Control": "no-store", "Content-Type": NDJSON})
    more = True
    async with BodyWriter(request, response) as body:
        while more:
            with await _memory(request, batch, begun=body.begun) as held:
                page = await read_results(pool, batch, settings.results_page_bytes_max, after)
                after, more, left_bytes = page.after, page.more, page.size_bytes
                while page.results:
                    held.shrink(left_bytes)
                    left_bytes -= page.results[0].size_bytes
                    await _send(body, render(page.results.popleft()))
        await body.end()
    return response


async def _send(body: BodyWriter, line: bytes) -> None:
    """Send one line. The function keeps no reference to the line afterwards, so its memory is free."""
    if line:
        await body.write(line)


async def _memory(request: web.Request, batch: Batch, *, begun: bool) -> HeldBytes:
    """Reserve memory for a page of results, or for one longer line with its request and its answer. A download that has
    begun waits longer for it.
    """
    settings = request.app[SETTINGS]
    size = max(settings.results_page_bytes_max, 2 * settings.batch_line_bytes_max)
    within_s = settings.results_go_on_within_s if begun else settings.results_begin_within_s
    try:
        return await request.app[RESULTS].hold(size, batch.account_id, within_s=within_s)
    except Overloaded:
        raise Overloaded(
            "So many results are being downloaded that there is no room for more: try again shortly."
        ) from None
