"""What a vendor takes for a model's tokens: the price fields of a row, and what of them is in force at a moment.

A price may change on a day that is known before, and may be lower outside of a vendor's peak hours. Whoever admits a request
takes the price of that moment; that it may cost more as a long request stays part of it (`Price.long_context`).
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

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
Tokens = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]
Hours = Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d-(([01]\d|2[0-3]):[0-5]\d|24:00)\Z")]
Weekdays = Annotated[str, msgspec.Meta(pattern=rf"^({'|'.join(DAYS)})(-({'|'.join(DAYS)}))?\Z")]


class WrittenRates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """USD per million tokens."""

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_long: Decimal | None = None


class WrittenLongContext(WrittenRates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All rates of a request with more than `above` tokens of input."""

    above: Tokens


class WrittenFlex(WrittenRates, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole price at that service tier."""

    long_context: WrittenLongContext | None = None


class RatesChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What becomes of rates; what is not named stays."""

    input: Decimal | None = None
    output: Decimal | None = None
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_long: Decimal | None = None


class LongContextChange(RatesChange, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The same of those of long requests."""

    above: Tokens | None = None


class PriceChange(RatesChange, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What becomes of a whole price."""

    long_context: LongContextChange | None = None


class WrittenChange(PriceChange, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What prices become at the beginning of a day in UTC; what is not named stays."""

    first_day: dt.date = msgspec.field(name="from")
    flex: PriceChange | None = None


class OffPeak(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The price is multiplied by `factor` outside of the hours `peak` on `days`, all in UTC; the last minute of `…-04:00` is
    03:59. A vendor's holidays count as other days: no calendar says when they are.
    """

    factor: Decimal
    peak: Annotated[tuple[Hours, ...], msgspec.Meta(min_length=1)]
    days: Weekdays = "Mon-Sun"

    def applies(self, moment: dt.datetime) -> bool:
        """Whether `moment`, which is in UTC, is outside of peak hours."""
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
    """A price, that of the tier `flex` where there is one, and the day at whose beginning in UTC both come into force; None
    for those which were there first.
    """

    since: dt.date | None
    price: Price
    flex: Price | None = None


class Phase(NamedTuple):
    """Which price is in force: the place of its step, and whether it is an off-peak one."""

    step: int = 0
    off_peak: bool = False


ALWAYS = Phase()


class Prices(msgspec.Struct, frozen=True):
    """What a vendor takes, step by step in the order of time."""

    steps: tuple[Step, ...]
    off_peak: OffPeak | None = None

    def phase(self, moment: dt.datetime) -> Phase:
        """What is in force at `moment`, which is in UTC."""
        if len(self.steps) == 1 and self.off_peak is None:
            return ALWAYS
        step = sum(one.since is not None and moment.date() >= one.since for one in self.steps)
        return Phase(step, self.off_peak is not None and self.off_peak.applies(moment))

    def phases(self) -> Iterator[Phase]:
        """All that there are."""
        for step in range(len(self.steps)):
            yield Phase(step)
            if self.off_peak:
                yield Phase(step, off_peak=True)

    def price_in(self, phase: Phase) -> Price:
        """The vendor's price."""
        price = self.steps[phase.step].price
        return price.times(self.off_peak.factor) if self.off_peak and phase.off_peak else price

    def flex_in(self, phase: Phase) -> Price | None:
        """What the vendor takes at that tier, which is the same at all hours; None where it has no such tier."""
        return self.steps[phase.step].flex


def prices_of(row: WrittenPrices) -> Prices:
    """Raises `ValueError` with a reason that names the field."""
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
            inside = str(error).replace("`", "'")  # the line that an operator is to look at is the change's
            raise ValueError(f"`price_changes` from {change.first_day}: {inside}") from None
    return Prices(tuple(steps), row.off_peak)


def version_of(vendor_price: Price, price: Price) -> str:
    """Names the pair for good, by its content."""
    return hashlib.sha256(msgspec.json.encode([_content(vendor_price), _content(price)])).hexdigest()[:12]


def _content(price: Price) -> dict[str, Any]:
    """The first three fields are always there: so the name of a price stays when the form of others grows."""
    return {"input": price.input, "output": price.output, "cached": price.cached, **msgspec.to_builtins(price)}


class _Written(NamedTuple):
    """A price as it stands in a row, in the field `inside` where that is not the row itself."""

    rates: dict[str, Decimal | None]
    long: dict[str, Any] | None
    inside: str

    @classmethod
    def of(cls, written: WrittenPrices | WrittenFlex, inside: str = "") -> _Written:
        long = None if written.long_context is None else msgspec.structs.asdict(written.long_context)
        return cls({name: getattr(written, name) for name in RATES}, long, inside)

    def changed(self, change: PriceChange | None) -> _Written:
        """The same with what is named."""
        if change is None:
            return self
        rates = {name: value for name in RATES if (value := getattr(change, name)) is not None}
        long = _named(change.long_context) if change.long_context else {}
        return self._replace(rates=self.rates | rates, long={**(self.long or {}), **long} if long else self.long)

    def price(self) -> Price:
        """Raises `ValueError`."""
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
    """The fields that are given."""
    return {name: value for name, value in msgspec.structs.asdict(written).items() if value is not None}


def _rates(written: dict[str, Any], inside: str = "") -> dict[str, Any]:
    """In nano-USD."""
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
    """The minutes of a day at which they begin and end."""
    a, b, c, d = map(int, re.split("[:-]", hours))
    return a * 60 + b, c * 60 + d


@cache
def _weekdays(days: str) -> frozenset[int]:
    """Numbers from 0 for Monday; a range may go beyond Sunday."""
    first, _, last = days.partition("-")
    start, end = DAYS.index(first), DAYS.index(last or first)
    return frozenset((start + step) % len(DAYS) for step in range((end - start) % len(DAYS) + 1))
