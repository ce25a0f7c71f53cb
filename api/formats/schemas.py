"""Rules of OpenAI for JSON Schemas that a model must follow strictly."""

from __future__ import annotations

from typing import Any


def is_closed(schema: dict[str, Any]) -> bool:
    """True if every object in the schema has `"additionalProperties": false` and requires all of its properties. OpenAI
    demands that of strict schemas (platform.openai.com/docs/guides/structured-outputs, read 2026-11); Anthropic's
    schemas may have optional properties.
    """
    left: list[Any] = [schema]
    while left:
        part = left.pop()
        if isinstance(part, list):
            left += part
        elif isinstance(part, dict):
            if part.get("type") == "object" and not _closes(part):
                return False
            left += part.values()
    return True


def _closes(part: dict[str, Any]) -> bool:
    properties, required = part.get("properties") or {}, part.get("required") or []
    is_readable = isinstance(properties, dict) and isinstance(required, list)
    names = {name for name in required if isinstance(name, str)} if is_readable else set()
    return is_readable and part.get("additionalProperties") is False and properties.keys() <= names
