"""Says what is wrong with a row in words for the operator who wrote it. msgspec's own errors speak of Python types."""

from __future__ import annotations

import difflib
import re
from functools import cache

import msgspec
from msgspec import inspect

from shared.patterns import words_for

_PLACED = re.compile(r"(?P<what>.*?)( - at `\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_STEP = re.compile(r"[A-Za-z_]+|\[[^\]]*\]")
_NAMED: dict[type[inspect.Type], str] = {
    inspect.BoolType: "true or false",
    inspect.DecimalType: "a number",
    inspect.FloatType: "a number",
    inspect.DateType: "a day such as 2026-11-28",
    inspect.DictType: "a table",
    inspect.StructType: "a table",
}


def row_error(error: msgspec.ValidationError, row: type[msgspec.Struct]) -> str:
    """Say what is wrong with a row of this type, and what its field takes.

    >>> class Row(msgspec.Struct, forbid_unknown_fields=True):
    ...     weight: int = 1
    >>> try:
    ...     msgspec.convert({"weight": "much"}, Row)
    ... except msgspec.ValidationError as error:
    ...     row_error(error, Row)
    '`weight` takes a whole number'
    """
    placed = _PLACED.fullmatch(str(error))
    what, path = (placed["what"], placed["path"] or "") if placed else (str(error), "")
    steps = _STEP.findall(path)
    place, kind = path.removesuffix("[...]"), _at(_info(row), steps)
    if unknown := _UNKNOWN.fullmatch(what):
        known = [field.encode_name for field in kind.fields] if isinstance(kind, inspect.StructType) else []
        near = difflib.get_close_matches(unknown["name"], known, n=1)
        meant = f": write `{near[0]}`" if near else f": it takes {', '.join(known)}"
        return f"`{_joined(place, unknown['name'])}` is no field of it{meant}"
    if missing := _MISSING.fullmatch(what):
        name = missing["name"]
        return f"`{_joined(place, name)}` is missing: it takes {_taken(_at(kind, [name]))}"
    each = "each of " if path.endswith("[...]") else ""
    return f"{each}`{place}` takes {_taken(kind)}"


@cache
def _info(row: type[msgspec.Struct]) -> inspect.Type:
    return inspect.type_info(row)


def _joined(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _at(kind: inspect.Type, steps: list[str]) -> inspect.Type:
    """The type at this place within `kind`. A step in brackets leads to the entries of a list or a table."""
    kind = _given(kind)
    if not steps:
        return kind
    step, *further = steps
    match kind:
        case inspect.StructType():
            return _at(next(field.type for field in kind.fields if field.encode_name == step), further)
        case inspect.VarTupleType():
            return _at(kind.item_type, further)
        case inspect.DictType():
            return _at(kind.value_type, further)
        case _:
            return kind


def _given(kind: inspect.Type) -> inspect.Type:
    """The type of the value if it is given; the field may be optional."""
    if isinstance(kind, inspect.UnionType):
        return next(_given(one) for one in kind.types if not isinstance(one, inspect.NoneType))
    return _given(kind.type) if isinstance(kind, inspect.Metadata) else kind


def _taken(kind: inspect.Type) -> str:
    match kind:
        case inspect.LiteralType():
            return f"one of {', '.join(map(str, kind.values))}"
        case inspect.IntType():
            ends = {"from": kind.ge, "to": kind.le}
            return " ".join(["a whole number", *(f"{word} {end:,}" for word, end in ends.items() if end is not None)])
        case inspect.StrType(pattern=str() as pattern):
            return words_for(pattern)
        case inspect.StrType():
            return "text that is not empty" if kind.min_length else "text"
        case inspect.VarTupleType():
            return "a list that is not empty" if kind.min_length else "a list"
        case _:
            return _NAMED.get(type(kind), "another value")
