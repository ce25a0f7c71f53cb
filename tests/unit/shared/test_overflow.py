from __future__ import annotations

import pytest

from shared.errors import ContextLengthExceeded, ErrorBody, InvalidRequest, error_body, from_body
from shared.overflow import Overflow


@pytest.mark.parametrize(
    "overflow",
    [
        Overflow(tokens=9_000, tokens_max=8_192),
        Overflow(tokens=9_000, tokens_max=8_192, estimated=True),
        Overflow(tokens=203_096, tokens_max=200_000, tokens_output=4_096),
    ],
)
def test_the_numbers_survive_the_wire_and_the_books_which_keep_only_the_message(overflow: Overflow) -> None:
    told = overflow.error().body()
    assert told.message.startswith(f"This model's maximum context length is {overflow.tokens_max} tokens")
    assert Overflow.told_by(from_body(told).body()) == overflow
    assert Overflow.told_by(error_body(told.code, told.message)) == overflow


@pytest.mark.parametrize(
    "error",
    [
        ContextLengthExceeded("Messages and output limit do not fit.").body(),
        InvalidRequest(Overflow(tokens=2, tokens_max=1).message).body(),
    ],
)
def test_another_error_tells_no_numbers(error: ErrorBody) -> None:
    assert Overflow.told_by(error) is None
