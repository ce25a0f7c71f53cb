from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.money import (
    NANO_PER_USD,
    RATES,
    LongContext,
    Price,
    Rates,
    Usage,
    Writes,
    divide_up,
    nano_to_usd,
    usd_to_nano,
)

amounts = st.integers(-(10**18), 10**18)
tokens = st.integers(0, 10**7)
prices = st.integers(0, 10**12)
five_rates = st.tuples(prices, prices, *[st.none() | prices] * 3)
FORMS = Price(
    1_000_000,
    10_000_000,
    100_000,
    1_250_000,
    2_500_000,
    LongContext(2_000_000, 15_000_000, 200_000, 2_500_000, 5_000_000, above=100),
)
"""In nano-USD a token: input 1, output 10, cached 0.1, written 1.25 or 2.5; of long requests twice that, but output 15."""


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


def test_written_tokens_cost_what_vendors_take_for_them_and_not_what_ordinary_input_costs() -> None:
    assert FORMS.cost(Usage(100, 0, written=40)) == 60 + 50
    assert FORMS.cost(Usage(100, 0, written=40, written_long=40)) == 60 + 100
    assert FORMS.cost(Usage(100, 2, cached=20, written=40, written_long=10)) == 40 + 2 + 37.5 + 25 + 20 + 0.5  # up


def test_without_prices_of_their_own_written_tokens_cost_as_input_and_those_that_are_kept_longer_as_other_written_ones() -> (
    None
):
    everything = Usage(10, 0, written=6, written_long=2)
    assert Price(1_000_000, 0).cost(everything) == 10
    assert Price(1_000_000, 0, cache_write=2_000_000).cost(everything) == 4 + 12
    assert Price(1_000_000, 0, cache_write_long=2_000_000).cost(everything) == 8 + 4


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(100, 1), 110),
        (Usage(101, 1), 202 + 15),
        (Usage(101, 1, cached=101), 21 + 15),  # 20.2 up
        (Usage(101, 0, cached=50, written=51, written_long=1), 10 + 125 + 5),
    ],
)
def test_one_token_above_the_threshold_moves_the_whole_request_whatever_its_tokens_are(usage: Usage, cost: int) -> None:
    assert FORMS.cost(usage) == cost


def test_a_hold_is_at_the_dearest_price_that_the_tokens_can_reach() -> None:
    assert FORMS.dearest(100) == (2_500_000, 10_000_000)
    assert FORMS.dearest(101) == (5_000_000, 15_000_000)
    assert (FORMS.hold(100, 2), FORMS.hold(101, 2)) == (250 + 20, 505 + 30)
    odd = Price(9, 9, long_context=LongContext(1, 20, above=100))
    assert odd.dearest(101) == (9, 20)
    assert Price(1, 1, cached=5).dearest(1) == (5, 1)


@pytest.mark.parametrize(("writes", "input_price"), [("none", 1_000_000), ("short", 1_250_000), ("long", 2_500_000)])
def test_a_hold_counts_only_what_may_be_written(writes: Writes, input_price: int) -> None:
    assert FORMS.dearest(100, writes) == (input_price, 10_000_000)
    assert FORMS.dearest(101, writes) == (2 * input_price, 15_000_000)
    written = 0 if writes == "none" else 100
    usage = Usage(100, 2, written=written, written_long=100 if writes == "long" else 0)
    assert FORMS.cost(usage) == FORMS.hold(100, 2, writes)


@given(five_rates, five_rates, st.integers(0, 10**6), st.lists(st.integers(0, 10**6), min_size=6, max_size=6))
def test_no_usage_within_its_bounds_costs_more_than_its_hold(
    short: tuple[int, ...], long: tuple[int, ...], above: int, counts: list[int]
) -> None:
    rates: dict[str, Any] = dict(zip(RATES, short, strict=True))
    price = Price(**rates, long_context=LongContext(*long, above=above))
    uncached, cached, written, written_long, output, more = counts
    usage = Usage(
        uncached + cached + written + written_long,
        output,
        cached,
        written=written + written_long,
        written_long=written_long,
    )
    assert usage.adds_up()
    assert price.cost(usage) <= price.hold(usage.input, output) <= price.hold(usage.input + more, output + more)


def test_a_factor_scales_every_part_of_a_price_and_rounds_up() -> None:
    assert Price(10, 100, 1).times(Decimal("1.15")) == Price(12, 115, 2)
    assert Price(10, 100).times(Decimal(0)) == Price(0, 0)
    every = Price(10, 100, 1, 13, 20, LongContext(20, 150, 2, 26, None, above=7))
    assert every.times(Decimal("1.1")) == Price(11, 110, 2, 15, 22, LongContext(22, 165, 3, 29, None, above=7))
    assert Rates(10, 100, 1).times(Decimal("0.5")) == Rates(5, 50, 1)


@pytest.mark.parametrize(
    "contradictory",
    [
        Usage(5, 5, cached=6),
        Usage(5, 5, cached=3, written=3),
        Usage(5, 5, written=6),
        Usage(5, 5, written=2, written_long=3),
        Usage(5, 5, cached=-1),
        Usage(5, 5, written=-1, written_long=-1),
        Usage(5, 5, written=1, written_long=-1),
        Usage(5, 5, reasoning=6),
        Usage(-1, 5),
        Usage(5, -1),
    ],
)
def test_a_part_is_not_negative_and_not_larger_than_its_whole(contradictory: Usage) -> None:
    assert not contradictory.adds_up()
    assert Usage(5, 5, cached=2, reasoning=5, written=3, written_long=3).adds_up()


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**12))
def test_dividing_up_is_the_ceiling(numerator: int, denominator: int) -> None:
    quotient = divide_up(numerator, denominator)
    assert (quotient - 1) * denominator < numerator <= quotient * denominator
