"""Room in memory for an answer that is read as a whole.

The maker of a call says how room is obtained; code that reads the body finds the maker's function through the context
of its task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Room = Callable[[int], Awaitable[None]]
"""Returns once this many bytes in all may be held."""


async def _as_much_as_comes(_: int) -> None:
    pass


class _Call:
    """The room of one call. A connection that was opened for the call keeps its context, and so this object, alive; the
    object must not reference the answer.
    """

    def __init__(self, room: Room) -> None:
        self.room = room


_NO_CALL = _Call(_as_much_as_comes)
_under_way: ContextVar[_Call] = ContextVar("receiving", default=_NO_CALL)


@contextmanager
def receiving(room: Room) -> Iterator[None]:
    """Make bodies that are read within the block ask `room` as they grow."""
    call = _Call(room)
    token = _under_way.set(call)
    try:
        yield
    finally:
        call.room = _as_much_as_comes
        _under_way.reset(token)


async def has_room_for(size: int) -> None:
    """Wait until the current task's call may hold `size` bytes."""
    await _under_way.get().room(size)
