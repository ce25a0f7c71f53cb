from __future__ import annotations

from typing import Any

import pytest

from shared.schemas import object_schema

PLACE = {"type": "object", "properties": {"place": {"type": "string"}}}
EMPTY = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({}, EMPTY),
        ({"type": None}, EMPTY),
        ({"type": "object"}, EMPTY),
        ({"type": "object", "properties": None}, EMPTY),
        ({"properties": PLACE["properties"]}, PLACE),
        ({"type": "object", "description": "None."}, EMPTY | {"description": "None."}),
        ({"$ref": "#/$defs/A", "$defs": {"A": PLACE}}, PLACE | {"$defs": {"A": PLACE}}),
        ({"$ref": "#/definitions/A", "definitions": {"A": PLACE}}, PLACE | {"definitions": {"A": PLACE}}),
        (
            {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": PLACE}},
            PLACE | {"$defs": {"A": {"$ref": "#/$defs/B"}, "B": PLACE}},
        ),
    ],
)
def test_arguments_are_an_object_and_said_to_be_one(schema: dict[str, Any], made: dict[str, Any]) -> None:
    assert object_schema(schema) == made


@pytest.mark.parametrize("schema", [PLACE, {"type": "string"}, {"type": ["object", "null"]}])
def test_a_schema_that_says_what_it_is_stays(schema: dict[str, Any]) -> None:
    assert object_schema(schema) is schema


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/A"},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
        {"$ref": "https://example.com/schema"},
        {"$ref": 7},
    ],
)
def test_a_reference_that_leads_nowhere_does_no_harm(schema: dict[str, Any]) -> None:
    assert object_schema(schema)["type"] == "object"
