"""Splits the JSON object `{"requests": […]}` into the requests of its list as it arrives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import TypeVar

import msgspec

from api.batches.lines import NumberedPart
from api.batches.value_ends import ValueEnd
from shared.errors import InvalidRequest

REQUESTS = "requests"
FIELD_BYTES_MAX = 10_000
"""Longest name of a field, and longest value of a field other than `requests`, in bytes."""
FIELDS_MAX = 100
FAULT = "The body is not valid JSON, or not as it should be"
HINT = 'It takes {"requests": [{"custom_id", "params"}, …]}'
T = TypeVar("T")
_SPACE = re.compile(rb"[ \t\n\r]*")
_name = msgspec.json.Decoder(str)
_any = msgspec.json.Decoder()


class At(Enum):
    """The place in the body that was reached. Each member says what may come next, apart from white space."""

    BEGIN = auto()
    FIRST_NAME = auto()
    NAME = auto()
    COLON = auto()
    LIST = auto()
    OTHER_VALUE = auto()
    BEHIND_VALUE = auto()
    FIRST_REQUEST = auto()
    REQUEST = auto()
    BEHIND_REQUEST = auto()
    END = auto()


PUNCTUATION = {
    (At.BEGIN, b"{"): At.FIRST_NAME,
    (At.FIRST_NAME, b"}"): At.END,
    (At.LIST, b"["): At.FIRST_REQUEST,
    (At.FIRST_REQUEST, b"]"): At.BEHIND_VALUE,
    (At.BEHIND_REQUEST, b","): At.REQUEST,
    (At.BEHIND_REQUEST, b"]"): At.BEHIND_VALUE,
    (At.BEHIND_VALUE, b","): At.NAME,
    (At.BEHIND_VALUE, b"}"): At.END,
}
NAMES, ELEMENTS = {At.FIRST_NAME, At.NAME}, {At.FIRST_REQUEST, At.REQUEST}
NO_VALUE = frozenset(b",:]}")
"""Bytes that begin no JSON value."""


class Requests:
    """Call `of` with each piece, then `last`. A request longer than `bytes_max` is not kept. `others` are the names of the
    body's other fields that are not null, which a `strict` key refuses.
    """

    whole, part = "body", "request"

    def __init__(self, bytes_max: int, *, strict: bool) -> None:
        self._bytes_max = bytes_max
        self._strict = strict
        self._at = At.BEGIN
        self._value: ValueEnd | None = None
        self._kept = bytearray()
        self._too_long = False
        self._name = ""
        self._number = 0
        self._has_list = False
        self.others: list[str] = []

    @property
    def under_way(self) -> int:
        """Bytes of the request that has not ended."""
        return len(self._kept)

    def of(self, piece: bytes) -> Iterator[NumberedPart]:
        """The requests that end in this piece; iterate to the end. Raises `InvalidRequest` if the body is malformed."""
        place = 0
        while place < len(piece):
            if self._value is None:
                place = self._to_value(piece, place)
                continue
            begins, place = place, self._value.in_piece(piece, place)
            self._keep(piece[begins:place])
            if self._value.ended:
                yield from self._ended()

    def last(self) -> Iterator[NumberedPart]:
        """Yields nothing. Raises `InvalidRequest` if the body is incomplete or has no request."""
        if self._at is not At.END:
            raise InvalidRequest(f"{FAULT}: it ends too early. {HINT}.")
        if not self._number:
            raise InvalidRequest(f"`{REQUESTS}` is missing, or empty. {HINT}.")
        yield from ()

    def _to_value(self, piece: bytes, place: int) -> int:
        """Move to the first byte of the next value, or past one punctuation mark before it."""
        if space := _SPACE.match(piece, place):
            place = space.end()
        mark = piece[place : place + 1]
        if not mark:
            return place
        if after := PUNCTUATION.get((self._at, mark)):
            self._at = after
        elif self._at is At.COLON and mark == b":":
            self._at = self._behind_colon()
        else:
            self._begin(mark[0])
            return place
        return place + 1

    def _behind_colon(self) -> At:
        if self._name != REQUESTS:
            return At.OTHER_VALUE
        if self._has_list:
            raise InvalidRequest(f"{FAULT}: `{REQUESTS}` is given twice. {HINT}.")
        self._has_list = True
        return At.LIST

    def _begin(self, first: int) -> None:
        names, values = self._at in NAMES, self._at in {At.OTHER_VALUE, *ELEMENTS}
        if (names and first == ord('"')) or (values and first not in NO_VALUE):
            self._value, self._kept, self._too_long = ValueEnd(first), bytearray(), False
            return
        if self._at is At.LIST:
            raise InvalidRequest(f"`{REQUESTS}` is no list. {HINT}.")
        behind = f" behind request {self._number}" if self._number else ""
        raise InvalidRequest(f"{FAULT}: {chr(first)!r} is not expected{behind}. {HINT}.")

    def _keep(self, part: bytes) -> None:
        if self._at not in ELEMENTS and len(self._kept) + len(part) > FIELD_BYTES_MAX:
            raise InvalidRequest(f"A field besides `{REQUESTS}` has more than {FIELD_BYTES_MAX} bytes: leave it out.")
        if self._too_long or len(self._kept) + len(part) > self._bytes_max:
            self._kept, self._too_long = bytearray(), True
        else:
            self._kept += part

    def _ended(self) -> Iterator[NumberedPart]:
        value, at = bytes(self._kept), self._at
        self._value, self._kept = None, bytearray()
        if at in NAMES:
            self._name, self._at = _decoded(value, _name), At.COLON
        elif at is At.OTHER_VALUE:
            self._note_other(value)
            self._at = At.BEHIND_VALUE
        else:
            self._number += 1
            self._at = At.BEHIND_REQUEST
            yield self._number, None if self._too_long else value

    def _note_other(self, value: bytes) -> None:
        if _decoded(value, _any) is None or self._name in self.others:
            return
        if self._strict:
            raise InvalidRequest(f"`{self._name[:100]}` is not known here, and this key is strict: leave it out.")
        if len(self.others) >= FIELDS_MAX:
            raise InvalidRequest(f"The body has more than {FIELDS_MAX} fields besides `{REQUESTS}`: leave them out.")
        self.others.append(self._name)


def _decoded(value: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"{FAULT}: {error}. {HINT}.") from None
