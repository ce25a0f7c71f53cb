"""Answers from raw bytes in any chunking: server-sent events, or the whole of a body. Both are bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from shared.errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

EVENT_BYTES_MAX = 8_000_000


async def data_lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Each `data:` payload; comments, blank lines and other fields are passed over. Vendors send one line per event.

    Raises `ProviderError` when a line grows beyond all reason.
    """
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
        if len(rest) > EVENT_BYTES_MAX:
            raise ProviderError("The vendor sent an event that is too long.")
    if rest.startswith(b"data:"):
        yield rest[5:].strip()


async def whole(chunks: AsyncIterable[bytes]) -> bytes:
    """All of a body. Raises `ProviderError` when it grows beyond all reason."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > EVENT_BYTES_MAX:
            raise ProviderError("The vendor sent an answer that is too long.")
    return bytes(body)
