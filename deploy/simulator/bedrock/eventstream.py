"""AWS event-stream frames: length-prefixed messages with typed headers and two CRC-32 checksums.

Source: "Amazon event stream encoding" in AWS's SDK documentation.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from zlib import crc32

_STRING = 7
_OVERHEAD = 16  # two lengths and two checksums, four bytes each


def event(kind: str, payload: bytes) -> bytes:
    """Frame an event with a JSON payload."""
    return _frame(_headers(":event-type", kind, "event"), payload)


def exception(kind: str, payload: bytes) -> bytes:
    """Frame an exception; its kind is the error's name in lower camel case."""
    return _frame(_headers(":exception-type", kind, "exception"), payload)


def corrupted(frame: bytes) -> bytes:
    """Flip the last payload byte, so that the checksum no longer fits."""
    return frame[:-5] + bytes((frame[-5] ^ 0xFF,)) + frame[-4:]


def _frame(headers: bytes, payload: bytes) -> bytes:
    prelude = struct.pack(">II", _OVERHEAD + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return message + struct.pack(">I", crc32(message))


@lru_cache(maxsize=64)
def _headers(kind_name: str, kind: str, message_type: str) -> bytes:
    pairs = ((kind_name, kind), (":content-type", "application/json"), (":message-type", message_type))
    return b"".join(_header(name.encode(), value.encode()) for name, value in pairs)


def _header(name: bytes, value: bytes) -> bytes:
    return struct.pack(">B", len(name)) + name + struct.pack(">BH", _STRING, len(value)) + value
