"""Encrypted reasoning: the simulator's encrypted content, and the check of what comes back. It contains the item that
it was made for, and what followed: a call by its id, or a message.
"""

from __future__ import annotations

import base64
import binascii
import hmac

import msgspec

KEY = b"simulated"
START, DIGEST_BYTES = "gAAAA", 32
MESSAGE = "message"


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """The reasoning item. `followed_by` is the id of the call after it, `message`, or empty if it was the last item."""

    id: str
    followed_by: str


def seal(made: Sealed) -> str:
    """Encode the reasoning so that only the simulator can have made it."""
    told = msgspec.json.encode(made)
    return START + base64.urlsafe_b64encode(hmac.digest(KEY, told, "sha256") + told).decode()


def opened(content: str) -> Sealed | None:
    """Decode the content; None if it was not made here, or was changed."""
    try:
        data = base64.urlsafe_b64decode(content.removeprefix(START))
        digest, told = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
        if not content.startswith(START) or not hmac.compare_digest(digest, hmac.digest(KEY, told, "sha256")):
            return None
        return msgspec.json.decode(told, type=Sealed)
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        return None
