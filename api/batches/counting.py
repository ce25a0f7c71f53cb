"""Counts the creation of a batch as one request of its key. The lines of the batch are not counted."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from api.http.rates import tell_limit, tell_remaining
from api.http.state import REQUEST_ID
from shared.errors import RateLimited, Unavailable

if TYPE_CHECKING:
    from aiohttp import web

    from api.services import Services
    from shared.ledger.api_keys import ApiKey


class Counting:
    """Counts one HTTP request that creates a batch. A repeat of an earlier request is not counted; a used Idempotency-Key
    with another body is.
    """

    def __init__(self, request: web.Request, services: Services, key: ApiKey) -> None:
        self._request = request
        self._services = services
        self._key = key
        self._done = False
        if key.rpm:
            tell_limit(request, key.rpm)

    async def once(self) -> None:
        """Count the HTTP request, unless it was counted before. Raises `RateLimited` or `Unavailable`."""
        if self._done or not self._key.rpm:
            return
        try:
            state = await self._services.queue.count(self._request[REQUEST_ID], key_id=self._key.id, rpm=self._key.rpm)
        except RateLimited as error:
            tell_remaining(self._request, 0, error.retry_after_s or 0)
            raise
        self._done = True
        tell_remaining(self._request, *state)

    async def made(self) -> None:
        """Count a batch that was created, even if its Idempotency-Key was known when the upload began. This call
        refuses nothing.
        """
        with contextlib.suppress(RateLimited, Unavailable):
            await self.once()
