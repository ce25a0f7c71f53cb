"""What people see of a command's answer: rows as a table, one thing as its names and values."""

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
"""What has more of them is told as names and values."""
COLUMNS_MIN = 3
"""A terminal that has no room for so many, or for all of fewer, is told names and values."""
LISTED_MAX = 8
NAME_WIDTH = 30
WIDTH_WITHOUT_TERMINAL = 1_000
NUMBERS = (int, float)


def for_people(data: Any) -> str:  # noqa: ANN401 - any JSON document
    """A list of things as a table, a mapping of titles to lists as several, anything else as names and values. Of
    tables that are wider than the terminal the first columns are shown.
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
    """One thing; lists of things in it follow as tables."""
    lists = {name: value for name, value in row.items() if value and _are_rows(value)}
    parts = [_named({name: value for name, value in row.items() if name not in lists})] * (len(lists) < len(row))
    return "\n\n".join([*parts, *(f"{name}\n{_table(rows)}" for name, rows in lists.items())])


def _named(row: Mapping[str, Any]) -> str:
    return "\n".join(_wrapped(plain(value), f"{name:<{NAME_WIDTH}}") for name, value in row.items())


def _wrapped(text: str, before: str = "") -> str:
    """On a terminal in lines between words, each as far to the right as the first; elsewhere in one."""
    if not sys.stdout.isatty():
        return before + text
    width, indent = max(Console().width, 2 * len(before)), " " * len(before)
    lines = textwrap.wrap(text, width - len(before), break_long_words=False, break_on_hyphens=False)
    return before + f"\n{indent}".join(lines)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Where the terminal is too narrow for all columns, the first of them, which matter most."""
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
    """For the terminal that it goes to, empty where that is too narrow; as wide as it is where there is none."""
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
    """The first of many, and how many there are."""
    if len(texts) > LISTED_MAX:
        return f"{', '.join(texts[: LISTED_MAX // 2])}, … {len(texts)} in all"
    return ", ".join(texts) or "none"


def _printable(text: str) -> str:
    """Callers give names: what would move the cursor, start a line or turn the direction of text is written as its escape."""
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def _parts(value: Mapping[str, object]) -> str:
    """Of switches those that are on; of anything else what there is."""
    if all(isinstance(on, bool) for on in value.values()):
        return ", ".join(name for name, on in value.items() if on)
    return ", ".join(f"{name} {plain(part)}" for name, part in value.items() if part is not None)
