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


_room: ContextVar[Room] = ContextVar("receiving", default=_as_much_as_comes)


@contextmanager
def receiving(room: Room) -> Iterator[None]:
    """Bodies that are read inside ask `room` as they grow."""
    token = _room.set(room)
    try:
        yield
    finally:
        _room.reset(token)


def room() -> Room:
    """Of the call that this task makes."""
    return _room.get()
