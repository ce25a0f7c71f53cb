"""Passes events from workers on to the followers of this process, over its one subscription to its own channel."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from api.requests.follower import DoorClosed, Follower, room_for_events
from shared.queue.journal import parse_message
from shared.stores import keys
from shared.stores.redis_client import UNREACHABLE, connected
from shared.stores.redis_connections import Subscription

if TYPE_CHECKING:
    import redis.asyncio

    from shared.settings import Settings
    from shared.stores.scripts import Scripts

log = structlog.get_logger(__name__)
RESUBSCRIBE_PAUSE_S = 0.1
READERS_LEAVE_WITHIN_S = 2.0
SUBSCRIPTION_CHECK_S = 3.0
SUBSCRIPTION_SILENT_S = 9.0
"""A subscription is dead if our pings get no answer for this long."""
STOPPING = (
    "The service is restarting: the request goes on without this call and is charged. What comes of it is in"
    " GET /api/requests/{id}."
)


class Relay:
    """This process's channel and its followers. The owner runs `run` as a task."""

    def __init__(self, client: redis.asyncio.Redis, scripts: Scripts, settings: Settings, front_door_id: str) -> None:
        self.channel = keys.channel(front_door_id)
        self._client = client
        self._scripts = scripts
        self._settings = settings
        self._room = room_for_events(settings)
        self._followers: dict[str, set[Follower]] = {}
        self._nobody = asyncio.Event()
        self._nobody.set()

    def __len__(self) -> int:
        return sum(map(len, self._followers.values()))

    def follow(self, request_id: str, first: int = 0) -> Follower:
        """Register a follower. This must happen before the job is enqueued, so that no event comes too early."""
        follower = Follower(request_id, self._scripts, self._settings, first, self.channel, self._room)
        self._followers.setdefault(request_id, set()).add(follower)
        self._nobody.clear()
        return follower

    def follows(self, request_id: str) -> bool:
        """True if the request has a reader in this process."""
        return request_id in self._followers

    def forget(self, follower: Follower) -> None:
        """Unregister a follower."""
        follower.end()
        followers = self._followers.get(follower.request_id, set())
        followers.discard(follower)
        if not followers:
            self._followers.pop(follower.request_id, None)
        if not self._followers:
            self._nobody.set()

    async def drained(self, timeout_s: float) -> None:
        """Wait until there are no followers; after `timeout_s` the remaining ones are told that this process stops."""
        if not await self._nobody_follows_within(timeout_s):
            for follower in self._all():
                follower.close(DoorClosed(STOPPING))
            await self._nobody_follows_within(READERS_LEAVE_WITHIN_S)

    async def _nobody_follows_within(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._nobody.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Listen until cancelled. After each loss subscribe again and make all followers read their journals."""
        while True:
            try:
                await self._listen()
            except UNREACHABLE as error:
                log.warning("subscription lost", reason=type(error).__name__, followers=len(self))
            await asyncio.sleep(RESUBSCRIBE_PAUSE_S)

    async def _listen(self) -> None:
        subscription = Subscription(self.channel, subscribed=self._look_up_all, hear=self._hand_on)
        try:
            await connected(self._client, subscription)
            await subscription.listen(ping_s=SUBSCRIPTION_CHECK_S, silent_s=SUBSCRIPTION_SILENT_S)
        finally:
            subscription.close()

    def _look_up_all(self) -> None:
        for follower in self._all():
            follower.look_up()

    def _all(self) -> list[Follower]:
        return [follower for followers in self._followers.values() for follower in followers]

    def _hand_on(self, data: bytes) -> None:
        try:
            for heard in parse_message(data):
                for follower in self._followers.get(heard.request_id, ()):
                    follower.hear(heard)
        except ValueError:  # perhaps a worker of another release; missed events are in the journals
            log.warning("message not understood")
