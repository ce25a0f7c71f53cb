"""`rebootml models check FILE`: the catalogue's prices beside those of a list that others keep.

Differences that are known stand with their reason in a file of their own (`--accept FILE`):

    [[accept]]
    name = "openai-gpt-5.6-sol"
    field = "input"            # left out: all of them
    reason = "their promotion is over"
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from deploy.cli.command import Answer
from deploy.cli.price_lists import DEPRECATED, FIELDS, ONE_SIDED, PARTS, PriceList, UnknownForm, read_price_list
from shared.catalogue.files import tables_in_force
from shared.catalogue.names import GEOGRAPHY
from shared.catalogue.rows import parse_row
from shared.money import nano_to_usd, usd_number, usd_to_nano
from shared.settings import Settings

MODEL, LIFECYCLE = "model", "lifecycle"
DECIMALS = 9
NESTED = ("long_context", "off_peak")
UNKNOWN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, re.error)
"""Errors that a list in an unknown form causes."""
AS_INPUT = {"cached": "input", "cache_write": "input"}
"""Prices that default to another one."""


class Difference(NamedTuple):
    """A price that differs. `field` is a field of the row, with a point for a nested one, as `long_context.input`; `model`
    if their list lacks the model, `lifecycle` if it has ended there. Prices are USD per million tokens, None if there is
    none.
    """

    name: str
    field: str
    ours: Decimal | str | None
    theirs: Decimal | str | None

    def row(self) -> dict[str, Any]:
        """The difference in JSON, with exact numbers."""
        return {"name": self.name, "field": self.field, "ours": _json(self.ours), "theirs": _json(self.theirs)}

    def told(self) -> dict[str, str]:
        """The difference for people."""
        return {"model": self.name, "difference": f"{self.field}: {self._words()}"}

    def _words(self) -> str:
        if self.field == MODEL:
            return f"{self.ours} is missing there"
        ours, theirs = (_plain(value) for value in (self.ours, self.theirs))
        words = f"{ours} here, {theirs} there"
        if isinstance(self.ours, Decimal) and isinstance(self.theirs, Decimal):
            return f"{words}: {'dearer' if self.ours > self.theirs else 'cheaper'} here"
        return words


class Accepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A known difference."""

    name: str
    reason: str
    field: str | None = None


class AcceptFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All known differences."""

    accept: list[Accepted] = []


def check_prices(arguments: argparse.Namespace, settings: Settings) -> Answer:
    """Compare the prices. Exit status 1 if something differs that is not accepted."""
    today = dt.datetime.now(dt.UTC).date()
    theirs = read_price_list(arguments.file, today)
    accepted = _accepted(arguments.accept) if arguments.accept else []
    tables = list(tables_in_force(settings.catalogue_overlay).models.values())
    for table in tables:
        parse_row(table)  # errors in an overlay name the line
    found = [one for table in tables for one in _found(arguments.file, table.fields, theirs, today)]
    found = [one for one in found if not _is_accepted(one, accepted)]
    return Answer([one.row() for one in found], 1 if found else 0, [one.told() for one in found])


def _found(path: Path, row: Mapping[str, Any], theirs: PriceList, today: dt.date) -> list[Difference]:
    try:
        return list(differences(row, theirs, today))
    except UNKNOWN as error:
        raise UnknownForm(
            f"{path}: what it says of {row['upstream']!r} has no form that is known here: {error}"
        ) from None


def differences(row: Mapping[str, Any], prices: PriceList, today: dt.date) -> Iterator[Difference]:
    """The differences of a row as written; none for a model that is retired here, or at an operator's own address."""
    name, lifecycle = row["name"], row["lifecycle"]
    if lifecycle == "retired" or row.get("base_url"):
        return
    theirs = prices.find(row["provider"], _names(row))
    if theirs is None:
        yield Difference(name, MODEL, row["upstream"], None)
        return
    if theirs.ended and (lifecycle, theirs.ended) != ("legacy", DEPRECATED):
        yield Difference(name, LIFECYCLE, lifecycle, theirs.ended)
    yield from _prices(name, prices_of(row, today), theirs.prices)


def _prices(name: str, ours: Mapping[str, Decimal], theirs: Mapping[str, Decimal]) -> Iterator[Difference]:
    for field in FIELDS:
        group, _, _ = field.rpartition(".")
        if field not in ours and field not in theirs:
            continue
        if group and not _both_have(group, ours, theirs) and field not in ONE_SIDED:
            continue
        mine, their = _price(ours, field), _price(theirs, field)
        if field.endswith("cache_write_long") and None in {mine, their}:
            continue  # many lists lack this field
        if mine != their:
            yield Difference(name, field, mine, their)


def _both_have(group: str, *sides: Mapping[str, Decimal]) -> bool:
    return all(any(field.startswith(f"{group}.") for field in side) for side in sides)


def _price(prices: Mapping[str, Decimal], field: str) -> Decimal | None:
    """The price, rounded to the allowed decimals; the default's if this field is missing."""
    group, point, part = field.rpartition(".")
    price = prices.get(field)
    if price is None and part in AS_INPUT:
        price = prices.get(f"{group}{point}{AS_INPUT[part]}")
    return None if price is None else round(price, DECIMALS)


def prices_of(row: Mapping[str, Any], today: dt.date) -> dict[str, Decimal]:
    """The prices in force on that day, by field."""
    in_force = dict(row)
    for change in sorted(row.get("price_changes", ()), key=_first_day):
        if _first_day(change) <= today:
            nested = {field: (in_force.get(field) or {}) | change[field] for field in NESTED if field in change}
            in_force.update(change | nested)
    flat = {part: in_force.get(part) for part in PARTS}
    for field in NESTED:
        flat |= {f"{field}.{part}": value for part, value in (in_force.get(field) or {}).items()}
    return {field: Decimal(value) for field, value in flat.items() if isinstance(value, int | Decimal)}


def _first_day(change: Mapping[str, Any]) -> dt.date:
    """The day, as a TOML date or in quotes, which the catalogue also accepts."""
    return dt.date.fromisoformat(str(change["from"]))


def _names(row: Mapping[str, Any]) -> list[str]:
    """The names to look up, the vendor's id first. The id without the geographic prefix of an inference profile comes last,
    because it may have another price.
    """
    upstream = row["upstream"]
    return [upstream, *row.get("aliases", ()), GEOGRAPHY.sub("", upstream, count=1)]


def _json(value: Decimal | str | None) -> msgspec.Raw | str | None:
    return usd_number(usd_to_nano(value)) if isinstance(value, Decimal) else value


def _plain(value: Decimal | str | None) -> str:
    return "none" if value is None else nano_to_usd(usd_to_nano(value)) if isinstance(value, Decimal) else value


def _accepted(path: Path) -> list[Accepted]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(document, AcceptFile).accept
    except OSError as error:
        raise UnknownForm(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, msgspec.ValidationError) as error:
        raise UnknownForm(f"{path} is no list of [[accept]] tables: {error}") from None


def _is_accepted(one: Difference, accepted: list[Accepted]) -> bool:
    return any(known.name == one.name and known.field in {None, one.field} for known in accepted)
