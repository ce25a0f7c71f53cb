"""Copies of requests take no more than their bytes."""

from __future__ import annotations

from typing import Any

from api.requests.copies import BYTES_BESIDE, Copies
from shared.chat import Message
from shared.job import PackedJob
from tests.harness.builders import a_job, packed_job


def saying(size: int, **changes: Any) -> PackedJob:
    return packed_job(a_job(messages=[Message("user", "a" * size)], **changes))


def test_the_oldest_go_first() -> None:
    copies = Copies(bytes_max=4 * (BYTES_BESIDE + 1_100))
    kept = [copies.keep(saying(1_000)) for _ in range(6)]
    assert [copy.job is not None for copy in kept] == [False, False, True, True, True, True]


def test_what_is_dropped_makes_room() -> None:
    copies = Copies(bytes_max=4 * (BYTES_BESIDE + 1_100))
    kept = [copies.keep(saying(1_000)) for _ in range(4)]
    kept[2].drop()
    kept[2].drop()
    copies.keep(saying(1_000))
    assert [copy.job is not None for copy in kept] == [True, True, False, True]
    for copy in kept:
        copy.drop()
    assert 0 < copies.bytes < BYTES_BESIDE + 1_100


def test_a_large_one_pushes_out_no_others() -> None:
    copies = Copies(bytes_max=40_000)
    small = copies.keep(saying(1_000))
    assert copies.keep(saying(20_000)).job is None
    assert small.job is not None
