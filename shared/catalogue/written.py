"""Reads the tables of the catalogue's files: `[[model]]`, and in an operator's overlay `[[upstream]]`. Errors name the
file and the line.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from shared.settings import SettingsError
from shared.utf8 import NotUtf8, utf8

Kind = Literal["model", "upstream"]
ADDRESS_WORDS = "an address with a host, such as https://eu.api.openai.com/v1"
_LABEL = re.compile(r"\w([\w\-]*\w)?")


class Written(NamedTuple):
    """One table of a file. `line` is its first line, `text` the lines of the file."""

    kind: Kind
    fields: dict[str, Any]
    path: Path
    line: int
    text: list[str]

    def over(self, below: Written | None) -> Written:
        """The same table, with the fields that it leaves out taken from `below`."""
        return self._replace(fields=below.fields | self.fields) if below else self

    def error(self, reason: str) -> SettingsError:
        """An error with the file and the line that `reason` is about."""
        return SettingsError(f"{self.path}:{self._line_of(reason)}: {self.kind} {self.fields.get('name')!r}: {reason}")

    def _line_of(self, reason: str) -> int:
        """The line of the field that `reason` names, or the first line of the table."""
        named = "|".join(re.findall(r"`(?:\$\.)?([a-z_]+)", reason)) or "name"
        for number, line in enumerate(self.text[self.line :], start=self.line + 1):
            if line.lstrip().startswith("[["):
                break
            if re.match(rf"\s*({named})\s*=", line):
                return number
        return self.line


def read_tables(path: Path, kinds: tuple[Kind, ...] = ("model",)) -> dict[Kind, dict[str, Written]]:
    """The tables of a file by kind and name. Raises `SettingsError`, also for tables of another kind."""
    try:
        text = utf8(path.read_bytes()).decode()
        document = tomllib.loads(text, parse_float=Decimal)
    except NotUtf8 as error:
        raise SettingsError(f"{path} is {error}: save it as UTF-8") from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    if odd := [name for name in document if name not in kinds]:
        raise _takes_only(path, kinds, odd[0])
    lines = text.split("\n")
    return {kind: _named(kind, document.get(kind, []), path, lines, kinds) for kind in kinds}


def _named(kind: Kind, tables: Any, path: Path, lines: list[str], kinds: tuple[Kind, ...]) -> dict[str, Written]:  # noqa: ANN401
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _takes_only(path, kinds, kind)
    header = re.compile(rf"\s*\[\[\s*{kind}\s*\]\]")
    headers = [number for number, line in enumerate(lines, start=1) if header.match(line)]
    if len(headers) != len(tables):
        raise SettingsError(f"{path}: write every {kind} as a table of its own that begins with a line [[{kind}]]")
    found: dict[str, Written] = {}
    for fields, line in zip(tables, headers, strict=True):
        written = Written(kind, fields, path, line, lines)
        if not isinstance(fields.get("name"), str):
            raise SettingsError(f"{path}:{line}: this [[{kind}]] has no `name`: give it one")
        if fields["name"] in found:
            raise written.error("the file has it twice")
        found[fields["name"]] = written
    return found


def _takes_only(path: Path, kinds: tuple[Kind, ...], odd: str) -> SettingsError:
    taken = " and ".join(f"[[{kind}]]" for kind in kinds)
    near = difflib.get_close_matches(odd, kinds, n=1)
    meant = f": write [[{near[0]}]]" if near else ""
    return SettingsError(f"{path}: it takes {taken} tables and nothing else, and has {odd[:100]!r}{meant}")


def check_address(url: str | None) -> None:
    """Raise `ValueError` if `base_url` cannot be called."""
    try:
        parts = urlsplit(url or "http://none")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    is_host = ":" in host or all(_LABEL.fullmatch(label) for label in host.removesuffix(".").split("."))
    if url is not None and not (
        url.startswith(("https://", "http://")) and is_host and url.isprintable() and " " not in url
    ):
        raise ValueError(f"`base_url` takes {ADDRESS_WORDS}")
