"""The requests of a body are found in it however it arrives, and what is no such body is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.batches.lines import NumberedPart
from api.batches.requests import FIELD_BYTES_MAX, FIELDS_MAX, Requests
from shared.errors import InvalidRequest

ODD = st.text(st.sampled_from('a"\\{}[]:, \n\u00e9\U0001f600'), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD, inner, max_size=3),
    max_leaves=8,
)
OTHERS = st.dictionaries(ODD.filter(lambda name: name != "requests"), VALUES, max_size=2)


def split(body: bytes, size: int = 3, bytes_max: int = 10_000, *, strict: bool = False) -> list[NumberedPart]:
    requests = Requests(bytes_max, strict=strict)
    found = [one for start in range(0, len(body), size) for one in requests.of(body[start : start + size])]
    return found + list(requests.last())


def decoded(found: list[NumberedPart]) -> list[Any]:
    return [json.loads(line or b"") for _, line in found]


@given(
    st.lists(VALUES, min_size=1, max_size=4),
    OTHERS,
    OTHERS,
    st.integers(1, 9),
    st.sampled_from([None, 0, 3]),
    st.booleans(),
)
def test_requests_are_the_same_however_they_arrive(
    requests: list[Any],
    before: dict[str, Any],
    behind: dict[str, Any],
    size: int,
    indent: int | None,
    ascii_only: bool,  # noqa: FBT001
) -> None:
    behind = {name: value for name, value in behind.items() if name not in before}
    body = json.dumps({**before, "requests": requests, **behind}, indent=indent, ensure_ascii=ascii_only).encode()
    found = split(body, size)
    assert [number for number, _ in found] == list(range(1, len(requests) + 1))
    assert decoded(found) == requests


@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_backslashes_at_the_ends_of_pieces_escape_what_they_escape(size: int) -> None:
    requests = [{"text": "\\" * length + '"]}' * 2} for length in range(6)]
    assert decoded(split(json.dumps({"requests": requests}).encode(), size)) == requests


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_a_request_that_is_too_long_is_none_and_nothing_of_it_is_kept(size: int) -> None:
    long, short = {"text": "x" * 200}, {"text": "x"}
    body = json.dumps({"requests": [short, long, short]}).encode()
    found = split(body, size, bytes_max=100)
    assert [line is None for _, line in found] == [False, True, False]
    requests = Requests(100, strict=False)
    for start in range(0, body.index(b"xxx") + 150, size):
        list(requests.of(body[start : start + size]))
        assert requests.under_way <= 100


BODIES = [
    b"",
    b"[]",
    b'"requests"',
    b"{}",
    b'{"requests"}',
    b'{"requests":}',
    b'{"requests":null}',
    b'{"requests":{}}',
    b'{"requests":[]}',
    b'{"requests":[{}',
    b'{"requests":[{}]',
    b'{"requests":[{},]}',
    b'{"requests":[,{}]}',
    b'{"requests":[{}{}]}',
    b'{"requests":[{}]]}',
    b'{"requests":[{}],}',
    b'{"requests":[{}]}}',
    b'{"requests":[{}]} x',
    b'{"requests":[{}],"requests":[{}]}',
    b'{,"requests":[{}]}',
    b"{requests:[{}]}",
    b'{"requests":[{}],"other":nothing}',
    b'{"requests":[{}],"other":[}}',
    b'{"re\nquests":[{}]}',
    b"{" + b'"requests":[{}],"other":"' + b"x" * FIELD_BYTES_MAX + b'"}',
    b'{"' + b"x" * FIELD_BYTES_MAX + b'":1,"requests":[{}]}',
    json.dumps({"requests": [{}]} | {f"x{number}": 1 for number in range(FIELDS_MAX + 1)}).encode(),
    b"{}\n{}",
]


@pytest.mark.parametrize("body", BODIES, ids=[body[:40].decode() for body in BODIES])
@pytest.mark.parametrize("size", [1, 1_000_000])
def test_what_is_no_such_body_is_refused(body: bytes, size: int) -> None:
    with pytest.raises(InvalidRequest):
        split(body, size)


def test_other_fields_are_named_unless_they_are_null_and_refused_to_a_strict_key() -> None:
    body = b'{"priority": "high", "requests": [{}], "user_profile_id": null, "priority": 1}'
    requests = Requests(100, strict=False)
    assert len(list(requests.of(body))) == 1
    assert requests.others == ["priority"]
    with pytest.raises(InvalidRequest, match="`priority` is not known here"):
        split(body, strict=True)
    assert split(b'{"requests": [{}], "user_profile_id": null}', strict=True) == [(1, b"{}")]


def test_what_is_under_way_is_a_request_without_its_end() -> None:
    requests = Requests(1_000, strict=False)
    list(requests.of(b'{"requests": [{"a": "' + b"x" * 100))
    assert requests.under_way == len(b'{"a": "') + 100
    list(requests.of(b'"}'))
    assert requests.under_way == 0
