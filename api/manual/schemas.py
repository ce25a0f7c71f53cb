"""The JSON Schemas of `/openapi.json`, made from all types in the URL map, as they validate and encode."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from api.formats.known_fields import OfUnknownType
from api.formats.surfaces import SURFACES
from api.manual.field_docs import field_docs, structs_in
from api.manual.route import Route

Json = dict[str, Any]
COMPONENT = "#/components/schemas/"
UNKNOWN_TYPE = "Any type that is not documented here; the object is left out and named in `x-ignored`."


class Schemas:
    """The JSON Schemas of all types in the map; types with a name become components."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        types = list(dict.fromkeys(_types(routes)))
        schemas, components = msgspec.json.schema_components(types, ref_template=COMPONENT + "{name}")
        components = _decimals_as_read(components)
        self._schemas = dict(zip(types, schemas, strict=True))
        self._describe_fields(components)
        for route in routes:
            if route.body and route.body.untagged:
                required = components[route.body.untagged.__name__]["required"]
                components[route.body.untagged.__name__]["required"] = [one for one in required if one != "type"]
            if route.body and route.body.tolerant:
                _open([self._schemas[kind] for kind in route.body.content.values()], components, set())
        for kind in OfUnknownType.__subclasses__():
            if kind.__name__ not in components:
                continue
            components[kind.__name__]["properties"] = {"type": {"type": "string", "description": UNKNOWN_TYPE}}
            _mix(components, f"{COMPONENT}{kind.__name__}")
        unnamed = {self.name_of(kind) for kind in types if _is_generic(kind)} | {
            self.name_of(route.query) for route in routes if route.query
        }
        self._unnamed = {name: components[name] for name in unnamed}
        self.components = {name: schema for name, schema in sorted(components.items()) if name not in unnamed}

    def of(self, kind: Any) -> Json:  # noqa: ANN401 - a type
        """A reference to the type's component. The schema of a generic type is repeated where it is used, because it has no
        readable name.
        """
        schema = self._schemas[kind]
        whole = self._unnamed.get(self.name_of(kind))
        return {name: value for name, value in whole.items() if name != "title"} if whole else schema

    def name_of(self, kind: Any) -> str:  # noqa: ANN401 - a type
        """The name of the type's component; empty if it has none."""
        return str(self._schemas[kind].get("$ref", "")).removeprefix(COMPONENT)

    def _describe_fields(self, components: Json) -> None:
        """Add the docs of every struct's fields to its schema. A field that can have one value only says that value."""
        for kind in structs_in(self._schemas):
            schema = components.get(kind.__name__) or components.get(f"{kind.__module__}.{kind.__qualname__}")
            _describe(kind, schema or {})
        for kind in filter(_is_generic, self._schemas):
            _describe(kind.__origin__, components[self.name_of(kind)])


def _describe(kind: type[msgspec.Struct], schema: Json) -> None:
    docs = field_docs(kind)
    for name, field in _schemas_of_fields(kind, schema):
        if words := docs.get(name) or _only_value(field):
            field["description"] = words


def _types(routes: tuple[Route, ...]) -> Iterable[Any]:
    yield from (surface.ERROR for _, surface in SURFACES)
    for route in routes:
        if route.query:
            yield route.query
        contents = [answer.content for answer in route.answers.values()] + ([route.body.content] if route.body else [])
        told = [kind for content in contents for kind in content.values() if not isinstance(kind, str)]
        yield from (one for kind in told for one in (kind if isinstance(kind, tuple) else (kind,)))


def _schemas_of_fields(kind: type[msgspec.Struct], schema: Json) -> Iterable[tuple[str, Json]]:
    """The fields with their names in JSON; a struct that is sent as an array has them in order."""
    named: Json = schema.get("properties", {})
    return [*named.items(), *zip(kind.__struct_encode_fields__, schema.get("prefixItems", ()), strict=False)]


def _only_value(field: Json) -> str | None:
    """A description such as "Always `list`."; None if several values are possible."""
    values = field.get("enum", ())
    if len(values) != 1:
        return None
    return f"Always `{values[0] if isinstance(values[0], str) else msgspec.json.encode(values[0]).decode()}`."


def _decimals_as_read(schema: Any) -> Any:  # noqa: ANN401 - any JSON
    """Allow numbers for decimals: msgspec documents only strings and reads both."""
    if isinstance(schema, list):
        return [_decimals_as_read(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {name: _decimals_as_read(part) for name, part in schema.items()}
    return whole | {"type": ["string", "number"]} if schema.get("format") == "decimal" else whole


def _open(schema: Any, components: Json, opened: set[str]) -> None:  # noqa: ANN401 - any JSON
    """Allow further fields in all objects of the schema and in what they refer to."""
    for part in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(part, dict | list):
            _open(part, components, opened)
    if isinstance(schema, dict):
        if schema.get("additionalProperties") is False:
            del schema["additionalProperties"]
        name = str(schema.get("$ref", "")).removeprefix(COMPONENT)
        if name and name not in opened:
            opened.add(name)
            _open(components[name], components, opened)


def _mix(schema: Any, reference: str) -> None:  # noqa: ANN401 - any JSON
    """Remove the discriminator if `reference` is one of several types: it stands for all unknown types, so the type
    field does not distinguish them.
    """
    for part in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(part, dict | list):
            _mix(part, reference)
    if isinstance(schema, dict) and {"$ref": reference} in schema.get("anyOf", ()):
        schema.pop("discriminator", None)


def _is_generic(kind: Any) -> bool:  # noqa: ANN401 - a type
    return hasattr(kind, "__origin__")
