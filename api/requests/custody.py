"""Watches over requests whose callers come back later. If Redis loses them, they are enqueued again, like requests
whose callers wait. Requests of a front door that dies are left to the queue, which Redis's append-only file preserves.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from api.requests.follower import RequestLost
from api.requests.log import find_request
from shared.errors import RebootError, Unavailable
from shared.queue.journal import read_on

if TYPE_CHECKING:
    import asyncpg

    from api.requests.new_request import Admitted
    from api.requests.submit import Submitter
    from shared.settings import Settings
    from shared.stores.scripts import Scripts

log = structlog.get_logger(__name__)


class Custody:
    """Watches over requests: `watch(admitted)` watches over one until it has ended. The owner runs `run` as a task."""

    def __init__(
        self, pool: asyncpg.Pool, scripts: Scripts, submitter: Submitter, settings: Settings, channel: str
    ) -> None:
        self._pool = pool
        self._scripts = scripts
        self._submitter = submitter
        self._every_s = settings.custody_every_s
        self._requests_max = settings.custody_requests_max
        self._channel = channel
        self._watched: dict[str, Admitted] = {}
        self._begun: set[str] = set()

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, admitted: Admitted, *, begun: bool = False) -> None:
        """Watch over the request from now on; beyond the limit the oldest ones are left to the queue. A request that has
        `begun`, because its reader has seen a part of the answer, is not started again.
        """
        earlier = self._watched.get(admitted.job.id)
        if earlier and earlier is not admitted:
            earlier.copy.drop()
        while len(self._watched) >= self._requests_max:
            self._forget(next(iter(self._watched)))
        self._watched[admitted.job.id] = admitted
        if begun:
            self._begun.add(admitted.job.id)

    async def run(self) -> None:
        """Look every `CUSTODY_EVERY_S` until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await asyncio.gather(*(self._look_after(admitted) for admitted in list(self._watched.values())))

    async def _look_after(self, admitted: Admitted) -> None:
        request_id = admitted.job.id
        try:
            found = await read_on(self._scripts, request_id, 0, events_max=1, bytes_max=1)
            if found.entries:
                self._begun.add(request_id)
            if found.alive:
                return
            may_run = not found.entries and request_id not in self._begun and admitted.job.left_s() > 0
            if may_run and not await self._has_ended(admitted):
                await self._submitter.submit_again(admitted, self._channel)
                return
        except RequestLost as error:
            log.warning("request lost", request_id=request_id, reason=error.message)
        except Unavailable:
            return  # look again the next time
        except RebootError as error:
            log.warning("request lost", request_id=request_id, reason=error.message)
        self._forget(request_id)

    async def _has_ended(self, admitted: Admitted) -> bool:
        return (await find_request(self._pool, admitted.job.account_id, admitted.job.id)).state != "pending"

    def _forget(self, request_id: str) -> None:
        admitted = self._watched.pop(request_id, None)
        if admitted:
            admitted.copy.drop()
        self._begun.discard(request_id)
