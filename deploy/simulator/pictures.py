"""Images as vendors look at them: whether their base 64 is whole, and the kind that their first bytes say."""

from __future__ import annotations

import base64
import binascii

PNG_SIZE_END = 24
_BEGINNINGS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}


def decoded(text: object) -> bytes | None:
    """The bytes; None when it is not valid base 64."""
    if not isinstance(text, str) or not text:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height as a png says them at its beginning; 0 of anything else, which is as if it were small."""
    if data[:4] != b"\x89PNG" or len(data) < PNG_SIZE_END:
        return 0, 0
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:PNG_SIZE_END], "big")


def kind_of(data: bytes) -> str | None:
    """`png`, `jpeg`, `gif` or `webp`; None for what is none of these, which the simulator lets pass as made up."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((kind for start, kind in _BEGINNINGS.items() if data.startswith(start)), None)
