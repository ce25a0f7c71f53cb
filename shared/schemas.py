"""The JSON Schema of a tool's arguments, as every vendor takes it: an object, and said to be one."""

from __future__ import annotations

from typing import Any

DEFINITIONS = ("#/$defs/", "#/definitions/")
REFERENCES_MAX = 8
"""References that lead to references."""


def object_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema with a `type` and `properties`, which vendors ask for and callers leave out where there are no
    arguments; the reference that some generators write at the root is followed. One of another type stays as it is.
    """
    root = _followed(schema)
    kind = root.get("type")
    if kind is not None and kind != "object":
        return root
    if kind and isinstance(root.get("properties"), dict):
        return root
    return {**root, "type": "object", "properties": root.get("properties") or {}}


def _followed(schema: dict[str, Any]) -> dict[str, Any]:
    """With what its root refers to in the place of the reference. One that leads nowhere stays."""
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
