from __future__ import annotations

import pytest

from shared.chat import Message
from shared.errors import ContextLengthExceeded, ProviderRejected
from shared.overflow import Overflow
from tests.harness.builders import a_job, a_model
from workers.request.too_long import with_numbers

SMALL = a_model(context_window=8_192, max_output_tokens=2_048)
UNCOUNTED = ContextLengthExceeded("It does not fit.")


@pytest.mark.parametrize(
    ("text_bytes", "tokens"),
    [
        (40_000, 10_004),  # a quarter of the bytes, and the template's
        (32_000, 8_004 + 2_048),  # with the output limit it does not fit
        (40, 8_193),  # by a far too low estimate: the vendor knows better
    ],
)
def test_without_the_vendors_count_an_estimate_beyond_the_window_is_told_as_one(text_bytes: int, tokens: int) -> None:
    job = a_job(model=SMALL, messages=[Message("user", "x" * text_bytes)], output_limit=2_048)
    told = Overflow.told_by(with_numbers(UNCOUNTED, job).body())
    assert told == Overflow(tokens=tokens, tokens_max=8_192, estimated=True)


@pytest.mark.parametrize(("counted", "tokens_max"), [(9_000, 8_192), (8_100, 8_081)])
def test_the_vendors_count_stands_beside_the_catalogues_window_unless_the_vendors_own_is_smaller(
    counted: int, tokens_max: int
) -> None:
    error = Overflow(tokens=counted, tokens_max=8_081).error()
    told = Overflow.told_by(with_numbers(error, a_job(model=SMALL)).body())
    assert told == Overflow(tokens=counted, tokens_max=tokens_max)


def test_another_error_stays_what_it_is() -> None:
    error = ProviderRejected("No.")
    assert with_numbers(error, a_job()) is error
