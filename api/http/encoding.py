"""Checks that bodies are UTF-8, with or without a byte order mark. A body in another encoding is refused as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

from shared.errors import InvalidRequest
from shared.utf8 import NotUtf8, Utf8Check, utf8


def utf8_body(body: bytes) -> bytes:
    """The body without its byte order mark. Raises `InvalidRequest` if the body is not UTF-8."""
    try:
        return utf8(body)
    except NotUtf8 as error:
        raise InvalidRequest(f"The body is {error}: send it in UTF-8.") from None


async def utf8_chunks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Check an upload while it arrives, and yield it without its byte order mark. Raises `InvalidRequest`."""
    check = Utf8Check()
    try:
        async for chunk in chunks:
            yield check.feed(chunk)
        yield check.end()
    except NotUtf8 as error:
        raise InvalidRequest(f"The upload is {error}: save it as UTF-8 and send it again.") from None
