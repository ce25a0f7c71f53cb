"""Relays events from workers to the callers of this process: pub/sub for speed, the journal for truth.

This process subscribes to its own channel once, at its start. A follower accepts only the next sequence number; after a
gap, a lost subscription, a second of silence, or when its reader is slow, it reads the journal instead.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from shared.errors import Expired, RebootError, Unavailable
from shared.job import Done, Event, Failed, bytes_of, unpack_event
from shared.queue.journal import Heard, Reading, parse_message, read_on
from shared.runtime.alarm import Alarm
from shared.runtime.metrics import JOURNAL_READS
from shared.stores import keys
from shared.stores.redis_client import UNREACHABLE, connected
from shared.stores.redis_connections import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis.asyncio

    from shared.settings import Settings
    from shared.stores.scripts import Scripts

log = structlog.get_logger(__name__)
JOURNAL_EVENTS_PER_READ = 64
RESUBSCRIBE_PAUSE_S = 0.1
LOST = "The queue lost the request on its way; it is not charged: try again."
LAST_WORDS_S = 2.0
SUBSCRIPTION_CHECK_S = 3.0
SUBSCRIPTION_SILENT_S = 9.0
"""Without an answer to our pings for this long, a subscription is half-open."""


STOPPING = (
    "The service is restarting: the request goes on without this call and is charged. What comes of it is in"
    " GET /api/requests/{id}."
)


class RequestLost(Unavailable):
    """Redis knows nothing of the request any more, neither a job nor an end, or what was read is not in the journal any more:
    it was emptied or failed over.
    """


class RequestOverdue(Expired):
    """The request should have ended long ago, and is silent."""


class DoorClosed(Unavailable):
    """This process stops; the request goes on."""


class Follower:
    """One request's events in order, each once: `async for event in follower` ends after the last one.

    Raises `RequestLost`, `RequestOverdue`, or `Unavailable` when the journal cannot be read for too long; may then be
    iterated again.
    """

    def __init__(
        self, request_id: str, scripts: Scripts, settings: Settings, first: int = 0, channel: str = ""
    ) -> None:
        self.request_id = request_id
        self._channel = channel
        self.sequence = first
        """Of the next event to be handed out."""
        self.overdue_at = math.inf
        """Unix seconds; whoever follows may set it and move it."""
        self.asked_with: tuple[str, datetime] | None = None
        """The reader's key, and since when it reads."""
        self.when_left: Callable[[], None] | None = None
        """What to do when the reader goes away before the end, or is sent away because its key has ended."""
        self._scripts = scripts
        self._settings = settings
        self._buffer: deque[tuple[Event, int]] = deque()
        self.buffered_bytes = 0
        """What waits for the reader; beyond `RELAY_BUFFER_BYTES` it waits in the journal."""
        self._next = first
        """Of the next event to be buffered."""
        self._begun = b""
        """Who began the journal that we read; what somebody else begins is not what goes on here."""
        self._look_up = False
        self._news = asyncio.Event()
        self._silence = Alarm(self.look_up)
        self._ended = False
        self._closed: RebootError | None = None

    def hear(self, heard: Heard) -> None:
        """Take a live event. Anything but the next one, anything beyond the buffer's limit and anything of another journal
        sends us to the journal.
        """
        fits = heard.sequence == self._next and not self._look_up and self._is_ours(heard.begun)
        if fits and self.buffered_bytes < self._settings.relay_buffer_bytes:
            self._push(heard.event, heard.begun)
        elif heard.sequence >= self._next or not self._is_ours(heard.begun):
            self._look_up = True
        self._news.set()

    def look_up(self) -> None:
        """Something may have been missed."""
        self._look_up = True
        self._news.set()

    def end(self) -> None:
        """Nobody reads any more."""
        self._silence.stop()

    def close(self, why: RebootError) -> None:
        """Hand out what is buffered, then raise `why`."""
        self._closed = why
        self._news.set()

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> Event:
        if self._ended:
            raise StopAsyncIteration
        while not self._buffer:
            if self._closed:
                raise self._closed
            if self._look_up:
                await self._read_journal()
            else:
                await self._wait()
        event, size = self._buffer.popleft()
        self.buffered_bytes -= size
        self.sequence += 1
        self._ended = isinstance(event, Done | Failed)
        return event

    async def _wait(self) -> None:
        self._silence.set(asyncio.get_running_loop().time() + self._settings.relay_silence_s)
        await self._news.wait()
        self._silence.clear()
        self._news.clear()

    async def _read_journal(self) -> None:
        JOURNAL_READS.inc()
        self._look_up = False  # first: what is heard while we read shows up as a gap and sends us here again
        first = self._next
        found = await self._journal_from(first)
        if not self._is_ours(found.begun):
            raise RequestLost(LOST)
        for entry in found.entries[self._next - first :]:  # without what was heard while we read
            self._push(unpack_event(entry), found.begun)
        self._look_up |= bool(found.entries)  # there may be more; the live feed takes over when there is none
        if not found.entries and not found.alive:
            raise RequestLost(LOST)
        if not found.entries and time.time() > self.overdue_at:
            raise RequestOverdue("The request did not end within its deadline: try again later.")

    async def _journal_from(self, first: int) -> Reading:
        loop = asyncio.get_running_loop()
        gives_up_at = loop.time() + self._settings.redis_patience_s
        limits = {"events_max": JOURNAL_EVENTS_PER_READ, "bytes_max": self._settings.relay_buffer_bytes}
        while True:
            try:
                return await read_on(self._scripts, self.request_id, first, channel=self._channel, **limits)
            except Unavailable:
                if loop.time() > gives_up_at:
                    raise
                await asyncio.sleep(self._settings.idle_wait_s)

    def _is_ours(self, begun: bytes) -> bool:
        """Whether this is the journal that we have read, as far as that is known."""
        return not (begun and self._begun) or begun == self._begun

    def _push(self, event: Event, begun: bytes) -> None:
        self._begun = begun or self._begun
        size = 0 if isinstance(event, Done | Failed) else bytes_of(event)
        self._buffer.append((event, size))
        self.buffered_bytes += size
        self._next += 1


class Relay:
    """This process's channel and the followers on it. `run` is the subscriber, a task of the owner."""

    def __init__(self, client: redis.asyncio.Redis, scripts: Scripts, settings: Settings, front_door_id: str) -> None:
        self.channel = keys.channel(front_door_id)
        self._client = client
        self._scripts = scripts
        self._settings = settings
        self._followers: dict[str, set[Follower]] = {}
        self._nobody = asyncio.Event()
        self._nobody.set()

    def __len__(self) -> int:
        return sum(map(len, self._followers.values()))

    def follow(self, request_id: str, first: int = 0) -> Follower:
        """Register before the job is enqueued, so that nothing can come too early."""
        follower = Follower(request_id, self._scripts, self._settings, first, self.channel)
        self._followers.setdefault(request_id, set()).add(follower)
        self._nobody.clear()
        return follower

    def follows(self, request_id: str) -> bool:
        """Whether the request has a reader here."""
        return request_id in self._followers

    def forget(self, follower: Follower) -> None:
        """Stop listening."""
        follower.end()
        followers = self._followers.get(follower.request_id, set())
        followers.discard(follower)
        if not followers:
            self._followers.pop(follower.request_id, None)
        if not self._followers:
            self._nobody.set()

    async def drained(self, timeout_s: float) -> None:
        """Wait until nobody follows any more; after `timeout_s` those who still do are told that this process stops."""
        if not await self._nobody_follows_within(timeout_s):
            for follower in self._all():
                follower.close(DoorClosed(STOPPING))
            await self._nobody_follows_within(LAST_WORDS_S)

    async def _nobody_follows_within(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._nobody.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Listen until cancelled; after every loss subscribe again and let all followers look into their journals."""
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
        except ValueError:  # a worker of another release, say; what is missed is found in the journals
            log.warning("message not understood")
