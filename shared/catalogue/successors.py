"""The models that serve a name in place of another model: the one that an operator's row names, or the vendor's
replacement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shared.catalogue.names import Names
from shared.catalogue.rows import Row
from shared.catalogue.written import Written


class Successor(NamedTuple):
    """Two public names: `by` serves requests now, `later_by` is the vendor's replacement."""

    by: str | None
    later_by: str | None


def successors(written: Sequence[tuple[Written, Row]], names: Names, *, use: bool) -> dict[str, Successor]:
    """The successor of each row. With `use`, every `replaced_by` is in force unless a `successor` is given. Raises
    `SettingsError` with the line for an unknown name and for a circle.
    """
    tables = {row.name: table for table, row in written}
    chosen = {row.name: _known(table, "successor", row.successor, names) for table, row in written if row.successor}
    replaced = {
        row.name: _known(table, "replaced_by", row.replaced_by, names) for table, row in written if row.replaced_by
    }
    for name, successor in chosen.items():
        if successor in chosen:
            named = tables[name].fields["successor"]
            raise tables[name].error(f"`successor` is {named!r}, which has a successor itself: name the last one")
    last = {name: _last(tables[name], name, {**replaced, **chosen}) for name in replaced}
    in_force = {**last, **chosen} if use else chosen
    return {row.name: Successor(in_force.get(row.name), replaced.get(row.name)) for _, row in written}


def _known(table: Written, field: str, named: str, names: Names) -> str:
    found = names.find(named)
    if found is None:
        raise table.error(f"`{field}` is {named!r}, which is no model here")
    return found


def _last(table: Written, name: str, following: Mapping[str, str]) -> str:
    """The end of a chain of replacements: a replacement may have been replaced itself."""
    seen = [name]
    while (following_one := following.get(seen[-1])) is not None:
        if following_one in seen:
            raise table.error(f"`replaced_by` leads back: {' → '.join([*seen, following_one])}")
        seen.append(following_one)
    return seen[-1]
