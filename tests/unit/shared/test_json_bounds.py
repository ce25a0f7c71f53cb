"""The nodes and the depth of JSON, as its bytes tell them, against a count of what it decodes to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import accumulate
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import json_bounds
from shared.errors import InvalidRequest
from shared.json_bounds import (
    JSON_DEPTH_MAX,
    JSON_NODES_MAX,
    Bounds,
    excess,
    put_in_force,
    refuse_depth,
    require_bounded,
    require_nodes,
)

AWKWARD = st.text(st.sampled_from('\\"[]{},:/bnu0 é\n\u2028\U0001d4b3'), max_size=8)
VALUES = st.recursive(
    AWKWARD | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(AWKWARD, inside, max_size=4),
    max_leaves=30,
)
FORMS = st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 1}, {"separators": (",", ":")}])


@pytest.fixture(autouse=True)
def bounds_put_back() -> Iterator[None]:
    yield
    put_in_force(Bounds())


def nodes_of(value: Any) -> int:
    """As the docstring says: fields and entries, and one for what has none."""
    if isinstance(value, dict):
        value = list(value.values())
    return max(1, len(value)) + sum(map(nodes_of, value)) if isinstance(value, list) else 0


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


@given(VALUES, FORMS)
def test_nodes_and_depth_are_those_of_the_value(value: Any, form: dict[str, Any]) -> None:
    text = json.dumps(value, **form).encode()
    nodes, depth = nodes_of(value), depth_of(value)
    assert excess(Bounds(nodes, depth), text) is None
    if nodes:  # then there is some depth, too
        assert excess(Bounds(nodes - 1, depth), text) == "nodes"
        assert excess(Bounds(nodes, depth - 1), text) == "depth"


@given(VALUES, FORMS, st.integers(1, 9))
def test_it_matters_not_in_which_pieces_a_text_is_looked_at(value: Any, form: dict[str, Any], piece_bytes: int) -> None:
    text = json.dumps(value, **form).encode()
    nodes, depth = nodes_of(value), depth_of(value)
    with patch.object(json_bounds, "_PIECE_BYTES", piece_bytes):
        assert excess(Bounds(nodes, depth), text) is None
        if nodes:
            assert excess(Bounds(nodes - 1, depth), text) == "nodes"
            assert excess(Bounds(nodes, depth - 1), text) == "depth"


@given(st.lists(VALUES, max_size=4), FORMS)
def test_texts_that_are_decoded_together_share_the_nodes_and_not_the_depth(
    values: list[Any], form: dict[str, Any]
) -> None:
    texts = [json.dumps(value, **form).encode() for value in values]
    nodes, depth = sum(map(nodes_of, values)), max(map(depth_of, values), default=0)
    assert excess(Bounds(nodes, depth), *texts) is None
    if nodes:
        assert excess(Bounds(nodes - 1, depth), *texts) == "nodes"
        assert excess(Bounds(nodes, depth - 1), *texts) == "depth"


@given(VALUES, FORMS, st.integers(0, 20), st.integers(0, 8), st.integers(0, 10))
def test_a_body_is_refused_for_its_nodes_and_a_value_for_its_depth(
    value: Any, form: dict[str, Any], nodes_max: int, depth_max: int, few_marks: int
) -> None:
    put_in_force(Bounds(nodes_max, depth_max))
    text = json.dumps(value, **form).encode()
    with (
        patch.object(json_bounds, "_FEW_MARKS", few_marks),
        pytest.raises(InvalidRequest, match="more than") if nodes_of(value) > nodes_max else nullcontext(),
    ):
        require_nodes("It", text)
    with (
        pytest.raises(ValueError, match=f"`it` is .* {depth_max} times")
        if depth_of(value) > depth_max
        else nullcontext()
    ):
        refuse_depth(other=None, it=value)


@given(VALUES, FORMS, st.integers(0, 400), st.text(st.sampled_from('\\"[]{},:x'), max_size=12))
def test_what_stands_before_a_fault_is_counted_whatever_stands_behind_it(
    value: Any, form: dict[str, Any], cut: int, rest: str
) -> None:
    """A decoder makes values up to the first fault."""
    begun = json.dumps(value, **form)[:cut]
    marks = list(outside_strings(begun))
    nodes = sum(mark in "[{," for mark in marks)
    depth = max(accumulate({"[": 1, "{": 1, "]": -1, "}": -1}.get(mark, 0) for mark in marks), default=0)
    text = (begun + rest).encode()
    if nodes:
        assert excess(Bounds(nodes - 1, 10**6), text) == "nodes"
    if depth:
        assert excess(Bounds(10**6, depth - 1), text) == "depth"


def outside_strings(text: str) -> Iterator[str]:
    """The characters that are in no string, one after the other, as a decoder reads them."""
    in_string = escaped = False
    for character in text:
        if not in_string and character != '"':
            yield character
        elif escaped:
            escaped = False
        elif character == '"':
            in_string = not in_string
        else:
            escaped = character == "\\"


@pytest.mark.parametrize(
    ("text", "beyond"),
    [
        (b'"' + b"[" * 1_000 + b'"', None),
        (b'"' + b"[" * 1_000, None),
        (b'"\\"' + b"[" * 1_000 + b'"', None),
        (b'"\\\\"' + b"[" * 1_000, "nodes"),
        (b'"\\\\\\"' + b"[" * 1_000 + b'"', None),
        (b'"' + b"\\\\" * 999 + b'"' + b"[" * 1_000, "nodes"),
        (b'"\\u005c"' + b"[" * 1_000, "nodes"),
        (b'"a""b"' + b"[" * 1_000, "nodes"),
        (b'["",' * 10 + b'"",' * 50, "nodes"),
        (b'["a",' + b'"b","[",' * 50 + b"0]", "nodes"),
        (b"[" * 21, "depth"),
        (b"]" * 1_000, None),
        (b"[]" * 60, "nodes"),
        (b"[]" * 40, None),
        (b"", None),
        ("".join(chr(code) for code in range(0x80, 0x800)).encode() * 10, None),
    ],
)
def test_strings_end_where_a_decoder_ends_them(text: bytes, beyond: str | None) -> None:
    assert excess(Bounds(50, 20), text) == beyond


def test_what_is_beyond_is_said_with_the_bound() -> None:
    put_in_force(Bounds(5, 2))
    require_bounded("It", b"[1, 2, 3, [4]]")
    with pytest.raises(InvalidRequest, match=r"^It has more than 5 values: .*entry of a list"):
        require_bounded("It", b"[1, 2, 3, [4, 5]]")
    with pytest.raises(InvalidRequest, match=r"^It is nested too deeply: .* 2 times\.$"):
        require_bounded("It", b"[[[]]]")


def test_what_agents_send_is_far_within_the_bounds() -> None:
    """512 tools with 100 described properties each, 4,096 messages of three parts each."""
    properties = {f"p{number}": {"type": "string", "description": "what it is"} for number in range(100)}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    tool = {"type": "function", "function": {"name": "t", "description": "does it", "parameters": schema}}
    message = {"role": "user", "content": [{"type": "text", "text": "words, and [more]"}] * 3}
    assert nodes_of([tool] * 512) < JSON_NODES_MAX / 2
    assert nodes_of([message] * 4_096) < JSON_NODES_MAX / 5
    assert nodes_of([tool] * 512) + nodes_of([message] * 4_096) < JSON_NODES_MAX
    nested: dict[str, Any] = {"type": "string"}
    for _ in range(50):
        nested = {"type": "object", "properties": {"p": nested}}
    assert depth_of({"tools": [{"function": {"parameters": nested}}]}) < JSON_DEPTH_MAX
