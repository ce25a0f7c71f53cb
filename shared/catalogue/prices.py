"""A vendor's prices for a model's tokens: the price fields of a row, and the prices that are in force at a moment.

A price may change on a known day, and may be lower outside of a vendor's peak hours. A request has the price of the
moment of its admission, including the higher price of requests with long input (`Price.long_context`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, NamedTuple

import msgspec

from shared.money import FACTOR_WORDS, RATES, LongContext, Price, is_factor, price_from_usd
from shared.patterns import told_as

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
Tokens = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]
Hours = Annotated[
    str,
    msgspec.Meta(
        pattern=told_as("hours such as 16:30-24:00", r"^([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)\Z")
    ),
]
Weekdays = Annotated[
    str,
    msgspec.Meta(pattern=told_as("days such as Sat or Mon-Fri", rf"^({'|'.join(DAYS)})(-({'|'.join(DAYS)}))?\Z")),
]


class WrittenRates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rates in USD per million tokens."""

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_long: Decimal | None = None


class WrittenLongContext(WrittenRates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rates of a request with more than `above` tokens of input."""

    above: Tokens


class WrittenFlex(WrittenRates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole price at the tier flex."""

    long_context: WrittenLongContext | None = None


class RatesChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """New rates; those that are not given stay."""

    input: Decimal | None = None
    output: Decimal | None = None
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_long: Decimal | None = None


class LongContextChange(RatesChange, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """New rates of long requests; those that are not given stay."""

    above: Tokens | None = None


class PriceChange(RatesChange, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """New parts of a whole price; those that are not given stay."""

    long_context: LongContextChange | None = None


class WrittenChange(PriceChange, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """New prices from the beginning of a day in UTC; those that are not given stay."""

    first_day: dt.date = msgspec.field(name="from")
    flex: PriceChange | None = None


class OffPeak(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The price is multiplied by `factor` outside of the hours `peak` on `days`, all in UTC; the last minute of `…-04:00`
    is 03:59. A vendor's holidays count as ordinary days, because no calendar lists them.
    """

    factor: Decimal
    peak: Annotated[tuple[Hours, ...], msgspec.Meta(min_length=1)]
    days: Weekdays = "Mon-Sun"

    def applies(self, moment: dt.datetime) -> bool:
        """True if `moment` (in UTC) is outside of the peak hours."""
        minute = moment.hour * 60 + moment.minute
        on_peak = any(start <= minute < end for start, end in map(_minutes, self.peak))
        return not (on_peak and moment.weekday() in _weekdays(self.days))


class WrittenPrices(WrittenRates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The price fields of a row; `FIELDS.md` explains them."""

    long_context: WrittenLongContext | None = None
    price_changes: tuple[WrittenChange, ...] = ()
    off_peak: OffPeak | None = None
    flex: WrittenFlex | None = None
    price_factor: Decimal = Decimal(1)


class Step(NamedTuple):
    """A price, the price of the tier `flex` if there is one, and the day from whose beginning in UTC both are in force;
    None for the first step.
    """

    since: dt.date | None
    price: Price
    flex: Price | None = None


class Phase(NamedTuple):
    """The prices that are in force: the index of their step, and whether they are off-peak."""

    step: int = 0
    off_peak: bool = False


ALWAYS = Phase()


class Prices(msgspec.Struct, frozen=True):
    """A vendor's prices, in steps that are ordered by time."""

    steps: tuple[Step, ...]
    off_peak: OffPeak | None = None

    def phase(self, moment: dt.datetime) -> Phase:
        """The phase at `moment`, which is in UTC."""
        if len(self.steps) == 1 and self.off_peak is None:
            return ALWAYS
        step = sum(one.since is not None and moment.date() >= one.since for one in self.steps)
        return Phase(step, self.off_peak is not None and self.off_peak.applies(moment))

    def phases(self) -> Iterator[Phase]:
        """All phases of all steps."""
        for step in range(len(self.steps)):
            yield Phase(step)
            if self.off_peak:
                yield Phase(step, off_peak=True)

    def price_in(self, phase: Phase) -> Price:
        """The vendor's price in a phase."""
        price = self.steps[phase.step].price
        return price.times(self.off_peak.factor) if self.off_peak and phase.off_peak else price

    def flex_in(self, phase: Phase) -> Price | None:
        """The vendor's price at the tier flex, which is the same at all hours; None without that tier."""
        return self.steps[phase.step].flex


def prices_of(row: WrittenPrices) -> Prices:
    """Parse the price fields of a row. Raises `ValueError` with a reason that names the field."""
    _check_factors(row)
    written, flex = _Written.of(row), None if row.flex is None else _Written.of(row.flex, "flex")
    steps = [Step(None, written.price(), flex and flex.price())]
    for change in sorted(row.price_changes, key=lambda one: one.first_day):
        if change.first_day == steps[-1].since:
            raise ValueError(f"`price_changes` has two from {change.first_day}: write one")
        if change.flex and flex is None:
            raise ValueError(f"`price_changes` from {change.first_day} has 'flex', which the row lacks: write both")
        written, flex = written.changed(change), flex and flex.changed(change.flex)
        try:
            steps.append(Step(change.first_day, written.price(), flex and flex.price()))
        except ValueError as error:
            inside = str(error).replace("`", "'")  # the error names the line of the change
            raise ValueError(f"`price_changes` from {change.first_day}: {inside}") from None
    return Prices(tuple(steps), row.off_peak)


def version_of(vendor_price: Price, price: Price) -> str:
    """A name for the pair of prices, made of their content, so that it never means another pair."""
    return hashlib.sha256(msgspec.json.encode([_content(vendor_price), _content(price)])).hexdigest()[:12]


def _content(price: Price) -> dict[str, Any]:
    """The price as plain data. The first three fields are always present, so that a price keeps its name when other forms
    of prices gain fields.
    """
    return {"input": price.input, "output": price.output, "cached": price.cached, **msgspec.to_builtins(price)}


class _Written(NamedTuple):
    """A price as it is written in a row; `inside` names the field if it is not the row itself."""

    rates: dict[str, Decimal | None]
    long: dict[str, Any] | None
    inside: str

    @classmethod
    def of(cls, written: WrittenPrices | WrittenFlex, inside: str = "") -> _Written:
        long = None if written.long_context is None else msgspec.structs.asdict(written.long_context)
        return cls({name: getattr(written, name) for name in RATES}, long, inside)

    def changed(self, change: PriceChange | None) -> _Written:
        """The same price with what `change` gives."""
        if change is None:
            return self
        rates = {name: value for name in RATES if (value := getattr(change, name)) is not None}
        long = _named(change.long_context) if change.long_context else {}
        return self._replace(rates=self.rates | rates, long={**(self.long or {}), **long} if long else self.long)

    def price(self) -> Price:
        """Parse the price. Raises `ValueError`."""
        place = f"{self.inside}.long_context" if self.inside else "long_context"
        if self.long is None:
            return Price(**_rates(self.rates, self.inside))
        if missing := [name for name in ("above", "input", "output") if self.long.get(name) is None]:
            raise ValueError(f"`{place}` lacks {missing[0]!r}")
        if self.rates["cached"] is not None and self.long.get("cached") is None:
            raise ValueError(f"`{place}` lacks 'cached', which the row has: long requests have a price of their own")
        long = LongContext(above=self.long["above"], **_rates(self.long, place))
        return Price(**_rates(self.rates, self.inside), long_context=long)


def _named(written: msgspec.Struct) -> dict[str, Any]:
    """The fields that are given, by name."""
    return {name: value for name, value in msgspec.structs.asdict(written).items() if value is not None}


def _rates(written: dict[str, Any], inside: str = "") -> dict[str, Any]:
    """The rates in nano-USD."""
    rates = {}
    for name in RATES:
        value: Decimal | None = written.get(name)
        place = f"`{inside}`: {name!r}" if inside else f"`{name}`"
        if value is not None and (not value.is_finite() or value < 0):
            raise ValueError(f"{place} is a number and not negative")
        try:
            rates[name] = None if value is None else price_from_usd(value)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
    return rates


def _check_factors(row: WrittenPrices) -> None:
    if not is_factor(row.price_factor):
        raise ValueError(f"`price_factor` is {FACTOR_WORDS}")
    if row.off_peak and not is_factor(row.off_peak.factor):
        raise ValueError(f"`off_peak`: 'factor' is {FACTOR_WORDS}")
    for hours in row.off_peak.peak if row.off_peak else ():
        start, end = _minutes(hours)
        if start >= end:
            raise ValueError(f"`off_peak`: {hours!r} ends before it begins: write the hours of each day for themselves")


@cache
def _minutes(hours: str) -> tuple[int, int]:
    """The minutes of the day at which the hours begin and end."""
    a, b, c, d = map(int, re.split("[:-]", hours))
    return a * 60 + b, c * 60 + d


@cache
def _weekdays(days: str) -> frozenset[int]:
    """Numbers of weekdays, 0 for Monday; a range may pass over Sunday."""
    first, _, last = days.partition("-")
    start, end = DAYS.index(first), DAYS.index(last or first)
    return frozenset((start + step) % len(DAYS) for step in range((end - start) % len(DAYS) + 1))
