"""Adapts the JSON Schema of a tool's arguments to what every vendor takes: an object with `type` and `properties`."""

from __future__ import annotations

from typing import Any

DEFINITIONS = ("#/$defs/", "#/definitions/")
REFERENCES_MAX = 8
"""The most references that are followed one after the other."""


def object_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with a `type` and `properties`, which vendors require and callers leave out for tools without arguments. A
    reference at the root, which some generators write, is resolved. A schema of another type is unchanged.
    """
    root = _followed(schema)
    kind = root.get("type")
    if kind is not None and kind != "object":
        return root
    if kind and isinstance(root.get("properties"), dict):
        return root
    return {**root, "type": "object", "properties": root.get("properties") or {}}


def _followed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with the reference at its root resolved; a reference that leads nowhere stays."""
    root = schema
    for _ in range(REFERENCES_MAX):
        target = _target(root, root.get("$ref"))
        if target is None:
            break
        root = {**{name: value for name, value in root.items() if name != "$ref"}, **target}
    return root


def _target(root: dict[str, Any], reference: object) -> dict[str, Any] | None:
    if not isinstance(reference, str) or not reference.startswith(DEFINITIONS):
        return None
    _, definitions, name = reference.split("/", 2)
    known = root.get(definitions)
    target = known.get(name) if isinstance(known, dict) else None
    return target if isinstance(target, dict) else None
