"""Bodies in which a field stands twice, or breaks a pattern."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.endpoints.operator_accounts import CreditBody, NewAccountBody
from api.formats.anthropic import content
from api.formats.openai import messages
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


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (NewAccountBody, {"name": "x", "ref": "r\0"}, "text that is not blank and has no NUL - at `$.ref`"),
        (NewAccountBody, {"name": "x", "ref": " "}, "text that is not blank and has no NUL - at `$.ref`"),
        (NewAccountBody, {"name": "x\0", "ref": "r"}, "text without NUL - at `$.name`"),
        (CreditBody, {"usd": 1, "note": "x\0", "ref": "r"}, "text without NUL - at `$.note`"),
        (list[datetime], ["yesterday"], "a time such as 2027-01-31T12:00:00Z - at `$[0]`"),
        (dict[str, messages.ToolName], {"a": "b c"}, "1 to 128 letters, digits or `_.:/-` - at `$[...]`"),
        (list[messages.CallId], ["b c"], "up to 16,384 visible characters of ASCII - at `$[0]`"),
        (list[content.ToolName], [""], "1 to 128 letters, digits or `_.:/-` - at `$[0]`"),
    ],
    ids=str,
)
def test_what_breaks_a_pattern_is_told_in_words(kind: Any, value: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(f"Expected {words}")) as raised:
        parse_once(msgspec.json.encode(value), msgspec.json.Decoder(kind), "hint")
    assert "regex" not in str(raised.value)


def test_every_pattern_of_a_body_has_its_words() -> None:
    sources = (Path(__file__).parents[4] / "api").rglob("*.py")
    assert [str(path) for path in sources if re.search(r"pattern=r?f?[\"']", path.read_text())] == []
