"""Counts the creation of a batch as one request of its key; the batch's lines are not counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.http.rates import tell_left, tell_limit
from api.http.state import REQUEST_ID
from shared.errors import RateLimited

if TYPE_CHECKING:
    from aiohttp import web

    from api.services import Services
    from shared.ledger.api_keys import ApiKey


async def count_creation(request: web.Request, services: Services, key: ApiKey) -> None:
    """For a creation that is no repeat. Raises `RateLimited` or `Unavailable`."""
    if not key.rpm:
        return
    tell_limit(request, key.rpm)
    try:
        state = await services.queue.count(request[REQUEST_ID], key_id=key.id, rpm=key.rpm)
    except RateLimited as error:
        tell_left(request, 0, error.retry_after_s or 0)
        raise
    tell_left(request, *state)
