"""JSON that follows a JSON Schema: the smallest value that a model might have written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

DEPTH_OPTIONAL, DEPTH_MAX = 6, 40
"""Below the first depth only required fields are written, below the second one nothing: schemas may contain themselves.
"""
_FORMATS = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(schema: object, text: str = "text") -> Any:  # noqa: ANN401 - any JSON
    """A value; every free string in it is `text`, as far as its lengths allow. `pattern` is not followed."""
    return _Writer(schema if isinstance(schema, Mapping) else {}, text).value(schema, 0)


class _Writer:
    """Writes one value; `root` is where references begin."""

    def __init__(self, root: Schema, text: str) -> None:
        self._root = root
        self._text = text

    def value(self, schema: object, depth: int) -> Any:  # noqa: ANN401
        if not isinstance(schema, Mapping) or depth > DEPTH_MAX:
            return None
        schema = self._resolved(schema, depth)
        if "const" in schema or schema.get("enum"):
            return schema["const"] if "const" in schema else schema["enum"][0]
        kind = _kind(schema)
        if kind in {"object", "array"}:
            return self._object(schema, depth) if kind == "object" else self._array(schema, depth)
        if kind in {"integer", "number"}:
            return _number(schema, whole=kind == "integer")
        return {"boolean": True, "null": None}.get(kind, self._string(schema))

    def _resolved(self, schema: Schema, depth: int) -> Schema:
        """Follow references, the first alternative (deep down the one that ends), and all parts of `allOf`."""
        for _ in range(DEPTH_MAX):
            if isinstance(reference := schema.get("$ref"), str):
                schema = {**_without(schema, "$ref"), **self._target(reference)}
            elif options := schema.get("anyOf") or schema.get("oneOf"):
                schema = {**_without(schema, "anyOf", "oneOf"), **_chosen(options, depth)}
            elif parts := schema.get("allOf"):
                schema = self._merged([_without(schema, "allOf"), *parts])
            else:
                break
        return schema

    def _merged(self, parts: list[Schema]) -> Schema:
        merged: dict[str, Any] = {}
        for part in parts:
            known = {**part, **self._target(part["$ref"])} if "$ref" in part else part
            properties = {**merged.get("properties", {}), **known.get("properties", {})}
            required = [*merged.get("required", []), *known.get("required", [])]
            merged |= _without(known, "$ref")
            merged |= {"properties": properties, "required": required} if properties else {}
        return merged

    def _target(self, reference: str) -> Schema:
        target: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            target = target.get(name, {}) if isinstance(target, Mapping) else {}
        return target if isinstance(target, Mapping) else {}

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        names = [name for name in properties if depth < DEPTH_OPTIONAL or name in required]
        unknown = [name for name in required if name not in properties]
        written = {name: self.value(properties[name], depth + 1) for name in names}
        return written | dict.fromkeys(unknown, self._text)

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        first = list(schema.get("prefixItems", []))
        fewest = 1 if depth < DEPTH_OPTIONAL else 0
        count = max(len(first), schema.get("minItems", fewest), 0)
        items = schema.get("items", {"type": "string"})
        return [self.value(item, depth + 1) for item in [*first, *[items] * (count - len(first))]]

    def _string(self, schema: Schema) -> str:
        text = _FORMATS.get(schema.get("format", ""), self._text)
        return text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength", max(len(text), 10_000))]


def _kind(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind).lower()  # Gemini's own schemas write types in capitals


def _chosen(options: list[Schema], depth: int) -> Schema:
    ending = [option for option in options if option.get("type") == "null"]
    return ending[0] if ending and depth >= DEPTH_OPTIONAL else options[0]


def _number(schema: Schema, *, whole: bool) -> float:
    step = schema.get("multipleOf") or (1 if whole else 0.5)
    low = schema.get("minimum", -math.inf)
    high = schema.get("maximum", math.inf)
    if isinstance(above := schema.get("exclusiveMinimum"), int | float):
        low = max(low, above + step)
    if isinstance(below := schema.get("exclusiveMaximum"), int | float):
        high = min(high, below - step)
    near = min(max(step, low), high)
    if schema.get("multipleOf"):
        near = math.ceil(near / step) * step
    return math.ceil(near) if whole else float(near)


def _without(schema: Schema, *names: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name not in names}
