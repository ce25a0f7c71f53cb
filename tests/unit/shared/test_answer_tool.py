from __future__ import annotations

from typing import Any

import pytest

from shared.answer_tool import answer_tool, is_wrapped
from shared.chat import JsonAnswer, Tool

TOWN: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def test_a_schema_of_an_object_is_the_schema_of_the_arguments() -> None:
    answer = JsonAnswer(name="town", schema=TOWN, strict=True)
    assert not is_wrapped(answer)
    assert answer_tool(answer) == Tool(
        name="town", description="Gives the answer to the user. Call it to answer.", parameters=TOWN, strict=True
    )
    assert answer_tool(JsonAnswer(description="A town.", schema=TOWN)).description == "A town."


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"type": "object"},
        {"type": "array", "items": TOWN},
        {"type": ["object", "null"], "properties": {"a": {}}},
        {"properties": {"a": {}}},
        {"type": "object", "properties": {"a": {}}, "anyOf": [{}]},
        {"enum": ["a", "b"]},
    ],
)
def test_what_is_no_object_with_properties_is_wrapped_in_one(schema: dict[str, Any] | None) -> None:
    answer = JsonAnswer(schema=schema)
    assert is_wrapped(answer)
    assert answer_tool(answer).parameters == {
        "type": "object",
        "properties": {"whole_answer": schema or {"type": "object", "additionalProperties": True}},
        "required": ["whole_answer"],
        "additionalProperties": False,
    }


def test_references_of_a_wrapped_schema_lead_where_they_led() -> None:
    schema = {
        "anyOf": [{"$ref": "#/$defs/leaf"}, {"type": "array", "items": {"$ref": "#"}}, {"$ref": "#/anyOf/0"}],
        "$defs": {"leaf": {"type": "object", "properties": {"of": {"$ref": "#"}, "text": {"const": '"$ref":"#'}}}},
    }
    parameters = answer_tool(JsonAnswer(schema=schema)).parameters or {}
    root = "#/properties/whole_answer"
    assert parameters["properties"]["whole_answer"] == {
        "anyOf": [{"$ref": "#/$defs/leaf"}, {"type": "array", "items": {"$ref": root}}, {"$ref": f"{root}/anyOf/0"}]
    }
    leaf = {"of": {"$ref": root}, "text": {"const": '"$ref":"#'}}
    assert parameters["$defs"] == {"leaf": {"type": "object", "properties": leaf}}
