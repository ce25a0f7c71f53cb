"""Formats values for the pages: money, numbers, times."""

from __future__ import annotations

import datetime as dt
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any, NamedTuple

import msgspec

CENT_DIGITS = 2
ROUGH_DIGITS = 4
SHORT_FROM = 10_000
DAY_S, HOUR_S, MINUTE_S = 86_400, 3_600, 60


class Money(NamedTuple):
    """An exact amount in two parts: up to the cent, and the digits after it."""

    main: str
    fine: str


def money(amount: object) -> Money:
    """USD, from an exact decimal string or number.

    >>> money("-1234.50007")
    Money(main='−1,234.50', fine='007')
    """
    text = _text(amount)
    sign = "−" if text.startswith("-") else ""
    whole, _, fraction = text.removeprefix("-").partition(".")
    return Money(f"{sign}{int(whole):,}.{fraction[:CENT_DIGITS].ljust(CENT_DIGITS, '0')}", fraction[CENT_DIGITS:])


def rough(amount: object) -> str:
    """USD in cents, or with four digits below a dollar.

    >>> rough("12.3456"), rough("0.000123456")
    ('$12.34', '$0.0001234')
    """
    main, fine = money(amount)
    value = Decimal(_text(amount))
    if value >= 1 or not fine:
        return f"${main}"
    digits = Context(prec=ROUGH_DIGITS, rounding=ROUND_DOWN)
    return f"${digits.plus(value):f}"


def rate(amount: object) -> str:
    """A price per million tokens without trailing zeros; a dash for None."""
    if amount is None:
        return "–"
    value = Decimal(_text(amount))
    return f"{value:,.2f}" if value == round(value, 2) else f"{value.normalize():f}"


def number(value: int | None) -> str:
    """A whole number with thousands separators; a dash for None."""
    return "–" if value is None else f"{value:,}"


def short(value: int | None) -> str:
    """A number of tokens, rounded from 10,000 on.

    >>> short(8_192), short(131_072), short(1_048_576)
    ('8,192', '131K', '1.05M')
    """
    if value is None:
        return "–"
    for size, letter in ((1_000_000, "M"), (1_000, "K")):
        if value >= max(size, SHORT_FROM):
            return f"{value / size:.3g}{letter}"
    return number(value)


def moment(value: dt.datetime | None) -> str:
    """The time in UTC, to the second."""
    return "–" if value is None else f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}"


def lasted(seconds: float | None) -> str:
    """A span of time.

    >>> lasted(0.42), lasted(75), lasted(90_000)
    ('0.42 s', '1 min 15 s', '1 d 1 h')
    """
    if seconds is None:
        return "–"
    if seconds < MINUTE_S:
        return f"{seconds:.2f} s"
    whole = int(seconds)
    if whole < HOUR_S:
        return f"{whole // MINUTE_S} min {whole % MINUTE_S} s"
    if whole < DAY_S:
        return f"{whole // HOUR_S} h {whole % HOUR_S // MINUTE_S} min"
    return f"{whole // DAY_S} d {whole % DAY_S // HOUR_S} h"


def about(seconds: float) -> str:
    """A span of time that is only estimated.

    >>> about(6.57), about(75.2)
    ('7 s', '1 min 15 s')
    """
    return f"{max(1, round(seconds))} s" if seconds < MINUTE_S - 1 else lasted(max(seconds, MINUTE_S))


def percent(part: float, whole: float) -> float:
    """The width of a bar, in percent."""
    return round(100 * part / whole, 2) if whole else 0.0


def _text(amount: object) -> str:
    return bytes(amount).decode() if isinstance(amount, msgspec.Raw) else str(amount)


FILTERS: dict[str, Any] = {
    "money": money,
    "rate": rate,
    "rough": rough,
    "number": number,
    "short": short,
    "moment": moment,
    "lasted": lasted,
    "about": about,
    "percent": percent,
}
