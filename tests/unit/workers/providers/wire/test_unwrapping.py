from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers.wire.unwrapping import HEAD_MAX, Unwrapping

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def unwrapped(text: str, *cuts: int) -> str:
    """Fed in pieces that end at the cuts."""
    unwrapping = Unwrapping("a")
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    said = [unwrapping.feed(text[start:end]) for start, end in pairwise(edges)]
    return "".join(said) + unwrapping.finish()


@given(values, st.lists(st.integers(0, 10_000)), st.sampled_from([None, 0, 2]), st.booleans())
def test_any_value_comes_out_whatever_cuts_its_text(
    value: Any,
    cuts: list[int],
    indent: int | None,
    plain: bool,  # noqa: FBT001
) -> None:
    text = json.dumps({"a": value}, indent=indent, ensure_ascii=plain)
    assert json.loads(unwrapped(text, *cuts)) == value


@pytest.mark.parametrize(
    ("text", "given_on"),
    [
        ('{"a": [1, "}"], "b": 2}', '[1, "}"]'),
        ('{"a": {"x": "\\\\"}} ', '{"x": "\\\\"}'),
        ('{"a": [1, 2', "[1, 2"),
        ('{"b": 1}', '{"b": 1}'),
        ('{"ab": {"a": 1}}', '{"ab": {"a": 1}}'),
        ("{}", "{}"),
        ('[{"a": 1}]', '[{"a": 1}]'),
        ("no JSON", "no JSON"),
        ("", ""),
    ],
)
def test_what_is_no_such_object_is_given_as_it_is(text: str, given_on: str) -> None:
    for cuts in ((), range(len(text))):
        assert unwrapped(text, *cuts).strip() == given_on  # space around a value means nothing


def test_what_never_comes_to_a_value_is_neither_held_back_nor_read_again() -> None:
    """Half a million pieces run into the limit that every test has, where each makes a copy of what came before it."""
    unwrapping = Unwrapping("x")
    said = "".join(unwrapping.feed("€ ") for _ in range(500_000))
    assert 0 <= 1_000_000 - len(said) <= HEAD_MAX
    assert said + unwrapping.feed("{") + unwrapping.finish() == "€ " * 500_000 + "{"
