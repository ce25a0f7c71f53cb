"""What an image in a message is: its kind, by its first bytes, and its size."""

from __future__ import annotations

import base64
import binascii

KINDS = ("png", "jpeg", "gif", "webp")
"""All that any vendor takes from here. `jpg` is written for `jpeg`, too."""
BEGINNINGS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}
RIFF, WEBP = slice(0, 4), slice(8, 12)
BEGINNING = 16
"""Characters of base 64: 12 bytes, which tell the kind."""


def image_kind(url: str) -> str:
    """The kind that the bytes of a data URL say, else the one that the URL says, in its usual spelling. Vendors compare both
    and refuse an image whose label is wrong, as files from phones and browsers often have it.
    """
    data = url.find(",") + 1
    said = url[: data - 1].removeprefix("data:image/").removesuffix(";base64").lower()
    return _kind_of(url[data : data + BEGINNING]) or ("jpeg" if said == "jpg" else said)


def image_bytes(url: str) -> int:
    """How many bytes the image in a data URL has."""
    return (len(url) - url.find(",") - 1) * 3 // 4


def _kind_of(beginning: str) -> str | None:
    try:
        first = base64.b64decode(beginning)
    except (binascii.Error, ValueError):
        return None
    if first[RIFF] == b"RIFF" and first[WEBP] == b"WEBP":
        return "webp"
    return next((kind for start, kind in BEGINNINGS.items() if first.startswith(start)), None)
