"""Values on the line of `rebootml`; what is none raises `ArgumentTypeError`, which says what it takes."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from shared.ledger.api_keys import SCOPES
from shared.money import NanoUsd, usd_to_nano


def usd(text: str) -> NanoUsd:
    """A decimal number in USD."""
    try:
        return usd_to_nano(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def scopes(text: str) -> tuple[str, ...]:
    """A comma list of what a key may do."""
    found = tuple(scope.strip() for scope in text.split(",") if scope.strip())
    if not found or set(found) - set(SCOPES):
        raise argparse.ArgumentTypeError(f"a comma list of {', '.join(SCOPES)}")
    return found


def duration(text: str) -> timedelta:
    """A number of seconds, or with a unit."""
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    if not number.isdigit():
        raise argparse.ArgumentTypeError("a time such as 90s, 15m, 24h or 30d")
    try:
        return timedelta(**{units[unit]: int(number)})
    except OverflowError:
        raise argparse.ArgumentTypeError("a shorter time") from None


def moment(text: str) -> datetime:
    """A moment, in UTC unless it says otherwise, or a time from now."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        pass
    else:
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    try:
        return datetime.now(UTC) + duration(text)
    except OverflowError:
        raise argparse.ArgumentTypeError("an earlier moment") from None
