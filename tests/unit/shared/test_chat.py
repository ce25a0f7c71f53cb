from __future__ import annotations

from itertools import chain, repeat
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.formats.native.chat import NativeMessage
from shared.chat import (
    CallPiece,
    ImagePart,
    ImageUrl,
    JsonAnswer,
    Message,
    TextPart,
    Tool,
    ToolCall,
    Tools,
    answer_tool,
    input_bound,
    is_wrapped,
    joined_calls,
)

TOWN: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
texts = st.text(st.characters(exclude_categories=["Cs"]))


def _image() -> ImagePart:
    return ImagePart(ImageUrl("data:image/png;base64,AAAA"))


@given(st.lists(texts, max_size=5))
def test_no_byte_of_text_is_left_out_of_the_input_bound(contents: list[str]) -> None:
    messages = [Message("user", text) for text in contents]
    assert input_bound(messages, 0) == sum(len(text.encode()) + 8 for text in contents)


@given(texts, texts, st.integers(1, 10_000))
def test_text_in_parts_is_bounded_like_text_in_one_and_each_image_adds_its_own(a: str, b: str, per_image: int) -> None:
    parts = [Message("user", [TextPart(a), _image(), TextPart(b), _image()])]
    assert input_bound(parts, per_image) == input_bound([Message("user", a + b)], 0) + 2 * per_image


def test_the_text_of_a_message_is_its_text_parts_in_order() -> None:
    message = Message("user", [TextPart("a"), _image(), TextPart("b")])
    assert message.text() == "ab"
    assert message.images() == [_image()]
    assert Message("user", "ab").images() == []


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"role":"tool","content":"x"}',
        b'{"role":"user"}',
        b'{"role":"user","content":1}',
        b'{"role":"user","content":"x","name":"y"}',
        b'{"role":"user","content":[{"type":"audio","text":"x"}]}',
        b'{"role":"user","content":[{"type":"text","text":"x","more":1}]}',
    ],
)
def test_a_message_with_an_unknown_role_part_or_field_is_refused(wrong: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(wrong, type=NativeMessage)


@pytest.mark.parametrize("content", ["plain", [TextPart("a"), _image()]])
def test_a_message_is_sent_back_as_it_came(content: str | list[TextPart | ImagePart]) -> None:
    message = NativeMessage("developer", content)
    assert msgspec.json.decode(msgspec.json.encode(message), type=NativeMessage) == message


def test_calls_of_the_past_are_bounded_although_no_tools_are_on_offer() -> None:
    called = Message("assistant", "", tool_calls=(ToolCall("call_1", "clock", "{}"), ToolCall("call_2", "clock", "{}")))
    assert input_bound([called], 0) == called.bytes_in() + 8 + 2 * 64


def test_images_in_a_result_are_bounded_with_the_message_that_may_bring_them() -> None:
    result = Message("tool", [TextPart("ten"), _image()], tool_call_id="call_1")
    assert input_bound([result], 500) == result.bytes_in() + 8 + 96 + 500 + len("call_1") + 8 + 128


# an answer by a tool


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


@pytest.mark.parametrize("schema", [None, TOWN, {"type": "array", "items": {"$ref": "#"}}])
def test_all_that_is_sent_for_an_answer_by_a_tool_is_bounded(schema: dict[str, Any] | None) -> None:
    answer, clock = JsonAnswer(schema=schema), Tool(name="clock")
    sent = len(msgspec.json.encode(answer_tool(answer))) + len(msgspec.json.encode(clock))
    assert input_bound([], 0, Tools(offered=(clock,)), answer) >= sent + 2 * 64 + 1_024


def test_calls_are_joined_however_many_pieces_they_came_in() -> None:
    """A million pieces run into the limit that every test has, where each makes a copy of what came before it."""
    begun = (CallPiece(1, "", "b", "late"), CallPiece(0, "[", "a", "early"))
    pieces = chain(begun, repeat(CallPiece(1, "1€, "), 1_000_000), (CallPiece(0, "]"),))
    early, late = joined_calls(pieces)
    assert (early, late.id, late.name) == (ToolCall("a", "early", "[]"), "b", "late")
    assert late.arguments == "1€, " * 1_000_000
