"""Reads answers from raw bytes with any chunk boundaries: server-sent events, or whole bodies. Both are bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from shared.errors import AnswerTooLong
from workers.providers.wire.receiving import has_room_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

EVENT_BYTES_MAX = 8_000_000


class DataLines:
    """The `data:` payloads of an event stream; comments, blank lines and other fields are skipped. Vendors send one line
    per event.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The payloads that are complete now. Raises `AnswerTooLong` for an absurdly long line."""
        if len(self._rest) > EVENT_BYTES_MAX:
            raise AnswerTooLong("The vendor sent an event that is too long.")
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]

    def finish(self) -> list[bytes]:
        """The payload without a line end that is left at the end."""
        return self.feed(b"\n")


async def data_lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The payloads one by one."""
    lines = DataLines()
    async for chunk in chunks:
        for line in lines.feed(chunk):
            yield line
    for line in lines.finish():
        yield line


async def whole(chunks: AsyncIterable[bytes]) -> bytes:
    """A whole body, read no faster than there is room for it. Raises `AnswerTooLong` for an absurdly long one."""
    body = bytearray()
    async for chunk in chunks:
        await has_room_for(len(body) + len(chunk))
        body += chunk
        if len(body) > EVENT_BYTES_MAX:
            raise AnswerTooLong("The vendor sent an answer that is too long.")
    return bytes(body)
