"""Decodes bodies of APIs whose clients send unknown fields; these are left out and named.

A body with known fields only is decoded in one step. A body with others is read object by object: unknown fields are
cut out of the bytes without being decoded, and the rest is decoded.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, inspect

from api.formats.parsing import faults_refused, parse
from shared.errors import InvalidRequest

T = TypeVar("T")
UNKNOWN_FIELD, UNKNOWN_TYPE, NO_TAG = "unknown field", "Invalid value", "missing required field `type`"
"""msgspec's messages for an unknown field, and for an object of an unknown type or without a type."""
NOTHING = {b"null", b'""', b"[]", b"{}", b'"auto"'}
"""Values that leave a field to the service: an unknown field with such a value is left out without being named."""
NOTHING_LENGTH_MAX = 16
"""Most bytes of such a value, because there may be space between brackets."""
NAMES_MAX = 1_000
"""Most different unknown fields; no client sends so many."""
SAY_A_FORM, FORM = {"output_config", "text"}, "format"
"""Fields of other APIs that may define the form of the answer; that form is then named, too."""
OBJECT, LIST = ord("{"), ord("[")
Fields = dict[str, Raw]
Prune = Callable[[Raw, "Unknown"], Raw]
"""Returns a value without its unknown fields; the very same object if it has none."""
LeftOut = Mapping[type[msgspec.Struct], Callable[[str | None], bool]]
"""Structs that are left out completely because of their `type`; their fields are not named."""
KIND, TYPE_LENGTH_MAX = "$type", 100
"""A field that no client's object has, and the most characters of an unknown type."""
_fields_of = msgspec.json.Decoder(Fields).decode
_entries_of = msgspec.json.Decoder(list[Raw]).decode
_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


class KnownFields(Generic[T]):
    """Decodes bodies into one struct type whose structs forbid unknown fields."""

    def __init__(
        self,
        kind: type[T],
        hint: str,
        left_out: LeftOut | None = None,
        untagged: type[msgspec.Struct] | None = None,
    ) -> None:
        """`hint` says what the body takes and ends error messages. If several structs are possible, an object without a
        type is read as `untagged`.
        """
        self._hint = hint
        self._decoder = msgspec.json.Decoder(kind)
        self._struct = _Struct(inspect.type_info(kind), "", _Rules(left_out or {}, untagged))

    def decode(self, body: bytes) -> tuple[T, list[str]]:
        """The body, and the names of the fields that were left out, each once and in order; `messages[].mood` stands for
        that field in all messages. Raises `InvalidRequest`, which names a known field with a wrong value.
        """
        try:
            return parse(body, self._decoder, self._hint), []
        except InvalidRequest as error:
            if not any(words in error.message for words in (UNKNOWN_FIELD, UNKNOWN_TYPE, NO_TAG)):
                raise
        unknown = Unknown()
        with faults_refused(self._hint):
            known = self._struct.pruned(Raw(body), _fields_of(body), unknown)
            return self._decoder.decode(known), list(unknown.names)


class OfUnknownType(msgspec.Struct, frozen=True, kw_only=True):
    """Stands in a union for objects of an unknown type. `kind` is that type; nothing else of the object is kept, so it has
    to be left out and named.
    """

    kind: str = msgspec.field(name=KIND)


class _Rules(NamedTuple):
    """The structs that may be left out, and the struct that an object without a tag is; every pruner knows both."""

    left_out: LeftOut
    untagged: type[msgspec.Struct] | None


class Unknown:
    """The names of unknown fields."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def add(self, name: str, value: Raw) -> None:
        """Add a name, unless the value asks for nothing. Raises `InvalidRequest` if there are too many."""
        if name in self.names or _is_nothing(value):
            return
        if len(self.names) >= NAMES_MAX:
            raise InvalidRequest(
                f"The body has more than {NAMES_MAX} different fields that are unknown: leave them out."
            )
        self.names[name] = None
        if name in SAY_A_FORM and _begins(value) == OBJECT and FORM in _fields_of(value):
            self.names[f"{name}.{FORM}"] = None


def _is_nothing(value: Raw) -> bool:
    text = memoryview(value)
    return text.nbytes <= NOTHING_LENGTH_MAX and (bytes(text) in NOTHING or b"".join(bytes(text).split()) in NOTHING)


class _Struct:
    """The fields of one struct at one place of a body, such as `messages[].content[].`."""

    def __init__(self, info: Any, path: str, rules: _Rules) -> None:  # noqa: ANN401 - `inspect.StructType`
        self._path = path
        self._known = {field.encode_name for field in info.fields} | {info.tag_field}
        pruners = ((field.encode_name, _pruner(field.type, path + field.encode_name, rules)) for field in info.fields)
        self._inside = {name: prune for name, prune in pruners if prune}
        self._is_left_out = rules.left_out.get(info.cls)

    def pruned(self, value: Raw, fields: Fields, unknown: Unknown) -> Raw:
        """The object `value`, whose fields are `fields`, without its unknown fields."""
        if self._is_left_out and self._is_left_out(_text_of(fields.get("type"))):
            unknown = Unknown()
        known: Fields = {}
        changed = False
        for name, inside in fields.items():
            if name in self._known:
                prune = self._inside.get(name)
                known[name] = prune(inside, unknown) if prune else inside
                changed = changed or known[name] is not inside
            else:
                unknown.add(self._path + name, inside)
                changed = True
        return Raw(_encode(known)) if changed else value

    def __call__(self, value: Raw, unknown: Unknown) -> Raw:
        return self.pruned(value, _fields_of(value), unknown) if _begins(value) == OBJECT else value


def _pruner(info: inspect.Type, path: str, rules: _Rules) -> Prune | None:
    """The pruner of a type; None if nothing in it can be unknown."""
    match info:
        case inspect.Metadata(type=inner):
            return _pruner(inner, path, rules)
        case inspect.StructType():
            return _Struct(info, f"{path}.", rules)
        case inspect.ListType(item_type=item, max_length=most):
            return _list_pruner(_pruner(item, f"{path}[]", rules), path, most, item)
        case inspect.UnionType(types=types):
            return _union_pruner(types, path, rules)
        case _:
            return None


def _list_pruner(entry: Prune | None, path: str, most: int | None, item: inspect.Type) -> Prune | None:
    """The pruner of a list. Most entries have no unknown fields, which a decoder finds out faster."""
    if entry is None:
        return None
    known = None if "[" in path else msgspec.json.Decoder(_type_of(item))

    def prune(value: Raw, unknown: Unknown) -> Raw:
        if _begins(value) != LIST:
            return value
        entries = _entries_of(value)
        if most is not None and len(entries) > most:
            raise InvalidRequest(f"`{path}` has more than {most} entries.")
        pruned = [one if known and _is_known(one, known) else entry(one, unknown) for one in entries]
        unchanged = all(one is before for one, before in zip(pruned, entries, strict=True))
        return value if unchanged else Raw(_encode(pruned))

    return prune


def _union_pruner(types: tuple[inspect.Type, ...], path: str, rules: _Rules) -> Prune | None:
    """The pruner of a union. An object is pruned as the struct that its tag names, or as the union's only struct; a
    list is pruned as the union's only list.
    """
    plain = [kind.type if isinstance(kind, inspect.Metadata) else kind for kind in types]
    infos = [kind for kind in plain if isinstance(kind, inspect.StructType)]
    structs = {info.tag: _Struct(info, f"{path}.", rules) for info in infos}
    tag_field = infos[0].tag_field if infos else None
    others = next((info.tag for info in infos if issubclass(info.cls, OfUnknownType)), None)
    unsaid = next((info.tag for info in infos if info.cls is rules.untagged), None)
    lists = [_pruner(kind, path, rules) for kind in plain if isinstance(kind, inspect.ListType)]
    in_list = lists[0] if lists else None
    if not structs and not in_list:
        return None

    def prune(value: Raw, unknown: Unknown) -> Raw:
        begins = _begins(value)
        if begins == LIST and in_list:
            return in_list(value, unknown)
        if begins == OBJECT and structs:
            fields = _fields_of(value)
            if tag_field and unsaid and tag_field not in fields:
                fields = {tag_field: Raw(_encode(unsaid)), **fields}
                value = Raw(_encode(fields))
            tag = _text_of(fields.get(tag_field)) if tag_field else None
            if struct := structs.get(tag):
                return struct.pruned(value, fields, unknown)
            if others is not None and tag is not None:
                return Raw(_encode({tag_field: others, KIND: tag[:TYPE_LENGTH_MAX]}))
        return value

    return prune


def _type_of(info: inspect.Type) -> Any:  # noqa: ANN401 - a type
    kinds: Any = info.types if isinstance(info, inspect.UnionType) else (info,)
    return functools.reduce(operator.or_, (kind.cls for kind in kinds))


def _is_known(value: Raw, known: msgspec.json.Decoder[Any]) -> bool:
    try:
        known.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _begins(value: Raw) -> int:
    return memoryview(value)[0]


def _text_of(value: Raw | None) -> str | None:
    """The text; None for anything else."""
    return _text(value) if value is not None and _begins(value) == ord('"') else None
