"""Adapts references in JSON Schemas for Gemini. Gemini takes a reference only if nothing else is beside it; generators
of schemas write a description there.

"If `$ref` is set on a sub-schema, no other properties, except for than those starting as a `$`, may be set"
(google-genai 3.4, `response_json_schema`, read 2026-11).
"""

from __future__ import annotations

import json
from typing import Any

import msgspec


def with_bare_references(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema; a reference with something beside it becomes the only alternative of that schema."""
    written = msgspec.json.encode(schema)
    if b'"$ref"' not in written:
        return schema
    bare: dict[str, Any] = json.loads(written, object_hook=_bare)
    return bare


def _bare(part: dict[str, Any]) -> dict[str, Any]:
    beside = {name: value for name, value in part.items() if not name.startswith("$")}
    if not isinstance(part.get("$ref"), str) or not beside or "anyOf" in beside:
        return part
    reference = {name: value for name, value in part.items() if name.startswith("$")}
    return {**beside, "anyOf": [reference]}
