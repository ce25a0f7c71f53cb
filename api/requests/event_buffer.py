"""Events that wait in memory for one reader, within the room that all readers of this process share."""

from __future__ import annotations

import sys
from collections import deque
from typing import NamedTuple

from shared.chat import CallPiece
from shared.job import Chunk, Done, Event, Failed, Served
from shared.runtime.byte_budget import ByteBudget, HeldBytes
from shared.thoughts import ThoughtPiece

OWN_BYTES = 4_096
"""Bytes that every reader may buffer without asking for room; a reader that keeps up needs less."""
EVENT_BYTES = 200
"""Bytes of an event beside its text."""


class EventBuffer:
    """A queue of events. An event counts until the next one is taken out, because it is being sent until then."""

    def __init__(self, room: ByteBudget, bytes_max: int) -> None:
        self.owner = ""
        """The id of the reader's account, which has a share of the room."""
        self.bytes = 0
        """Bytes of the waiting events; at `bytes_max` no more are taken."""
        self._room = room
        self._bytes_max = bytes_max
        self._events: deque[_Buffered] = deque()
        self._handed_out: HeldBytes | None = None

    def __len__(self) -> int:
        return len(self._events)

    def take_if_room(self, event: Event) -> bool:
        """Take the event if there is room for it at once; false if there is none."""
        size = _bytes_in_memory(event)
        if self.bytes + size <= min(OWN_BYTES, self._bytes_max):
            self._push(event, size)
            return True
        held = self._room.hold_now(size, self.owner) if self.bytes < self._bytes_max else None
        if held:
            self._push(event, size, held)
        return held is not None

    def room_for_some(self) -> HeldBytes | None:
        """Room for as many bytes as may wait, if there is any now; `OWN_BYTES` need none."""
        return self._room.hold_now(self._bytes_max, self.owner)

    async def room_for(self, size: int, within_s: float) -> HeldBytes:
        """Room for one large event. Raises `Overloaded`."""
        return await self._room.hold(size, self.owner, within_s=within_s)

    def take(self, events: list[Event], held: HeldBytes | None) -> None:
        """Take events that `held` was asked for; the room is released after the last of them."""
        sizes = [_bytes_in_memory(event) for event in events]
        if held:
            held.shrink(sum(sizes))
        for place, (event, size) in enumerate(zip(events, sizes, strict=True), start=1):
            self._push(event, size, held if place == len(events) else None)

    def next(self) -> Event:
        """The first event. Raises `IndexError` if there is none."""
        self.forget_handed_out()
        event, size, self._handed_out = self._events.popleft()
        self.bytes -= size
        return event

    def forget_handed_out(self) -> None:
        """Release the room of the event that was handed out last, because it was sent."""
        if self._handed_out:
            self._handed_out.release()
            self._handed_out = None

    def clear(self) -> None:
        """Drop all events, because nobody reads any more."""
        while self._events:
            self.next()
        self.forget_handed_out()

    def _push(self, event: Event, size: int, held: HeldBytes | None = None) -> None:
        self._events.append(_Buffered(event, size, held))
        self.bytes += size


class _Buffered(NamedTuple):
    event: Event
    size: int
    held: HeldBytes | None


def _bytes_in_memory(event: Event) -> int:
    match event:
        case Chunk(text):
            return EVENT_BYTES + sys.getsizeof(text)
        case CallPiece():
            return EVENT_BYTES + sys.getsizeof(event.arguments) + sys.getsizeof(event.signature)
        case ThoughtPiece():
            return EVENT_BYTES + sys.getsizeof(event.text) + sys.getsizeof(event.signature)
        case Done():
            calls = sum(sys.getsizeof(call.arguments) + sys.getsizeof(call.signature) for call in event.calls)
            thoughts = sum(sys.getsizeof(one.text) + sys.getsizeof(one.signature) for one in event.thoughts)
            return EVENT_BYTES + sys.getsizeof(event.text) + calls + thoughts
        case Failed():
            return EVENT_BYTES + len(event.error.message)
        case Served():
            return EVENT_BYTES
