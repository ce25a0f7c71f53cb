"""Reads one request's events for its caller: live ones from the channel, because it is fast, and others from the
journal, because it is complete.

A follower accepts only the next sequence number. After a gap, a lost subscription, or a second of silence, and if there is
no room for events because the reader is slow or the events are large, it reads the journal instead.
"""

from __future__ import annotations

import asyncio
import math
from datetime import datetime
from typing import TYPE_CHECKING

from api.requests.event_buffer import EVENT_BYTES, OWN_BYTES, EventBuffer
from shared import clock
from shared.errors import Expired, Overloaded, RebootError, Unavailable
from shared.job import Done, Event, Failed, unpack_event
from shared.queue.journal import Heard, Reading, read_on
from shared.runtime.alarm import Alarm
from shared.runtime.byte_budget import ByteBudget
from shared.runtime.metrics import JOURNAL_READS

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.settings import Settings
    from shared.stores.scripts import Scripts

JOURNAL_EVENTS_PER_READ = 64
LOST = "The queue lost the request on its way; it is not charged: try again."
NO_ROOM = (
    "So much waits for slow readers that there is no room for the answer: the request goes on without this call and is"
    " charged. What comes of it is in GET /api/requests/{id}."
)


class RequestLost(Unavailable):
    """Redis knows neither a job nor an end of the request, or the events that were read are no longer in the journal: Redis
    was emptied or failed over.
    """


class RequestOverdue(Expired):
    """The request should have ended long ago, and no event of it comes."""


class DoorClosed(Unavailable):
    """This process stops, or has no room for the answer; the request goes on."""


class Follower:
    """One request's events in order, each once: `async for event in follower` ends after the last one. Raises
    `RequestLost`, `RequestOverdue`, `Unavailable` if the journal cannot be read for too long, or `DoorClosed` if there is
    no room for an event; afterwards it may be iterated again.
    """

    def __init__(
        self,
        request_id: str,
        scripts: Scripts,
        settings: Settings,
        first: int = 0,
        channel: str = "",
        room: ByteBudget | None = None,
    ) -> None:
        self.request_id = request_id
        self._channel = channel
        self.sequence = first
        """The number of the next event to be handed out."""
        self.overdue_at = math.inf
        """The time at which the request is overdue, in Unix seconds; its owner may set and change it."""
        self.asked_with: tuple[str, datetime] | None = None
        """The id of the reader's key, and the time at which it began to read."""
        self.when_left: Callable[[], None] | None = None
        """Called if the reader goes away before the end, or is sent away because its key has ended."""
        self._scripts = scripts
        self._settings = settings
        self.buffer = EventBuffer(room or room_for_events(settings), settings.relay_buffer_bytes)
        """Events that wait for the reader; beyond `RELAY_BUFFER_BYTES` they wait in the journal."""
        self._next = first
        """The number of the next event to be buffered."""
        self._begun_by = b""
        """The owner of the claim that began the journal which is read here. A journal that another owner began contains
        another answer.
        """
        self._look_up = False
        self._news = asyncio.Event()
        self._silence = Alarm(self.look_up)
        self._ended = False
        self._closed: RebootError | None = None

    def hear(self, heard: Heard) -> None:
        """Take a live event. The follower reads the journal instead if this is not the next event, if there is no room
        for it, or if it belongs to another journal.
        """
        is_next = heard.sequence == self._next and not self._look_up and self._is_ours(heard.begun_by)
        if is_next and self.buffer.take_if_room(heard.event):
            self._count(1, heard.begun_by)
        elif heard.sequence >= self._next or not self._is_ours(heard.begun_by):
            self._look_up = True
        self._news.set()

    def look_up(self) -> None:
        """Read the journal, because something may have been missed."""
        self._look_up = True
        self._news.set()

    def end(self) -> None:
        """Stop: nobody reads any more."""
        self._silence.stop()
        self.buffer.clear()

    def close(self, why: RebootError) -> None:
        """Hand out what is buffered, then raise `why`."""
        self._closed = why
        self._news.set()

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> Event:
        self.buffer.forget_handed_out()
        if self._ended:
            raise StopAsyncIteration
        while not self.buffer:
            if self._closed:
                raise self._closed
            if self._look_up:
                await self._read_journal()
            else:
                await self._wait()
        event = self.buffer.next()
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
        self._look_up = False  # cleared first: an event that is heard during the read leaves a gap and sets it again
        found = await self._take_from_journal()
        self._look_up |= bool(found.entries)  # read on as long as there are entries; then the live feed takes over
        if not found.entries and not found.alive:
            raise RequestLost(LOST)
        if not found.entries and clock.now_s() > self.overdue_at:
            raise RequestOverdue("The request did not end within its deadline: try again later.")

    async def _take_from_journal(self) -> Reading:
        """Read as much as there is room for now. Only a large event waits for room, because there is no other way to
        continue.
        """
        first = self._next
        held = self.buffer.room_for_some()
        try:
            found = await self._journal_from(first, held.size if held else OWN_BYTES)
            if found.left_out:
                if held:
                    held.release()
                held = await self.buffer.room_for(found.left_out, self._settings.relay_within_s)
                found = await self._journal_from(first, found.left_out)
            if not self._is_ours(found.begun_by):
                raise RequestLost(LOST)
            events = [unpack_event(entry) for entry in found.entries[self._next - first :]]
            if events:  # otherwise everything was heard during the read
                self.buffer.take(events, held)
                self._count(len(events), found.begun_by)
                held = None
        except Overloaded:
            raise DoorClosed(NO_ROOM) from None
        finally:
            if held:
                held.release()
        return found

    async def _journal_from(self, first: int, bytes_max: int) -> Reading:
        loop = asyncio.get_running_loop()
        gives_up_at = loop.time() + self._settings.redis_patience_s
        events_max = max(1, min(JOURNAL_EVENTS_PER_READ, bytes_max // EVENT_BYTES))
        limits = {"events_max": events_max, "bytes_max": bytes_max, "first_bytes_max": bytes_max}
        while True:
            try:
                return await read_on(self._scripts, self.request_id, first, channel=self._channel, **limits)
            except Unavailable:
                if loop.time() > gives_up_at:
                    raise
                await asyncio.sleep(self._settings.idle_wait_s)

    def _is_ours(self, begun_by: bytes) -> bool:
        """True if this is the journal that was read before, as far as that is known."""
        return not (begun_by and self._begun_by) or begun_by == self._begun_by

    def _count(self, events: int, begun_by: bytes) -> None:
        self._begun_by = begun_by or self._begun_by
        self._next += events


def room_for_events(settings: Settings) -> ByteBudget:
    """Room for the events of all followers of a process; one account may have half."""
    return ByteBudget("relayed events", total=settings.relay_bytes_max, share=settings.relay_bytes_max // 2)
