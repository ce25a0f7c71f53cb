"""The ids of a file's lines: which ids are allowed, and which the file has used."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left

import msgspec

from api.formats.asked import CUSTOM_ID_LENGTH_MAX
from shared.errors import InvalidRequest

BUCKETS = 256
FINGERPRINT_BYTES = 8


class CustomIds:
    """The ids of one file, as sorted fingerprints of 8 bytes each: 100,000 ids take 1 MB. Two different ids of such a
    file share a fingerprint by chance in one of four billion files.
    """

    def __init__(self) -> None:
        self._buckets: list[array[int]] = [array("Q") for _ in range(BUCKETS)]

    def add(self, custom_id: str) -> None:
        """Add an id. Raises `InvalidRequest` if it is not allowed or belongs to an earlier line."""
        if not is_one(custom_id):
            raise InvalidRequest(f"`custom_id` has 1 to {CUSTOM_ID_LENGTH_MAX} characters.")
        digest = hashlib.blake2b(custom_id.encode(), digest_size=FINGERPRINT_BYTES).digest()
        fingerprint = int.from_bytes(digest, "big")
        bucket = self._buckets[fingerprint % BUCKETS]
        place = bisect_left(bucket, fingerprint)
        if place < len(bucket) and bucket[place] == fingerprint:
            raise InvalidRequest("`custom_id` is that of an earlier line: give each line its own.")
        bucket.insert(place, fingerprint)


class _Named(msgspec.Struct, frozen=True):
    """The only field of a bad line that can still be read."""

    custom_id: str


_named_decoder = msgspec.json.Decoder(_Named)


def is_one(custom_id: str) -> bool:
    """True if a line may have this id."""
    return 1 <= len(custom_id) <= CUSTOM_ID_LENGTH_MAX and "\0" not in custom_id


def custom_id_of(text: bytes | None) -> str | None:
    """The id in the text of a line that is bad in another way, so that its owner can find the line."""
    try:
        custom_id = _named_decoder.decode(text or b"").custom_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return custom_id if is_one(custom_id) else None
