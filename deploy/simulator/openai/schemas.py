"""OpenAI's checks of JSON Schemas of functions and of answers, and DeepSeek's check of the root of functions' schemas.

Sources: OpenAI's guide to structured outputs, and its errors as users report them (2024-2026): "Invalid schema for
function 'f': In context=('properties', 'x'), array schema missing items.", "schema must be a JSON Schema of 'type:
"object"', got 'type: "None"'.", "object schema missing properties" (github.com/spring-projects/spring-ai/issues/4776).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
Context = tuple[str, ...]
ROOTS_REFUSED = ("oneOf", "anyOf", "allOf", "enum", "not")


def wrong_root(schema: Schema, nothing: str = '"None"') -> str | None:
    """The fault at the root, or None: arguments and answers must be objects. `nothing` is the vendor's word for a
    missing type.
    """
    kind = schema.get("type")
    if kind != "object":
        said = nothing if kind is None else f'"{kind}"'
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: {said}'."
    return None


def wrong_schema(schema: Schema, *, strict: bool) -> str | None:
    """The first fault that OpenAI finds in the schema, or None."""
    if wrong := wrong_root(schema):
        return wrong
    if any(name in schema for name in ROOTS_REFUSED):
        names = "/".join(f"'{name}'" for name in ROOTS_REFUSED)
        return f"schema must have type 'object' and not have {names} at the top level."
    if not isinstance(schema.get("properties"), dict):
        return "In context=(), object schema missing properties."
    found = (
        f"In context={where}, {wrong}" for where, part in _parts(schema) if (wrong := _wrong_part(part, strict=strict))
    )
    return next(found, None)


def _wrong_part(part: Schema, *, strict: bool) -> str | None:
    if part.get("type") == "array" and "items" not in part and "prefixItems" not in part:
        return "array schema missing items."
    if not strict or part.get("type") != "object":
        return None
    if part.get("additionalProperties") is not False:
        return "'additionalProperties' is required to be supplied and to be false."
    required = part.get("required") or ()
    if missing := [name for name in part.get("properties") or () if name not in required]:
        words = "'required' is required to be supplied and to be an array including every key in properties."
        return f"{words} Missing '{missing[0]}'."
    return None


def _parts(root: Schema) -> Iterator[tuple[Context, Schema]]:
    """Every schema inside, the root first, and its place."""
    left: list[tuple[Context, object]] = [((), root)]
    while left:
        where, part = left.pop(0)
        if not isinstance(part, dict):
            continue
        yield where, part
        for name in ("properties", "$defs", "definitions"):
            within = part.get(name)
            left += [((*where, name, key), value) for key, value in within.items()] if isinstance(within, dict) else []
        left += [((*where, "items"), part["items"])] if "items" in part else []
        for name in ("anyOf", "oneOf", "allOf"):
            options = part.get(name)
            left += [
                ((*where, name, str(i)), one) for i, one in enumerate(options if isinstance(options, list) else ())
            ]
