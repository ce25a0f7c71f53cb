from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import (
    OperatorCredentials,
    ProviderBusy,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    RebootError,
)
from shared.settings import Settings
from workers.request.retry import delay_before_retry

HOUR = 3600.0
SETTINGS = Settings(database_url="", redis_url="")
calls_made = st.integers(1, 50)


@pytest.mark.parametrize("error", [ProviderRejected("x"), OperatorCredentials("x"), ProviderTimeout("x")])
def test_what_would_fail_again_is_not_repeated(error: RebootError) -> None:
    assert delay_before_retry(error, SETTINGS, calls=1, calls_max=10, left_s=HOUR) is None


@given(calls_made)
def test_no_more_calls_are_made_than_allowed(calls: int) -> None:
    assert delay_before_retry(ProviderError("x"), SETTINGS, calls=calls, calls_max=calls, left_s=HOUR) is None


@given(calls_made)
def test_the_delay_doubles_from_a_quarter_second_and_is_never_long(calls: int) -> None:
    delay = delay_before_retry(ProviderError("x"), SETTINGS, calls=calls, calls_max=51, left_s=HOUR)
    expected = min(0.25 * 2 ** (calls - 1), SETTINGS.retry_delay_max_s)
    assert delay is not None
    assert expected / 2 <= delay <= expected


@given(calls_made, st.floats(0.1, 600))
def test_a_time_that_the_vendor_named_is_its_upstreams_to_keep(calls: int, asked_s: float) -> None:
    error = ProviderBusy("x", retry_after_s=asked_s)
    assert delay_before_retry(error, SETTINGS, calls=calls, calls_max=51, left_s=HOUR) == 0


@given(calls_made, st.floats(0.1, 600))
def test_who_waits_alone_waits_for_that_time_and_longer_with_each_call(calls: int, asked_s: float) -> None:
    error, longest = ProviderBusy("x", retry_after_s=asked_s), min(0.25 * 2 ** (calls - 1), SETTINGS.retry_delay_max_s)
    delay = delay_before_retry(error, SETTINGS, calls=calls, calls_max=None, left_s=HOUR, alone=True)
    assert delay is not None
    assert max(asked_s, longest / 2) <= delay <= max(asked_s, longest)


@given(calls_made, st.floats(0.01, 600))
def test_nothing_waits_past_the_deadline(calls: int, left_s: float) -> None:
    delay = delay_before_retry(ProviderError("x"), SETTINGS, calls=calls, calls_max=51, left_s=left_s)
    assert delay is None or delay < left_s
    error = ProviderBusy("x", retry_after_s=left_s + 1)
    assert delay_before_retry(error, SETTINGS, calls=calls, calls_max=51, left_s=left_s) is None


def test_who_waits_for_capacity_is_bounded_by_the_deadline_alone() -> None:
    delay = delay_before_retry(ProviderBusy("x"), SETTINGS, calls=10_000, calls_max=None, left_s=HOUR)
    assert delay is not None
    assert SETTINGS.retry_delay_max_s / 2 <= delay <= SETTINGS.retry_delay_max_s
    assert delay_before_retry(ProviderBusy("x"), SETTINGS, calls=10_000, calls_max=None, left_s=4) == 2
    assert delay_before_retry(ProviderBusy("x"), SETTINGS, calls=1, calls_max=None, left_s=0.01) is None


def test_delays_are_spread_so_that_clients_do_not_return_together() -> None:
    delays = {delay_before_retry(ProviderError("x"), SETTINGS, calls=3, calls_max=9, left_s=HOUR) for _ in range(100)}
    assert len(delays) > 90


def test_an_operator_may_wait_longer() -> None:
    patient = Settings(database_url="", redis_url="", retry_delay_s=4, retry_delay_max_s=5)
    first, second = (delay_before_retry(ProviderError("x"), patient, calls=n, calls_max=9, left_s=HOUR) for n in (1, 2))
    assert first is not None
    assert 2 <= first <= 4
    assert second is not None
    assert 2.5 <= second <= 5
