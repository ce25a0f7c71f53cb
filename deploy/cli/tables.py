"""A command's answer for people: rows as a table, a single thing as names and values."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

COLUMNS_MAX = 10
"""A table with more columns is shown as names and values."""
COLUMNS_MIN = 3
"""A terminal without room for this many columns, or for all columns of a table with fewer, gets names and values."""
LISTED_MAX = 8
NAME_WIDTH = 30
WIDTH_WITHOUT_TERMINAL = 1_000
NUMBERS = (int, float)


def for_people(data: Any) -> str:  # noqa: ANN401 - any JSON document
    """A list as a table, a mapping of titles to lists as several tables, anything else as names and values. Of a table that
    is wider than the terminal, the first columns are shown.
    """
    plain = msgspec.to_builtins(data, builtin_types=(msgspec.Raw, datetime))
    if isinstance(plain, dict) and any(plain.values()) and all(map(_are_rows, plain.values())):
        return "\n\n".join(f"{title}\n{_table(rows)}" for title, rows in plain.items())
    if isinstance(plain, list) and all(len(row) <= COLUMNS_MAX for row in plain):
        return _table(plain)
    return "\n\n".join(map(_with_tables, plain if isinstance(plain, list) else [plain]))


def _are_rows(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)


def _with_tables(row: Mapping[str, Any]) -> str:
    """One thing; lists in it follow as tables."""
    lists = {name: value for name, value in row.items() if value and _are_rows(value)}
    parts = [_named({name: value for name, value in row.items() if name not in lists})] * (len(lists) < len(row))
    return "\n\n".join([*parts, *(f"{name}\n{_table(rows)}" for name, rows in lists.items())])


def _named(row: Mapping[str, Any]) -> str:
    return "\n".join(_wrapped(plain(value), f"{name:<{NAME_WIDTH}}") for name, value in row.items())


def _wrapped(text: str, before: str = "") -> str:
    """The text, on a terminal wrapped between words with every line indented as the first; elsewhere on one line."""
    if not sys.stdout.isatty():
        return before + text
    width, indent = max(Console().width, 2 * len(before)), " " * len(before)
    lines = textwrap.wrap(text, width - len(before), break_long_words=False, break_on_hyphens=False)
    return before + f"\n{indent}".join(lines)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table. On a narrow terminal only the first columns, which matter most."""
    if not rows:
        return "none"
    names = list(rows[0])
    for count in range(len(names), min(len(names), COLUMNS_MIN) - 1, -1):
        if drawn := _drawn(_of_columns(rows, names[:count])):
            return "\n".join([drawn, *_left_out(names[count:])])
    return "\n\n".join(map(_named, rows))


def _left_out(names: Sequence[str]) -> list[str]:
    return [_wrapped(f"(left out: {', '.join(names)}; a wider terminal or --json has them)")] if names else []


def _of_columns(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        is_number = _is_amount(name) or all(_is_number(row[name]) for row in rows)
        table.add_column(name.replace("_", " ").upper(), justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*(Text(plain(row[name]), overflow="fold") for name in names))
    return table


def _drawn(table: Table) -> str:
    """The drawn table; empty if the terminal is too narrow. Without a terminal it is as wide as it needs."""
    to_terminal = sys.stdout.isatty()
    width = Console().width if to_terminal else WIDTH_WITHOUT_TERMINAL
    console = Console(file=StringIO(), width=width, force_terminal=to_terminal, no_color=not to_terminal)
    if to_terminal and console.measure(table, options=console.options.update(width=10_000)).maximum > width:
        return ""
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, NUMBERS) and not isinstance(value, bool))


def _is_amount(name: str) -> bool:
    return name.endswith("_usd")


def plain(value: object) -> str:
    """One value as text on one line."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return _parts(value)
    if isinstance(value, list | tuple):
        return _listed([plain(item) for item in value])
    return "-" if value is None else _printable(str(value))


def _listed(texts: Sequence[str]) -> str:
    """The first of many texts, and their number."""
    if len(texts) > LISTED_MAX:
        return f"{', '.join(texts[: LISTED_MAX // 2])}, … {len(texts)} in all"
    return ", ".join(texts) or "none"


def _printable(text: str) -> str:
    """The text with escapes for characters that would move the cursor, start a line or change the direction: callers choose
    names.
    """
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _parts(value: Mapping[str, object]) -> str:
    """A mapping on one line: of switches those that are on, otherwise the given values."""
    if all(isinstance(on, bool) for on in value.values()):
        return ", ".join(name for name, on in value.items() if on)
    return ", ".join(f"{name} {plain(part)}" for name, part in value.items() if part is not None)
