from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ids import created_at, new_id

YEAR_9999_MS = 253_370_764_800_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.integers(0, YEAR_9999_MS))
def test_an_id_tells_to_the_millisecond_when_it_was_made(now_ms: int) -> None:
    assert created_at(new_id("req", now_ms)) == EPOCH + timedelta(milliseconds=now_ms)


@given(st.integers(0, YEAR_9999_MS), st.integers(1, 10**9))
def test_a_later_id_sorts_behind_an_earlier_one(now_ms: int, later: int) -> None:
    assert new_id("req", now_ms) < new_id("req", now_ms + later)


def test_ids_of_one_millisecond_differ() -> None:
    assert len({new_id("req", 1) for _ in range(10_000)}) == 10_000


def test_an_id_is_its_prefix_and_26_characters() -> None:
    prefix, _, body = new_id("acc").partition("_")
    assert (prefix, len(body), body.lower(), body.isalnum()) == ("acc", 26, body, True)


@pytest.mark.parametrize("identity", ["", "req_", "req_" + "0" * 25, "req_" + "0" * 27, "req_" + "u" * 26])
@pytest.mark.parametrize("change", ["", "é", "\0"])
def test_what_is_no_id_is_refused(identity: str, change: str) -> None:
    with pytest.raises(ValueError, match="not an id"):
        created_at(identity + change)


@pytest.mark.parametrize("identity", ["req_8" + "0" * 25, "req_7" + "z" * 25, "req_" + "0" * 25 + "I"])
def test_an_impossible_time_or_letter_is_refused(identity: str) -> None:
    with pytest.raises(ValueError, match=r"not an id|out of range"):
        created_at(identity)
