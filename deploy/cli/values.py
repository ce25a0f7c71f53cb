"""Parsers of values on the command line of `rebootml`. A wrong value raises `ArgumentTypeError`, which says what is
allowed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from shared import tokens
from shared.ledger import api_keys
from shared.ledger.api_keys import GRACE_MAX, LIFE_MAX, RPM_MAX, SCOPES
from shared.money import NanoUsd, usd_to_nano
from shared.operators import operators

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
ROWS_MAX = 1_000_000
DIGITS_MAX = 12
"""Most digits of a number: more than any bound has, and few enough to compute with."""


def usd(text: str) -> NanoUsd:
    """Parse a decimal number in USD that is not negative."""
    amount = _usd(text)
    if amount < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative: an amount in USD such as 12.50")
    return amount


def usd_change(text: str) -> NanoUsd:
    """Parse a decimal number in USD; a negative one takes back."""
    amount = _usd(text)
    if amount == 0:
        raise argparse.ArgumentTypeError("the amount is zero: USD such as 25 or -5")
    return amount


def rpm(text: str) -> int:
    """Parse a number of requests per minute."""
    number = _whole(text)
    if number is None or not 1 <= number <= RPM_MAX:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to {RPM_MAX}")
    return number


def scopes(text: str) -> tuple[str, ...]:
    """Parse a comma list of an API key's scopes."""
    return _some_of(SCOPES, text)


def operator_scopes(text: str) -> tuple[str, ...]:
    """Parse a comma list of scopes of an operator's token."""
    return _some_of(operators.SCOPES, text)


def key_id(text: str) -> str:
    """Parse a key's id. A whole key is accepted, too, because that is what an operator has when a key leaked."""
    return _id_of(api_keys.PREFIX, text)


def token_id(text: str) -> str:
    """Parse the id of an operator's token; a whole token is accepted, too."""
    return _id_of(operators.PREFIX, text)


def rows_at_most(text: str) -> int:
    """Parse the most rows to show."""
    number = _whole(text)
    if number is None or not 1 <= number <= ROWS_MAX:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to {ROWS_MAX}")
    return number


def grace(text: str) -> timedelta:
    """Parse the time for which an old key stays valid."""
    found = _duration(text)
    if found is None or found > GRACE_MAX:
        raise argparse.ArgumentTypeError(f"a time from 0s to {GRACE_MAX.days}d, such as 90s, 15m, 24h or 30d")
    return found


def expiry(text: str) -> datetime:
    """Parse a moment in the future, in UTC unless it says otherwise, or a time from now."""
    now = datetime.now(UTC)
    found = _moment(text, now)
    if found is None or not now < found <= now + LIFE_MAX:
        raise argparse.ArgumentTypeError(
            f"a moment to come, such as 2027-01-31T12:00:00Z, or a time from now such as 24h or 30d, at most {LIFE_MAX.days}d"
        )
    return found


def since(text: str) -> datetime:
    """Parse a moment, in UTC unless it says otherwise, or a time before now."""
    now = datetime.now(UTC)
    found = _moment(text, now, back=True)
    if found is None:
        raise argparse.ArgumentTypeError("a moment such as 2027-01-31T12:00:00Z, or how long ago, such as 24h or 30d")
    return found


def _id_of(prefix: str, text: str) -> str:
    found = tokens.parted(prefix, text)
    return found[0] if found else text


def _some_of(known: Sequence[str], text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(scope.strip() for scope in text.split(",") if scope.strip()))
    if not found or set(found) - set(known):
        raise argparse.ArgumentTypeError(f"a comma list of {', '.join(known)}")
    return found


def _usd(text: str) -> NanoUsd:
    try:
        return usd_to_nano(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _whole(text: str) -> int | None:
    """A whole number; None for a text with anything but plain digits, or with too many."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX else None


def _duration(text: str) -> timedelta | None:
    """A number of seconds, or a number with a unit; None for anything else, or if it is too long to compute with."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "s")
    whole = _whole(number)
    try:
        return None if whole is None else timedelta(**{UNITS[unit]: whole})
    except OverflowError:
        return None


def _moment(text: str, now: datetime, *, back: bool = False) -> datetime | None:
    """A date or time in UTC unless it says otherwise, or a time from now (`back`: before now); None for anything else, or
    beyond the calendar.
    """
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except OverflowError:
        return None
    except ValueError:
        duration = _duration(text)
    try:
        return None if duration is None else now - duration if back else now + duration
    except OverflowError:
        return None
