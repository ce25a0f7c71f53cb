"""Fingerprints of bodies: SHA-256 of what a body says, however it is written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import msgspec

from api.formats.cache_marks import UNTOLD

_encode = msgspec.json.Encoder(order="sorted").encode


def fingerprint_of(body: msgspec.Struct) -> bytes:
    """The hash of all fields that differ from their defaults. So the hash stays the same when a release adds fields: a
    repeat may reach another release than the first request did. Cache hints are excluded. A struct is hashed as the
    list of its tag and of such fields.
    """
    digest = hashlib.sha256(type(body).__name__.encode() + b"\0")
    _tell(body, digest.update)
    return digest.digest()


def _tell(value: object, update: Callable[[bytes], object]) -> None:
    """Pass the value as JSON to `update`, piece by piece: a body may have a hundred thousand structs."""
    kind = _kind_of(value)
    if kind is None:
        _tell_entries(value, update) if _is_list_of_structs(value) else update(_encode(value))
        return
    said = {field.name: one for field in kind.fields if (one := getattr(value, field.attribute)) != field.default}
    if not any(_kind_of(one) or _is_list_of_structs(one) for one in said.values()):
        update(_encode([kind.tag, said]))
        return
    update(b"[" + _encode(kind.tag) + b",")
    before = b"{"
    for name in sorted(said):
        update(before + _encode(name) + b":")
        _tell(said[name], update)
        before = b","
    update(b"}]")


def _tell_entries(entries: object, update: Callable[[bytes], object]) -> None:
    before = b"["
    for entry in entries:  # type: ignore[attr-defined] # a list
        update(before)
        _tell(entry, update)
        before = b","
    update(b"]")


def _is_list_of_structs(value: object) -> bool:
    """True if the value is a list of structs; lists are never mixed."""
    return isinstance(value, list | tuple) and bool(value) and _kind_of(value[0]) is not None


class _Field(NamedTuple):
    attribute: str
    name: str
    default: object


class _Kind(NamedTuple):
    tag: object
    fields: tuple[_Field, ...]


def _kind_of(value: object) -> _Kind | None:
    """The known facts about the struct's type; None for values of other types."""
    return _known_kind(type(value))  # type: ignore[arg-type] # mypy holds types for unhashable


@cache
def _known_kind(kind: type) -> _Kind | None:
    """The facts about a type; None if it is no struct. The result is cached, because asking msgspec takes longer than
    everything else here.
    """
    if not issubclass(kind, msgspec.Struct):
        return None
    known = (field for field in msgspec.structs.fields(kind) if field.name not in UNTOLD)
    fields = [_Field(field.name, field.encode_name, field.default) for field in known]
    if tag := getattr(kind, "TAG", None):  # a type with a field in place of a msgspec tag
        return _Kind(tag, tuple(field for field in fields if field.name != "type"))
    return _Kind(kind.__struct_config__.tag, tuple(fields))
