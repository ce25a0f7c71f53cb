"""The JSON bodies that a front door holds. Memory (`room`) is reserved before a body is read, and large bodies are
decoded one after the other.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from types import TracebackType
from typing import TYPE_CHECKING, Self

from aiohttp import web

from api.http.encoding import utf8_body
from api.http.reading import broken_off, refuse_more_than, refuse_too_large, refuse_unsupported
from api.http.state import READS
from shared.runtime.byte_budget import UNREAD_BYTES, ByteBudget, HeldBytes
from shared.runtime.long_steps import Pauses

if TYPE_CHECKING:
    from shared.settings import Settings

COLLECT_AFTER_BYTES, COLLECT_AFTER_S = 20_000_000, 0.05
"""Bytes of refused bodies, and seconds, after which garbage is collected. An exception references all frames that it
passed, and their bodies. If such a frame references the exception, only the garbage collector frees it, and the collector
counts objects, not bytes.
"""
SMALL_SHARES = 4
"""The divisor of the room for small bodies: one account may have this fraction of it. So an account that announces
hundreds of bodies without sending them keeps nobody else out.
"""


class Body:
    """One body and its room, which is released at the end of a `with`."""

    def __init__(self, data: bytes, room: HeldBytes, refused: Callable[[int], None], copies: int = 1) -> None:
        """`refused` is called with the body's size if an error is raised."""
        self._data = data
        self._refused = refused
        self._room = room
        self._beside: HeldBytes | None = None
        self.size = len(data)
        room.shrink(copies * self.size)

    def hold_beside(self, room: HeldBytes) -> None:
        """Release `room` together with the body's own room: it is for data that belongs to the body and is stored
        elsewhere.
        """
        self._beside = room

    def take(self) -> bytes:
        """The bytes of the body. They can be taken once; afterwards only the caller holds them."""
        data, self._data = self._data, b""
        return data

    def shrink(self, size: int) -> None:
        """Keep room for `size` bytes only."""
        self._room.shrink(size)
        if self._beside:
            self._beside.release()

    def release(self) -> None:
        """Release the room."""
        self.shrink(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
        if error:
            self._refused(self.size)


class Bodies:
    """Reads bodies within the limits of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._room = ByteBudget(
            "bodies",
            total=settings.bodies_held_bytes_max,
            share=settings.bodies_held_share_bytes_max,
            small=settings.small_body_bytes_max,
            reserve=settings.small_bodies_bytes_max,
            reserve_share=settings.small_bodies_bytes_max // SMALL_SHARES,
            unread=settings.bodies_unread_bytes_max,
        )
        self._turn = asyncio.Lock()
        self._refused = 0
        """Bytes of refused bodies since the last garbage collection."""

    def is_large(self, size: int) -> bool:
        """True if a body of this size shares the room for large bodies."""
        return size > self._settings.small_body_bytes_max

    @asynccontextmanager
    async def turn(self, size: int) -> AsyncIterator[Pauses]:
        """Surround work on a body that takes time and several copies of the body: large bodies come one after the
        other.
        """
        if not self.is_large(size):
            yield Pauses(pauses=False)
            return
        async with self._turn:
            pace = Pauses(pauses=True)
            try:
                yield pace
            finally:
                await pace.pause()

    async def read_small_json(self, request: web.Request, account_id: str) -> bytes:
        """The whole body, for routes whose bodies have only a few fields. Raises as `read_json` does."""
        with await self.read_json(request, account_id, self._settings.small_body_bytes_max) as body:
            return body.take()

    async def read_json(
        self, request: web.Request, account_id: str, bytes_max: int | None = None, *, copies: int = 1
    ) -> Body:
        """The whole body, of at most `bytes_max`, by default the limit of a chat request. A large one will be held in
        `copies` copies at once.

        Raises `UnsupportedMediaType` for anything but plain JSON, `RequestTooLarge`, `Overloaded` if there is no room
        within `BODIES_ROOM_WITHIN_S` (all before the body is read, if its length is known), and `InvalidRequest` if it
        breaks off, does not arrive within `BODY_WITHIN_S`, or is not UTF-8.
        """
        bytes_max = bytes_max or self._settings.body_bytes_max
        try:
            return await self._read_json(request, account_id, bytes_max, copies)
        except BaseException:
            self._note_refused(UNREAD_BYTES)
            raise

    async def _read_json(self, request: web.Request, account_id: str, bytes_max: int, copies: int) -> Body:
        settings = self._settings
        refuse_unsupported(request)
        refuse_too_large(request, bytes_max)
        said = settings.small_body_bytes_max if request.content_length is None else request.content_length
        room = await self.room(copies * said if self.is_large(said) else said, account_id)
        try:
            async with asyncio.timeout(settings.body_within_s):
                read = BytesIO()
                await self._read(request, read, said)
                if not request.content.at_eof():  # the length was unknown, and the body is larger than a small one
                    room.release()
                    room = await self.room(copies * bytes_max, account_id)
                    await self._read(request, read, bytes_max)
                    refuse_more_than(bytes_max, read.tell())
            return Body(utf8_body(read.getvalue()), room, self._note_refused, copies)
        except (TimeoutError, web.RequestPayloadError):
            room.release()
            raise broken_off(request, settings.body_within_s) from None
        except BaseException:
            room.release()
            raise

    def _note_refused(self, size: int) -> None:
        self._refused += size
        if self._refused >= COLLECT_AFTER_BYTES:
            self._refused = 0
            asyncio.get_running_loop().call_later(COLLECT_AFTER_S, gc.collect)

    async def room(self, size: int, account_id: str) -> HeldBytes:
        """Room for `size` bytes. Raises `Overloaded` if there is none within `BODIES_ROOM_WITHIN_S`."""
        return await self._room.hold(size, account_id, within_s=self._settings.bodies_room_within_s)

    @asynccontextmanager
    async def turn_beside(self, body: Body, size: int, account_id: str) -> AsyncIterator[None]:
        """Within the turn of `body`, surround work on `size` further bytes that belong to it; they are held as long as the
        body. Raises `Overloaded`. During the turn of a large body nothing waits for room, because those who have the room
        may wait for their turn.
        """
        has_turn = self.is_large(body.size)
        body.hold_beside(
            await self._room.hold(size, account_id, within_s=0 if has_turn else self._settings.bodies_room_within_s)
        )
        async with self.turn(0 if has_turn else size):
            yield

    async def _read(self, request: web.Request, into: BytesIO, size: int) -> None:
        """Read a body of this size, or slightly more than `size` of a longer one. The pieces are joined as they arrive,
        because joining them all at the end would delay other requests.
        """
        turns = request.app[READS] if self.is_large(size) else None
        while into.tell() <= size and not request.content.at_eof():
            if turns:
                await turns.next()
            into.write(await request.content.readany())
