"""Room for an answer that is read as a whole, before anything is made of it. Who makes a call says how room is got; whatever
reads a body finds that by the context of the task that it works in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Room = Callable[[int], Awaitable[None]]
"""Returns when so many bytes may be held in all."""


async def _as_much_as_comes(_: int) -> None:
    pass


class _Call:
    """One call. A connection that was opened for it keeps its context, and so this object; it must not keep the answer."""

    def __init__(self, room: Room) -> None:
        self.room = room


_NO_CALL = _Call(_as_much_as_comes)
_under_way: ContextVar[_Call] = ContextVar("receiving", default=_NO_CALL)


@contextmanager
def receiving(room: Room) -> Iterator[None]:
    """Bodies that are read inside ask `room` as they grow."""
    call = _Call(room)
    token = _under_way.set(call)
    try:
        yield
    finally:
        call.room = _as_much_as_comes
        _under_way.reset(token)


async def has_room_for(size: int) -> None:
    """Returns when this task's call may hold so many bytes."""
    await _under_way.get().room(size)
