"""What a request says before its body is understood: its size and type, and how it wants to be answered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from aiohttp import web

from shared.errors import InvalidRequest, RequestTooLarge, UnsupportedMediaType

JSON_TYPES = ("application/json", "application/octet-stream")  # the second is aiohttp's name for "not said"
IDEMPOTENCY_KEY_LENGTH_MAX = 255
DIGITS_MAX = 15


async def read_json(request: web.Request) -> bytes:
    """The whole body. Raises `UnsupportedMediaType` for anything but plain JSON, and `RequestTooLarge` before it is read
    where its length is said.
    """
    _refuse_unsupported(request)
    refuse_too_large(request, request.client_max_size)
    return await request.read()


def refuse_too_large(request: web.Request, bytes_max: int) -> None:
    """Raises `RequestTooLarge` when the request says so itself."""
    if (request.content_length or 0) > bytes_max:
        raise RequestTooLarge(f"The body is larger than {bytes_max} bytes: shorten it.")


def prefers_async(request: web.Request) -> bool:
    """`Prefer: respond-async` (RFC 7240)."""
    return "respond-async" in request.headers.get("Prefer", "").lower()


def idempotency_key(request: web.Request) -> bytes | None:
    """SHA-256 of the header, so that nothing of it is stored. Raises `InvalidRequest` when it is empty or too long."""
    keys = request.headers.getall("Idempotency-Key", [])
    if not keys:
        return None
    if len(keys) > 1 or not 1 <= len(keys[0].strip()) <= IDEMPOTENCY_KEY_LENGTH_MAX:
        raise InvalidRequest(f"`Idempotency-Key` is given once, with 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} characters.")
    return hashlib.sha256(keys[0].strip().encode("utf-8", "surrogateescape")).digest()


def whole_number(given: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """A number of the query or of a header. Raises `InvalidRequest` that names it."""
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX and low <= int(text) <= high):
        raise InvalidRequest(f"`{name}` is a whole number from {low} to {high}.")
    return int(text)


def _refuse_unsupported(request: web.Request) -> None:
    if request.content_type not in JSON_TYPES:
        raise UnsupportedMediaType(f"The body is {request.content_type[:100]}: send application/json.")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("The body is compressed: send it as it is, without Content-Encoding.")
