"""Reads what a request says before its body is parsed: size, media type, and the form of the answer."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from api.http.state import CLOSES, READS, SETTINGS
from shared.errors import InvalidRequest, RequestTooLarge, UnsupportedMediaType

EVENT_STREAM = "text/event-stream"
JSON_TYPES = ("application/json", "application/octet-stream")  # aiohttp reports the second one if no type was sent
IDEMPOTENCY_KEY_LENGTH_MAX = 255
DIGITS_MAX = 15


async def chunks_of(request: web.Request) -> AsyncIterator[bytes]:
    """A large body as it arrives. Raises `InvalidRequest` if it breaks off or arrives too slowly for `SenderPatience`."""
    progress = SenderPatience(request)
    turns = request.app[READS]
    while True:
        await turns.next()
        async with progress.waiting():
            chunk = await request.content.readany()
        if not chunk:
            return
        progress.came(len(chunk))
        yield chunk


async def pass_over_rest(request: web.Request) -> None:
    """Read the rest of a refused body for at most `REFUSED_BODY_WITHIN_S`; then the connection ends.

    A connection that waits for its turn to read holds nothing: callers who go away and send again leave hundreds of them.
    """
    turns = request.app[READS]
    try:
        async with asyncio.timeout(request.app[SETTINGS].refused_body_within_s):
            while (transport := request.transport) and not request.content.is_eof():
                request.content.read_nowait()
                transport.pause_reading()
                try:
                    await turns.next()
                finally:
                    transport.resume_reading()
                await request.content.readany()
    except TimeoutError:
        request.protocol.force_close()
    except web.RequestPayloadError:
        request.protocol.force_close()


class SenderPatience:
    """The time that the sender of a large body may still let us wait: `BODY_WITHIN_S` at first and at most. Each
    `BODY_BYTES_PER_S_MIN` bytes earn another second. Only time spent waiting for the sender counts.
    """

    def __init__(self, request: web.Request) -> None:
        self._request = request
        settings = request.app[SETTINGS]
        self._left_s_max = self._left_s = settings.body_within_s
        self._bytes_per_s = settings.body_bytes_per_s_min

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Surround each wait. Raises `InvalidRequest` if it takes too long or the body breaks off."""
        began_at = time.monotonic()
        try:
            async with asyncio.timeout(self._left_s):
                yield
        except (TimeoutError, web.RequestPayloadError):
            self._request[CLOSES] = True  # the rest of the body must not be taken for the next request
            raise InvalidRequest(
                f"The body broke off, or came too slowly: it may pause for {self._left_s_max:g} s, and is to bring"
                f" {self._bytes_per_s} bytes a second. Send it again."
            ) from None
        self._left_s -= time.monotonic() - began_at

    def came(self, size: int) -> None:
        """Credit `size` bytes that have arrived."""
        self._left_s = min(self._left_s_max, self._left_s + size / self._bytes_per_s)


def broken_off(request: web.Request, within_s: float) -> InvalidRequest:
    """The error for a body that does not arrive completely. The connection is closed, because the rest must not be taken
    for the next request.
    """
    request[CLOSES] = True
    return InvalidRequest(f"The body broke off, or did not arrive within {within_s:g} s: send it again.")


def refuse_unsupported(request: web.Request) -> None:
    """Raise `UnsupportedMediaType` for anything but plain JSON."""
    if request.content_type not in JSON_TYPES:
        raise UnsupportedMediaType(f"The body is {request.content_type[:100]}: send application/json.")
    refuse_compressed(request)


def refuse_compressed(request: web.Request) -> None:
    """Raise `UnsupportedMediaType` for a compressed body: its length does not limit what it unpacks to. An empty header
    names no coding.
    """
    if {coding.strip().lower() for coding in request.headers.getall("Content-Encoding", [])} - {"identity", ""}:
        raise UnsupportedMediaType("The body is compressed: send it as it is, without Content-Encoding.")


def refuse_too_large(request: web.Request, bytes_max: int) -> None:
    """Raise `RequestTooLarge` if the announced length is over the limit."""
    refuse_more_than(bytes_max, request.content_length or 0)


def refuse_more_than(bytes_max: int, size: int) -> None:
    """Raise `RequestTooLarge` if `size` is over the limit."""
    if size > bytes_max:
        raise RequestTooLarge(f"The body is larger than {bytes_max} bytes: shorten it.")


def accepts(header: str, kind: str) -> bool:
    """True if an `Accept` header names this media type and does not exclude it."""
    kinds = [one.replace(" ", "").lower().split(";") for one in header.split(",")]
    return any(name == kind and not {"q=0", "q=0.0", "q=0.00", "q=0.000"} & set(rest) for name, *rest in kinds)


def prefers_async(request: web.Request) -> bool:
    """True if the caller sent `Prefer: respond-async` (RFC 7240)."""
    wishes = ",".join(request.headers.getall("Prefer", [])).lower().split(",")
    return any(wish.partition(";")[0].strip() == "respond-async" for wish in wishes)


def idempotency_key(request: web.Request) -> bytes | None:
    """SHA-256 of the Idempotency-Key, so that the key itself is not stored. Raises `InvalidRequest` if it is empty or too
    long.
    """
    keys = request.headers.getall("Idempotency-Key", [])
    if not keys:
        return None
    if len(keys) > 1 or not 1 <= len(keys[0].strip()) <= IDEMPOTENCY_KEY_LENGTH_MAX:
        raise InvalidRequest(f"`Idempotency-Key` is given once, with 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} characters.")
    return hashlib.sha256(keys[0].strip().encode("utf-8", "surrogateescape")).digest()


def whole_number(given: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """A number of the query or of a header. Raises `InvalidRequest`, which names it."""
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX and low <= int(text) <= high):
        raise InvalidRequest(f"`{name}` is a whole number from {low} to {high}.")
    return int(text)
