"""The kind and the size of an image in a message."""

from __future__ import annotations

import base64
import binascii

KINDS = ("png", "jpeg", "gif", "webp")
"""Kinds that at least one vendor takes. `jpg` is another spelling of `jpeg`."""
BEGINNINGS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif"}
RIFF, WEBP = slice(0, 4), slice(8, 12)
BEGINNING = 16
"""Characters of base 64 that are decoded: 12 bytes, which tell the kind."""


def image_kind(url: str) -> str:
    """The kind that the image's bytes show, otherwise the kind that the data URL names, in its usual spelling. Vendors
    compare the two and refuse an image with a wrong label, which files from phones and browsers often have.
    """
    data = url.find(",") + 1
    said = url[: data - 1].removeprefix("data:image/").removesuffix(";base64").lower()
    return _kind_of(url[data : data + BEGINNING]) or ("jpeg" if said == "jpg" else said)


def image_bytes(url: str) -> int:
    """The size of the image in a data URL, in bytes."""
    return (len(url) - url.find(",") - 1) * 3 // 4


def _kind_of(beginning: str) -> str | None:
    try:
        first = base64.b64decode(beginning)
    except (binascii.Error, ValueError):
        return None
    if first[RIFF] == b"RIFF" and first[WEBP] == b"WEBP":
        return "webp"
    return next((kind for start, kind in BEGINNINGS.items() if first.startswith(start)), None)
