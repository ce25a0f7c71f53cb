from __future__ import annotations

from typing import Any

import pytest

from workers.providers.gemini.references import with_bare_references

SPOT = {"$ref": "#/$defs/spot"}


@pytest.mark.parametrize(
    ("part", "made"),
    [
        (SPOT, SPOT),
        (SPOT | {"description": "Where."}, {"description": "Where.", "anyOf": [SPOT]}),
        (SPOT | {"default": None, "title": "Spot"}, {"default": None, "title": "Spot", "anyOf": [SPOT]}),
        (SPOT | {"anyOf": [{"type": "null"}]}, SPOT | {"anyOf": [{"type": "null"}]}),
        ({"type": "object", "properties": {"$ref": {"type": "string"}}},) * 2,
    ],
)
def test_a_reference_stands_alone(part: dict[str, Any], made: dict[str, Any]) -> None:
    def schema(near: dict[str, Any]) -> dict[str, Any]:
        spot = {"type": "object", "properties": {"next": near}}
        items = {"type": "array", "items": near}
        return {"type": "object", "properties": {"near": near, "all": items}, "$defs": {"spot": spot}}

    assert with_bare_references(schema(part)) == schema(made)


def test_a_schema_without_references_is_not_touched() -> None:
    schema = {"type": "object", "properties": {}}
    assert with_bare_references(schema) is schema
