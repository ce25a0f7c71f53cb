from __future__ import annotations

import json
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.json_lines import json_line, one_line

SPLITS = [chr(code) for code in range(sys.maxunicode + 1) if len(f"a{chr(code)}b".splitlines()) > 1]
"""Every character at which Python's `str.splitlines`, and so `iter_lines` of httpx and requests, ends a line."""
TEXTS = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(SPLITS)))


@pytest.mark.parametrize("splits", [*SPLITS, "\r\n", "\x7f", "\x00"])
@pytest.mark.parametrize("around", ["", "plain", "“漢字” é"])
def test_no_character_ends_a_line_and_each_comes_back(splits: str, around: str) -> None:
    text = f"{around}{splits}{around}"
    line = json_line({text: [text]})
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line) == {text: [text]}


@given(st.recursive(TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
def test_a_line_says_what_the_document_says(document: object) -> None:
    line = json_line(document)
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line) == document


def test_what_is_passed_on_as_it_came_ends_no_line_either() -> None:
    came = '{\r\n  "a":\n[1,\r2], "b": "\\n\u2028"\n}'
    line = json_line({"input": msgspec.Raw(came.encode())})
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line)["input"] == json.loads(came)


def test_text_that_only_looks_like_an_escape_stays_as_it_is() -> None:
    assert json.loads(one_line(b'"\\\\u2028 \xe2\x80\xa8 \xc2\x84 \xe2\x80\xa7"')) == "\\u2028 \u2028 \x84 \u2027"
