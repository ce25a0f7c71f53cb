"""The vendors' checks of images: whether the base 64 is complete, and the kind that the first bytes show."""

from __future__ import annotations

import base64
import binascii

PNG_SIZE_END = 24
_BEGINNINGS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}


def decoded(text: object) -> bytes | None:
    """The bytes; None if the text is not valid base 64."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of a png; 0 for anything else, which then counts as small."""
    if data[:4] != b"\x89PNG" or len(data) < PNG_SIZE_END:
        return 0, 0
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:PNG_SIZE_END], "big")


def kind_of(data: bytes) -> str | None:
    """`png`, `jpeg`, `gif` or `webp`; None for other bytes, which the simulator accepts as made up."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((kind for start, kind in _BEGINNINGS.items() if data.startswith(start)), None)
