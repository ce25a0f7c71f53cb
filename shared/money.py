"""Money is integers: nano-USD (1e-9 USD). Prices are nano-USD per million tokens; costs are rounded up once."""

from __future__ import annotations

from decimal import Decimal, Inexact, localcontext
from typing import Annotated, Literal, NewType, Self

import msgspec

from shared.patterns import told_as

NanoUsd = NewType("NanoUsd", int)
NANO_PER_USD = 1_000_000_000
TOKENS_PER_PRICE = 1_000_000
USD_MAX = Decimal(1_000_000_000)
"""The largest amount that is accepted; a bigint of nano-USD holds nine times as much."""
BIGINT_MAX = 2**63 - 1
"""The largest bigint of Postgres."""
COST_MAX = NanoUsd(BIGINT_MAX // TOKENS_PER_PRICE - 1)
"""The largest cost of one request, 9,223 USD: a bigint must hold its sum of products before the division."""
FACTOR_MIN, FACTOR_MAX, FACTOR_DECIMALS = Decimal("1e-9"), Decimal(1_000), 18
FACTOR_WORDS = "0, or a decimal number from 0.000000001 to 1000 with at most 18 decimals"
Writes = Literal["none", "short", "long"]
"""True if a request may make its vendor write to a cache, and if so, whether for minutes or for longer."""
UsdText = Annotated[
    str,
    msgspec.Meta(
        pattern=told_as("USD with at most nine decimals", r"^-?[0-9]+(\.[0-9]{1,9})?$(?!\n)"),
        description="USD, an exact decimal string.",
        examples=["12.5"],
    ),
]
UsdNumber = Annotated[
    msgspec.Raw,
    msgspec.Meta(description="USD, an exact JSON number.", examples=[0.00001515], extra_json_schema={"type": "number"}),
]


class Usage(msgspec.Struct, frozen=True):
    """Billed tokens of one request. `cached` (read from a cache) and `written` (written to one) are parts of `input`;
    `written_long` is the part of `written` that is kept longer. `reasoning` is the hidden part of `output`. `estimated`
    marks counts that the vendor did not report.
    """

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0
    estimated: bool = False
    written: int = 0
    written_long: int = 0

    @property
    def uncached(self) -> int:
        """Input tokens that were neither read from nor written to a cache."""
        return self.input - self.cached - self.written

    def adds_up(self) -> bool:
        """True if no count is negative and no part is larger than its whole."""
        parts = (self.uncached, self.cached, self.written - self.written_long, self.written_long)
        return min(parts) >= 0 and 0 <= self.reasoning <= self.output


class Rates(msgspec.Struct, frozen=True, omit_defaults=True):
    """Nano-USD per million tokens. Without a price of their own, cached and written tokens cost what ordinary input costs,
    and long writes cost what other writes cost.
    """

    input: int
    output: int
    cached: int | None = None
    cache_write: int | None = None
    cache_write_long: int | None = None

    def products(self, usage: Usage) -> int:
        """The sum of tokens times prices: nano-USD times a million."""
        cached = self.input if self.cached is None else self.cached
        write = self.input if self.cache_write is None else self.cache_write
        write_long = write if self.cache_write_long is None else self.cache_write_long
        written_short = usage.written - usage.written_long
        inputs = usage.uncached * self.input + usage.cached * cached
        return inputs + written_short * write + usage.written_long * write_long + usage.output * self.output

    def dearest_input(self, writes: Writes) -> int:
        """The highest price of an input token, for a vendor that writes no more to its cache than `writes` says."""
        short = 0 if writes == "none" else self.cache_write or 0
        long = self.cache_write_long or 0 if writes == "long" else 0
        return max(self.input, self.cached or 0, short, long)

    def times(self, factor: Decimal) -> Self:
        """Each rate times `factor`, rounded up: the customer's price."""
        rates = ((name, getattr(self, name)) for name in RATES)
        scaled = {name: _scaled(rate, factor) for name, rate in rates if rate is not None}
        return msgspec.structs.replace(self, **scaled)


RATES = Rates.__struct_fields__


class LongContext(Rates, frozen=True, kw_only=True):
    """The rates of all tokens of a request with more than `above` tokens of input, cached and written ones included."""

    above: int


class Price(Rates, frozen=True):
    """The whole price of a model's tokens at one moment. `long_context` has other rates for long requests."""

    long_context: LongContext | None = None

    def cost(self, usage: Usage) -> NanoUsd:
        """Nano-USD for `usage`: one sum of products, rounded up once.

        >>> Price(input=150_000_000, output=600_000_000).cost(Usage(input=1, output=1))
        750
        """
        return NanoUsd(divide_up(self.rates_of(usage.input).products(usage), TOKENS_PER_PRICE))

    def rates_of(self, input_tokens: int) -> Rates:
        """The rates of a request with this many tokens of input."""
        long = self.long_context
        return long if long is not None and input_tokens > long.above else self

    def dearest(self, input_bound: int, writes: Writes = "long") -> tuple[int, int]:
        """The highest prices of an input token and of an output token, in a request with at most `input_bound` tokens of
        input.
        """
        possible = (self, self.rates_of(input_bound))
        return max(rates.dearest_input(writes) for rates in possible), max(rates.output for rates in possible)

    def hold(self, input_bound: int, output_limit: int, writes: Writes = "long") -> NanoUsd:
        """The nano-USD that no usage within these bounds exceeds."""
        input_price, output_price = self.dearest(input_bound, writes)
        return NanoUsd(divide_up(input_bound * input_price + output_limit * output_price, TOKENS_PER_PRICE))

    def times(self, factor: Decimal) -> Self:
        """The whole price times `factor`."""
        scaled = super().times(factor)
        long = scaled.long_context
        return scaled if long is None else msgspec.structs.replace(scaled, long_context=long.times(factor))


def _scaled(nano_per_mtok: int, factor: Decimal) -> int:
    numerator, denominator = factor.as_integer_ratio()
    return divide_up(nano_per_mtok * numerator, denominator)


def is_factor(value: Decimal) -> bool:
    """True if a price may be multiplied by the number, see `FACTOR_WORDS`. A number with an unbounded exponent would take
    minutes to compute.
    """
    if not value.is_finite() or int(value.as_tuple().exponent) < -FACTOR_DECIMALS:
        return False
    return value == 0 or FACTOR_MIN <= value <= FACTOR_MAX


def divide_up(numerator: int, denominator: int) -> int:
    """The quotient rounded up, in integers."""
    return -(-numerator // denominator)


def price_from_usd(usd_per_mtok: Decimal) -> int:
    """USD per million tokens as nano-USD per million tokens; raises `ValueError` for more than nine decimals."""
    return usd_to_nano(usd_per_mtok)


def usd_to_nano(amount: Decimal | str) -> NanoUsd:
    """Exact nano-USD of an amount in USD. Raises `ValueError` for a text that is no amount or has over nine decimals."""
    try:
        usd = Decimal(amount if not isinstance(amount, str) or amount.isascii() else "no digits of ours")
    except ArithmeticError:
        raise ValueError(f"{amount!r} is not an amount in USD such as 12.50") from None
    if not usd.is_finite() or not -USD_MAX <= usd <= USD_MAX:
        raise ValueError(f"{amount} is not an amount between -{USD_MAX} and {USD_MAX} USD")
    try:
        with localcontext() as context:
            context.traps[Inexact] = True
            return NanoUsd(int((usd * NANO_PER_USD).to_integral_exact()))
    except Inexact:
        raise ValueError(f"{amount} USD has more than nine decimals") from None


def nano_to_usd(nano: int) -> str:
    """An exact decimal string in USD, without an exponent or needless zeros: 1500000000 is `1.5`.

    >>> nano_to_usd(750), nano_to_usd(-2_000_000_000)
    ('0.00000075', '-2')
    """
    sign, rest = ("-", -nano) if nano < 0 else ("", nano)
    whole, fraction = divmod(rest, NANO_PER_USD)
    return f"{sign}{whole}.{fraction:09d}".rstrip("0").rstrip(".")


def usd_number(nano: int) -> msgspec.Raw:
    """An exact JSON number in USD."""
    return msgspec.Raw(nano_to_usd(nano).encode())
