"""A request in the words of OpenAI's Responses API."""

from __future__ import annotations

from typing import Any

import msgspec

from shared.catalogue.apis import by_its_api
from shared.catalogue.models import load_catalogue
from shared.chat import (
    NO_TOOLS,
    ImagePart,
    ImageUrl,
    JsonAnswer,
    Message,
    Part,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    Tools,
)
from shared.thoughts import Thought
from workers.providers.openai.responses_request import parameters
from workers.providers.protocol import ProviderRequest

ASTRA = load_catalogue().find("openai-gpt-6-astra")
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}}
CLOCK = Tool(name="clock", parameters=SCHEMA)
PIXEL = ImagePart(ImageUrl("data:image/png;base64,AAAA"))


def asked(
    *messages: Message, tools: Tools = NO_TOOLS, stream: bool = False, name: str = ASTRA.name, **sampling: Any
) -> Any:
    known = Sampling(**sampling)
    model = by_its_api(load_catalogue().find(name), known, Tools(offered=(CLOCK,)))
    request = ProviderRequest(
        id="req_1",
        model=model,
        messages=list(messages) or [Message("user", "Hello")],
        sampling=known,
        output_limit=100,
        stream=stream,
        tools=tools,
    )
    return parameters(request)


def test_what_is_not_asked_for_is_left_out_and_nothing_is_stored() -> None:
    hello = [{"role": "user", "content": "Hello"}]
    said = {"model": "gpt-6-astra", "input": hello, "stream": False, "store": False, "max_output_tokens": 100}
    assert asked() == said


def test_an_effort_is_told_and_what_is_thought_comes_back_as_the_caller_wants_it() -> None:
    shown = asked(reasoning_effort="low", shows_thoughts=True, signs_thoughts=True)
    assert shown["reasoning"] == {"effort": "low", "summary": "auto"}
    assert shown["include"] == ["reasoning.encrypted_content"]
    quiet = asked(reasoning_effort="low")
    assert quiet["reasoning"] == {"effort": "low"}
    assert "include" not in quiet
    terra = asked(name="openai-gpt-6.1-terra")  # which takes tools here only, also while it does not think
    assert terra["reasoning"] == {"effort": "none"}
    assert "reasoning" not in asked(name="openai-gpt-4o", shows_thoughts=True)  # which does not think


def test_a_talk_becomes_items_in_its_order() -> None:
    calls = (ToolCall("call_1", "clock", " "), ToolCall("call_2", "clock", '{"place": "Oslo"}'))
    items = asked(
        Message("developer", "Be brief."),
        Message("user", [TextPart("Look. "), TextPart("Now.")]),
        Message("assistant", ""),
        Message("assistant", "A moment.", tool_calls=calls),
        Message("tool", "ten", tool_call_id="call_1"),
        Message("tool", "", tool_call_id="call_2"),
        Message("assistant", "It is ten."),
    )["input"]
    assert items == [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Look. Now."},
        {"role": "assistant", "content": "A moment.", "phase": "commentary"},
        {"type": "function_call", "call_id": "call_1", "name": "clock", "arguments": "{}"},
        {"type": "function_call", "call_id": "call_2", "name": "clock", "arguments": '{"place": "Oslo"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "ten"},
        {"type": "function_call_output", "call_id": "call_2", "output": ""},
        {"role": "assistant", "content": "It is ten.", "phase": "final_answer"},
    ]


def test_thoughts_stand_before_what_they_led_to_and_those_that_led_to_nothing_are_left_out() -> None:
    calls = (ToolCall("call_1", "clock", "{}"), ToolCall("call_2", "clock", "{}"))
    thoughts = (Thought("Hm.", "one"), Thought("", "two", after_text=4, after_calls=1))
    turn = Message("assistant", "So: ", tool_calls=calls, thoughts=thoughts)
    cut_off = Message("assistant", "", thoughts=(Thought("", "three"),))
    results = (Message("tool", "ten", tool_call_id=call.id) for call in calls)
    items = asked(Message("user", "Hi"), turn, *results, cut_off)["input"]
    told = [item.get("encrypted_content") or item.get("call_id") or item["content"] for item in items]
    assert told == ["Hi", "one", "So: ", "call_1", "two", "call_2", "call_1", "call_2"]
    assert items[1] == {"type": "reasoning", "summary": [], "encrypted_content": "one"}


def test_images_go_with_a_detail_also_in_a_tools_result() -> None:
    call = Message("assistant", "", tool_calls=(ToolCall("a", "clock", "{}"),))
    said: list[Part] = [TextPart("Look."), PIXEL]
    items = asked(Message("user", said), call, Message("tool", said, tool_call_id="a"))["input"]
    parts = [
        {"type": "input_text", "text": "Look."},
        {"type": "input_image", "image_url": PIXEL.image_url.url, "detail": "high"},
    ]
    assert (items[0]["content"], items[2]["output"]) == (parts, parts)


def test_tools_always_say_whether_they_are_strict() -> None:
    strict = msgspec.structs.replace(CLOCK, strict=True, description="The time.")
    choice = ToolChoice("named", "clock")
    given = asked(tools=Tools(offered=(strict, Tool(name="bell")), choice=choice, parallel=False))
    nothing = {"type": "object", "properties": {}}
    assert given["tools"] == [
        {"type": "function", "name": "clock", "description": "The time.", "parameters": SCHEMA, "strict": True},
        {"type": "function", "name": "bell", "parameters": nothing, "strict": False},
    ]
    assert (given["tool_choice"], given["parallel_tool_calls"]) == ({"type": "function", "name": "clock"}, False)
    assert asked(tools=Tools(offered=(CLOCK,), choice=ToolChoice("required")))["tool_choice"] == "required"


def test_an_answer_in_json_has_its_form() -> None:
    assert asked(json_answer=JsonAnswer())["text"] == {"format": {"type": "json_object"}}
    typed = asked(json_answer=JsonAnswer(name="town", description="One.", schema=SCHEMA, strict=True))["text"]["format"]
    assert typed == {"type": "json_schema", "name": "town", "description": "One.", "schema": SCHEMA, "strict": True}


def test_a_user_and_sampling_go_where_they_are_taken() -> None:
    given = asked(user="x", temperature=0.5, top_p=0.9, name="openai-gpt-6.1-terra")
    assert given["user"] == "x"
    assert (given["temperature"], given["top_p"]) == (0.5, 0.9)
