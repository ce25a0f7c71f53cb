"""Bodies in which a field stands twice."""

from __future__ import annotations

import msgspec
import pytest

from api.formats.parsing import parse_once
from shared.errors import InvalidRequest


class Credit(msgspec.Struct):
    usd: str
    note: dict[str, str] = {}


DECODER = msgspec.json.Decoder(Credit)


def test_a_field_stands_once() -> None:
    given = b'{"usd": "1", "note": {"usd": "2"}}'
    assert parse_once(given, DECODER, "hint") == Credit("1", {"usd": "2"})


@pytest.mark.parametrize(
    "body",
    [b'{"usd": "1", "usd": "2"}', b'{"usd": "1", "u\\u0073d": "1"}', b'{"usd": "1", "note": {"a": "", "a": ""}}'],
)
def test_a_field_that_stands_twice_is_named(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="is given more than once"):
        parse_once(body, DECODER, "hint")
