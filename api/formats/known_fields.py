"""Bodies of APIs whose clients send more than this service knows: what is unknown is left out, and named.

A body with known fields only is decoded in one step, as everywhere. Only one that has others is decoded twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import inspect

from api.formats.parsing import faults_refused, parse
from shared.errors import InvalidRequest

T = TypeVar("T")
UNKNOWN_FIELD = "unknown field"
"""The words by which an error of msgspec tells that a body has an unknown field."""
NOTHING: tuple[object, ...] = (None, "", [], {}, "auto")
"""Values that leave a field to the service: one that is unknown and has such a value is left out and not named."""
INDEX = re.compile(r"\[\d+\]")
Prune = Callable[[Any, str, list[str]], Any]
"""Gives a value without its unknown fields, and adds their names to the list; the text is the value's own name."""


class KnownFields(Generic[T]):
    """Decodes bodies into one struct type, whose structs forbid unknown fields."""

    def __init__(self, kind: type[T], hint: str) -> None:
        """`hint` ends the message of an error: it says what the body takes."""
        self._kind = kind
        self._hint = hint
        self._decoder = msgspec.json.Decoder(kind)
        self._prune = _pruner(inspect.type_info(kind))

    def decode(self, body: bytes) -> tuple[T, list[str]]:
        """The body, and the names of the fields that were left out, such as `messages[0].mood`, in their order.

        Raises `InvalidRequest` that names a known field which is wrong.
        """
        try:
            return parse(body, self._decoder, self._hint), []
        except InvalidRequest as error:
            if UNKNOWN_FIELD not in error.message:
                raise
        ignored: list[str] = []
        with faults_refused(self._hint):
            known = self._prune(msgspec.json.decode(body), "", ignored)
            return msgspec.convert(known, self._kind), ignored


def with_left_out(unknown: Iterable[str], left_out: Sequence[str]) -> list[str]:
    """All names; `left_out` are whole entries of a list, such as `tools[0].web_search`, whose own fields need no mention."""
    entries = {name[: name.index("]") + 1] for name in left_out}
    return [*(name for name in unknown if name[: name.find("]") + 1] not in entries), *left_out]


def collapsed(names: Iterable[str]) -> list[str]:
    """Each name once, without the numbers: `messages[].mood` stands for all messages."""
    return list(dict.fromkeys(INDEX.sub("[]", name) for name in names))


def _pruner(info: inspect.Type) -> Prune:
    match info:
        case inspect.Metadata(type=inner):
            return _pruner(inner)
        case inspect.StructType():
            return _struct_pruner(info.cls)
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return _list_pruner(_pruner(item))
        case inspect.UnionType(types=types):
            return _union_pruner(types)
        case _:
            return _whole


def _whole(value: Any, name: str, ignored: list[str]) -> Any:  # noqa: ANN401, ARG001 - any JSON value; a `Prune`
    return value


@cache
def _struct_pruner(kind: type[msgspec.Struct]) -> Prune:
    info: Any = inspect.type_info(kind)
    fields = {field.encode_name: _pruner(field.type) for field in info.fields}
    tag = info.tag_field

    def prune(value: Any, name: str, ignored: list[str]) -> Any:  # noqa: ANN401 - any JSON value
        if not isinstance(value, dict):
            return value
        known = {}
        for key, inside in value.items():
            place = f"{name}.{key}" if name else key
            if key in fields:
                known[key] = fields[key](inside, place, ignored)
            elif key == tag:
                known[key] = inside
            elif inside not in NOTHING:
                ignored.append(place)
        return known

    return prune


def _list_pruner(item: Prune) -> Prune:
    def prune(value: Any, name: str, ignored: list[str]) -> Any:  # noqa: ANN401 - any JSON value
        if not isinstance(value, list):
            return value
        return [item(inside, f"{name}[{number}]", ignored) for number, inside in enumerate(value)]

    return prune


def _union_pruner(types: tuple[inspect.Type, ...]) -> Prune:
    """An object is pruned as the struct that its tag names, or as the only one there is; a list as the only list."""
    plain = [kind.type if isinstance(kind, inspect.Metadata) else kind for kind in types]
    structs = {kind.tag: _struct_pruner(kind.cls) for kind in plain if isinstance(kind, inspect.StructType)}
    tag_field = next((kind.tag_field for kind in plain if isinstance(kind, inspect.StructType)), None)
    lists = [_pruner(kind) for kind in plain if isinstance(kind, inspect.ListType | inspect.VarTupleType)]

    def prune(value: Any, name: str, ignored: list[str]) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(value, list) and lists:
            return lists[0](value, name, ignored)
        if isinstance(value, dict) and structs:
            tag = value.get(tag_field) if tag_field else None
            struct = structs.get(tag) if isinstance(tag, str) or tag is None else None
            return struct(value, name, ignored) if struct else value
        return value

    return prune
