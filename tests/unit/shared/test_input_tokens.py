from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.answer_tool import answer_tool
from shared.chat import Chat, ImagePart, ImageUrl, JsonAnswer, Message, Sampling, TextPart, Tool, ToolCall, Tools
from shared.input_tokens import input_bound

IMAGE = ImagePart(ImageUrl("data:image/png;base64,AAAA"))
TOWN: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(texts, max_size=5))
def test_no_byte_of_text_is_left_out_of_the_input_bound(contents: list[str]) -> None:
    messages = [Message("user", text) for text in contents]
    assert input_bound(Chat(messages), None) == sum(len(text.encode()) + 8 for text in contents)


@given(texts, texts, st.integers(1, 10_000))
def test_text_in_parts_is_bounded_like_text_in_one_and_each_image_adds_its_own(a: str, b: str, per_image: int) -> None:
    parts = [Message("user", [TextPart(a), IMAGE, TextPart(b), IMAGE])]
    assert input_bound(Chat(parts), per_image) == input_bound(Chat([Message("user", a + b)]), 0) + 2 * per_image


def test_calls_of_the_past_are_bounded_although_no_tools_are_on_offer() -> None:
    called = Message("assistant", "", tool_calls=(ToolCall("call_1", "clock", "{}"), ToolCall("call_2", "clock", "{}")))
    assert input_bound(Chat([called]), None) == called.bytes_in() + 8 + 2 * 64


def test_images_in_a_result_are_bounded_with_the_message_that_may_bring_them() -> None:
    result = Message("tool", [TextPart("ten"), IMAGE], tool_call_id="call_1")
    assert input_bound(Chat([result]), 500) == result.bytes_in() + 8 + 96 + 500 + len("call_1") + 8 + 128


@pytest.mark.parametrize("schema", [None, TOWN, {"type": "array", "items": {"$ref": "#"}}])
def test_all_that_is_sent_for_an_answer_by_a_tool_is_bounded(schema: dict[str, Any] | None) -> None:
    answer, clock = JsonAnswer(schema=schema), Tool(name="clock")
    sent = len(msgspec.json.encode(answer_tool(answer))) + len(msgspec.json.encode(clock))
    chat = Chat([], Sampling(json_answer=answer), Tools(offered=(clock,)))
    assert input_bound(chat, None) >= sent + 2 * 64 + 1_024
