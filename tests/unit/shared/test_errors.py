from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from shared import errors
from shared.errors import ErrorBody, ProviderBusy, ProviderError, RateLimited, RebootError, from_body


def _all(root: type[RebootError] = RebootError) -> Iterator[type[RebootError]]:
    """The classes of the module; other modules may have narrower ones of their own."""
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from _all(kind)


@pytest.mark.parametrize("kind", list(_all()), ids=lambda kind: kind.__name__)
def test_the_tree_in_the_docstring_is_the_tree_in_the_code(kind: type[RebootError]) -> None:
    (line,) = [line for line in (errors.__doc__ or "").splitlines() if f" {kind.__name__} " in line]
    drawn = line.split(kind.__name__)[1].split()
    assert drawn[:2] == [str(kind.status), kind.code]
    assert ("yes" in " ".join(drawn[2:])) == kind.retryable


@pytest.mark.parametrize("kind", list(_all()), ids=lambda kind: kind.__name__)
def test_an_error_that_crossed_a_wire_has_its_code_status_and_details_again(kind: type[RebootError]) -> None:
    sent = kind("do this instead", retry_after_s=3.5, needed_usd="1").body()
    received = from_body(msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=ErrorBody))
    assert (received.code, received.message, received.retry_after_s) == (kind.code, "do this instead", 3.5)
    assert received.details == {"needed_usd": "1"}
    assert received.status == kind.status or kind.code == "invalid_request"  # 405 shares the code of 400


def test_a_code_that_several_errors_share_comes_back_as_the_most_general_one() -> None:
    assert type(from_body(ProviderError("x").body())) is ProviderError
    assert type(from_body(errors.MethodNotAllowed("x").body())) is errors.InvalidRequest


def test_an_unknown_code_comes_back_as_our_own_fault() -> None:
    assert from_body(ErrorBody("from_the_future", "?", 599)).status == 500


def test_waiting_errors_say_how_long_unless_told() -> None:
    assert RateLimited("x").retry_after_s == 1.0
    assert ProviderBusy("x", retry_after_s=9).body().retry_after_s == 9
    assert ProviderError("x").body().retry_after_s is None


@pytest.mark.parametrize("kind", [errors.OperatorCredentials, errors.EndUnknown])
def test_an_error_that_is_not_worth_another_try_stays_one_on_its_way(kind: type[RebootError]) -> None:
    again = from_body(kind("x").body())
    assert (type(again), again.retryable) == (kind, False)
