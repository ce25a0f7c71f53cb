from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.money import NANO_PER_USD, Price, Usage, divide_up, nano_to_usd, usd_to_nano

amounts = st.integers(-(10**18), 10**18)
tokens = st.integers(0, 10**7)
prices = st.integers(0, 10**12)


@given(amounts)
def test_an_amount_survives_the_way_to_a_decimal_string_and_back(nano: int) -> None:
    assert usd_to_nano(nano_to_usd(nano)) == nano
    assert "e" not in nano_to_usd(nano).lower()


@pytest.mark.parametrize(
    ("nano", "usd"),
    [(0, "0"), (1, "0.000000001"), (1_500_000_000, "1.5"), (-2_000_000_000, "-2"), (10 * NANO_PER_USD, "10")],
)
def test_an_amount_is_written_exactly_and_without_needless_zeros(nano: int, usd: str) -> None:
    assert nano_to_usd(nano) == usd


@pytest.mark.parametrize(
    "amount",
    [
        "",
        "five",
        "1,5",
        "nan",
        "sNaN",
        "inf",
        "-Infinity",
        "1000000000.000000001",
        "-1e10",
        "0.0000000001",
        "1.0000000000000000000000000000000000000001",
    ],
)
def test_what_is_no_amount_or_too_fine_or_too_much_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match=r"amount|decimals"):
        usd_to_nano(amount)


def test_trailing_zeros_make_an_amount_no_finer() -> None:
    assert usd_to_nano("2.50000000000000") == 2_500_000_000
    assert usd_to_nano(Decimal("1e3")) == 1_000 * NANO_PER_USD


@given(tokens, tokens, tokens, prices, prices, st.none() | prices)
def test_a_cost_is_the_exact_sum_rounded_up_once(
    fresh: int, cached: int, output: int, input_price: int, output_price: int, cached_price: int | None
) -> None:
    price = Price(input_price, output_price, cached_price)
    cost = price.cost(Usage(fresh + cached, output, cached=cached))
    of_cached = input_price if cached_price is None else cached_price
    exact = Fraction(fresh * input_price + cached * of_cached + output * output_price, 1_000_000)
    assert 0 <= cost - exact < 1


def test_one_token_of_the_cheapest_price_is_not_free() -> None:
    assert Price(input=1, output=0).cost(Usage(1, 0)) == 1


def test_reasoning_is_part_of_the_output_and_not_charged_on_top() -> None:
    price = Price(input=0, output=1_000_000)
    assert price.cost(Usage(0, 10, reasoning=7)) == 10


def test_cached_tokens_without_a_price_of_their_own_cost_as_input() -> None:
    assert Price(1_000_000, 0).cost(Usage(10, 0, cached=4)) == 10
    assert Price(1_000_000, 0, 500_000).cost(Usage(10, 0, cached=4)) == 8


def test_a_factor_scales_every_part_of_a_price_and_rounds_up() -> None:
    assert Price(10, 100, 1).times(Decimal("1.15")) == Price(12, 115, 2)
    assert Price(10, 100).times(Decimal(0)) == Price(0, 0)


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**12))
def test_dividing_up_is_the_ceiling(numerator: int, denominator: int) -> None:
    quotient = divide_up(numerator, denominator)
    assert (quotient - 1) * denominator < numerator <= quotient * denominator
