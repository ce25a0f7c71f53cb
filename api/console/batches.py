"""`/console/batches`: a list of batches, one batch with its progress, and its results as a file."""

from __future__ import annotations

from aiohttp import web

from api.batches.at_once import batch_of
from api.batches.download import send_results
from api.console.frame import render_live
from api.console.session import CSRF, FORM_BYTES_MAX, Session, form_of, require_own_site, require_token
from api.endpoints.batches import native_body
from api.formats.native.batches import BatchView, view_of
from api.http.multipart import file_form
from api.http.reading import refuse_too_large
from api.services import SERVICES
from shared import clock
from shared.batches.batches import bad_lines_of, cancel_batch, find_batch, list_batches
from shared.batches.result_lines import result_line
from shared.batches.results import require_results
from shared.lanes import ServiceTier

ROWS = 50
BAD_LINES = 20
PAUSED_FOR = {
    "insufficient_credit": "It waits for credit.",
    "key_limit": "Its key has reached its spending limit.",
}
STOPPED_FOR = {
    "key_revoked": "It was cancelled because its key was revoked.",
    "key_expired": "It was cancelled because its key has expired.",
}


async def get_batches(request: web.Request, session: Session) -> web.Response:
    """List the batches; `?cursor=` selects an older page."""
    cursor = request.query.get("cursor") or None
    page = await list_batches(request.app[SERVICES].pool, session.key.account_id, after=cursor, limit=ROWS + 1)
    next_cursor = page[ROWS - 1].id if len(page) > ROWS else None
    batches = [view_of(batch) for batch in page[:ROWS]]
    return render_live(
        request, "batches.html", batches=batches, ended_of=_ended, cursor=cursor, next_cursor=next_cursor
    )


async def get_batch(request: web.Request, session: Session) -> web.Response:
    """Show a batch: its progress, rate and remaining time, and the first lines that were not understood."""
    services = request.app[SERVICES]
    batch = await find_batch(services.pool, session.key.account_id, request.match_info["id"])
    bad_lines = (await bad_lines_of(services.pool, [batch], BAD_LINES)).get(batch.file_id, [])
    view = view_of(batch)
    return render_live(
        request,
        "batch.html",
        batch=view,
        bad_lines=bad_lines,
        bad=batch.bad,
        ended=_ended(view),
        lines_per_s=_lines_per_s(view, batch.bad),
        why=PAUSED_FOR.get(view.paused_for or "") or STOPPED_FOR.get(view.reason or ""),
    )


async def post_batch(request: web.Request, session: Session) -> web.Response:
    """Create a batch from the lines of a file, which are read as they arrive. The form's token comes before the file."""
    services = request.app[SERVICES]
    require_own_site(request)
    form = await file_form(request)
    refuse_too_large(request, services.settings.batch_bytes_max + FORM_BYTES_MAX)
    filename = await form.to_file()
    require_token(session, form.fields.get(CSRF, ""))
    tier: ServiceTier = "flex" if form.fields.get("service_tier") == "flex" else "default"
    made = await batch_of(request, session.key, native_body(services, session.key, tier, filename), form.chunks())
    raise web.HTTPSeeOther(f"/console/batches/{made.batch.id}")


async def post_cancel(request: web.Request, session: Session) -> web.Response:
    """Cancel lines that have not started, and show the batch."""
    await form_of(request)
    services = request.app[SERVICES]
    within_s = services.settings.turn_timeout_s
    batch = await cancel_batch(services.pool, session.key.account_id, request.match_info["id"], within_s=within_s)
    raise web.HTTPSeeOther(f"/console/batches/{batch.id}")


async def get_results(request: web.Request, session: Session) -> web.StreamResponse:
    """Send every line that has ended, as `GET /api/batches/{id}/results` does."""
    services = request.app[SERVICES]
    batch = await find_batch(services.pool, session.key.account_id, request.match_info["id"])
    require_results(batch, services.settings.batch_days_kept)
    async with services.key_watch.stopping(session.key.id):
        return await send_results(request, batch, result_line)


def _ended(batch: BatchView) -> int:
    counts = batch.counts
    return counts.completed + counts.failed + counts.cancelled + counts.expired


def _lines_per_s(batch: BatchView, bad: int) -> float | None:
    """The average rate of a running batch since it began; None if it is unknown."""
    if batch.started_at is None or batch.ended_at is not None:
        return None
    ran_s = (clock.utc_now() - batch.started_at).total_seconds()
    done = _ended(batch) - bad
    return done / ran_s if done > 0 and ran_s > 0 else None
