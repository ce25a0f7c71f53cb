"""Counts the creation of a batch as one request of its key; the batch's lines are not counted."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from api.http.rates import tell_left, tell_limit
from api.http.state import REQUEST_ID
from shared.errors import RateLimited, Unavailable

if TYPE_CHECKING:
    from aiohttp import web

    from api.services import Services
    from shared.ledger.api_keys import ApiKey


class Counting:
    """Of one request that creates a batch, or repeats an earlier one: a repeat is not counted, a key with another body is."""

    def __init__(self, request: web.Request, services: Services, key: ApiKey) -> None:
        self._request = request
        self._services = services
        self._key = key
        self._done = False
        if key.rpm:
            tell_limit(request, key.rpm)

    async def once(self) -> None:
        """Unless it is counted. Raises `RateLimited` or `Unavailable`."""
        if self._done or not self._key.rpm:
            return
        try:
            state = await self._services.queue.count(self._request[REQUEST_ID], key_id=self._key.id, rpm=self._key.rpm)
        except RateLimited as error:
            tell_left(self._request, 0, error.retry_after_s or 0)
            raise
        self._done = True
        tell_left(self._request, *state)

    async def made(self) -> None:
        """There is a new batch, whatever its key led to when the upload began: it is not refused any more."""
        with contextlib.suppress(RateLimited, Unavailable):
            await self.once()
