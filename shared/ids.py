"""Ids: opaque to callers, sorted by time, and containing the time of their creation.

A request id is `req_` and 26 characters of Crockford base 32: 48 bits of Unix milliseconds and 80 random bits. Because of
the time in it, an id alone leads to the one partition that holds its row.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime, timedelta

from shared import clock

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TO_INT = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
"""Translates to the digits that `int` takes for base 32."""
_ID = re.compile(rf"[a-z]+_([0-7][{_ALPHABET}]{{25}})")
_LENGTH = 26
_RANDOM_BITS = 80
_EPOCH = datetime.fromtimestamp(0, UTC)


def new_id(prefix: str, now_ms: int | None = None) -> str:
    """A fresh id such as `req_01jd3k…`; `now_ms` is Unix milliseconds, by default the clock's."""
    moment = clock.now_ms() if now_ms is None else now_ms
    number = moment << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    return f"{prefix}_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (_LENGTH - 1), -1, -5))


def created_at(identity: str) -> datetime:
    """The time in an id, to the millisecond. Raises `ValueError` if `identity` is not an id of this service."""
    found = _ID.fullmatch(identity)
    if not found:
        raise ValueError("not an id")
    moment_ms = int(found[1].translate(_TO_INT), 32) >> _RANDOM_BITS
    try:
        return _EPOCH + timedelta(milliseconds=moment_ms)
    except OverflowError:
        raise ValueError("not an id") from None
