"""The price of a request as its row in `requests` has it: fixed at admission, whatever the catalogue says later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from shared.money import RATES, LongContext, Price, Writes

if TYPE_CHECKING:
    import asyncpg


class PinnedPrice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Nano-USD per million tokens, see `shared/money.py`. The prices `long_…` are for a request with more than `long_above`
    tokens of input. `price_version` names the whole price.
    """

    price_version: str
    input_price: int
    output_price: int
    cached_price: int | None
    cache_write_price: int | None = None
    cache_write_long_price: int | None = None
    long_above: int | None = None
    long_input_price: int | None = None
    long_output_price: int | None = None
    long_cached_price: int | None = None
    long_cache_write_price: int | None = None
    long_cache_write_long_price: int | None = None

    @property
    def price(self) -> Price:
        """The price as an object."""
        rates = {name: getattr(self, f"{name}_price") for name in RATES}
        long = None
        if self.long_above is not None:
            long_rates = {name: getattr(self, f"long_{name}_price") for name in RATES}
            long = LongContext(**long_rates, above=self.long_above)
        return Price(**rates, long_context=long)


def price_of(row: Mapping[str, Any] | asyncpg.Record) -> Price:
    """The price of a row that has all fields of a `PinnedPrice`."""
    return PinnedPrice(**{name: row[name] for name in PinnedPrice.__struct_fields__}).price


def pinned(price: Price, version: str, input_bound: int, writes: Writes = "long") -> dict[str, Any]:
    """The price fields of a reservation for at most `input_bound` tokens of input: the price, and the highest prices that
    may apply. `writes` says what the vendor may write to its cache.
    """
    columns: dict[str, Any] = {f"{name}_price": getattr(price, name) for name in RATES}
    if long := price.long_context:
        columns |= {f"long_{name}_price": getattr(long, name) for name in RATES}
        columns["long_above"] = long.above
    hold_input, hold_output = price.dearest(input_bound, writes)
    return {"price_version": version, **columns, "hold_input_price": hold_input, "hold_output_price": hold_output}
