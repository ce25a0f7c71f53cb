"""Descriptions of struct fields for `/openapi.json`: the docstring below a field in the source of its class."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec


@cache
def field_docs(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Descriptions by the fields' names in JSON; fields without one are left out."""
    told: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        if issubclass(cls, msgspec.Struct) and cls is not msgspec.Struct:
            told |= _told_of(cls)
    return {one.encode_name: told[one.name] for one in msgspec.structs.fields(kind) if one.name in told}


def structs_in(types: Iterable[Any]) -> Iterator[type[msgspec.Struct]]:
    """All struct types that occur in the types, each once."""
    seen: set[int] = set()
    waiting: list[Any] = list(msgspec.inspect.multi_type_info(types))
    while waiting:
        info = waiting.pop()
        if id(info) in seen:
            continue
        seen.add(id(info))
        if isinstance(info, msgspec.inspect.StructType):
            yield getattr(info.cls, "__origin__", info.cls)
        waiting += _parts_of(info)


def _parts_of(info: Any) -> Iterator[Any]:  # noqa: ANN401 - msgspec's descriptions of types and fields
    for name in getattr(info, "__struct_fields__", ()):
        value = getattr(info, name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, msgspec.inspect.Type | msgspec.inspect.Field):
                yield part


def _told_of(cls: type) -> dict[str, str]:
    """The descriptions of the class's own fields, by attribute."""
    return _classes_of(cls.__module__)[cls.__qualname__]


@cache
def _classes_of(module: str) -> dict[str, dict[str, str]]:
    """Field texts of every class of a module, by its qualified name. A module is parsed once, because `inspect.getsource`
    parses it for each of its classes.
    """
    return dict(_classes_in(ast.parse(inspect.getsource(sys.modules[module])).body, ""))


def _classes_in(body: Sequence[ast.stmt], prefix: str) -> Iterator[tuple[str, dict[str, str]]]:
    for part in body:
        if isinstance(part, ast.ClassDef):
            name = prefix + part.name
            yield name, _told_in(part.body)
            yield from _classes_in(part.body, f"{name}.")


def _told_in(body: Sequence[ast.stmt]) -> dict[str, str]:
    told = {}
    for field, text in pairwise(body):
        match field, text:
            case (ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words)))):
                told[name] = inspect.cleandoc(words)
    return told
