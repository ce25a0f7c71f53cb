"""Marks in the words of the vendors that take them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.catalogue.apis import by_its_api
from shared.catalogue.models import load_catalogue
from shared.chat import CacheMark, Caching, Message, Sampling, TextPart, Tool, ToolCall, Tools
from shared.thoughts import Thought
from workers.providers.bedrock import converse
from workers.providers.openai import request as openai_request
from workers.providers.openai import responses_request
from workers.providers.protocol import ProviderRequest

CATALOGUE = load_catalogue()
POINT, LONG_POINT = {"cachePoint": {"type": "default"}}, {"cachePoint": {"type": "default", "ttl": "1h"}}
BREAKPOINT = {"prompt_cache_breakpoint": {"mode": "explicit"}}
SHORT, LONG = CacheMark(0), CacheMark(0, long=True)


def asking(model: str, *messages: Message, **fields: Any) -> ProviderRequest:
    given = {"sampling": Sampling(), "output_limit": 5, "stream": False, **fields}
    return ProviderRequest(id="req_1", model=CATALOGUE.find(model), messages=list(messages), **given)


def conversed(*messages: Message, **fields: Any) -> dict[str, Any]:
    return converse.parameters(asking("anthropic-claude-sonnet-4-6", *messages, **fields))


def test_a_point_stands_behind_what_is_marked_in_instructions() -> None:
    parts: Any = [TextPart("a"), TextPart("b"), TextPart("c")]
    told = Message("system", parts, cache_marks=(CacheMark(1, long=True),))
    system = conversed(told, Message("system", "d", cache_marks=(SHORT,)), Message("user", "hi"))["system"]
    assert system == [{"text": "ab"}, LONG_POINT, {"text": "c\n\nd"}, POINT]


def test_instructions_without_a_mark_are_one_text() -> None:
    told = [Message("system", "a"), Message("system", [TextPart("b"), TextPart("c")])]
    assert conversed(*told, Message("user", "hi"))["system"] == [{"text": "a\n\nbc"}]


def test_a_point_stands_behind_what_is_marked_in_turns() -> None:
    calls = (ToolCall("c1", "f", "{}"), ToolCall("c2", "f", "{}"))
    talk = [
        Message("user", [TextPart("a"), TextPart("b")], cache_marks=(SHORT,)),
        Message("assistant", "c", calls, cache_marks=(CacheMark(2),)),
        Message("tool", "r2", tool_call_id="c2", cache_marks=(SHORT,)),
        Message("tool", "r1", tool_call_id="c1", cache_marks=(SHORT,)),
        Message("user", "d", cache_marks=(SHORT,)),
    ]
    tools = Tools(offered=(Tool(name="f"), Tool(name="g")), cache_marks=(CacheMark(1, long=True),))
    asked = conversed(*talk, tools=tools)
    kinds = [[next(iter(block)) for block in message["content"]] for message in asked["messages"]]
    assert kinds == [
        ["text", "cachePoint", "text"],
        ["text", "toolUse", "toolUse", "cachePoint"],
        ["toolResult", "toolResult", "cachePoint", "text", "cachePoint"],
    ]
    assert [next(iter(tool)) for tool in asked["toolConfig"]["tools"]] == ["toolSpec", "toolSpec", "cachePoint"]
    assert asked["toolConfig"]["tools"][-1] == LONG_POINT


def test_a_mark_of_something_blank_stands_behind_what_was_said_before_it() -> None:
    talk = [
        Message("user", [TextPart("a"), TextPart(" ")], cache_marks=(CacheMark(1),)),
        Message("assistant", "", (ToolCall("c", "f", "{}"),), cache_marks=(SHORT, CacheMark(1))),
        Message("tool", "r", tool_call_id="c"),
    ]
    asked = conversed(*talk, tools=Tools(offered=(Tool(name="f"),)))
    kinds = [[next(iter(block)) for block in message["content"]] for message in asked["messages"]]
    assert kinds == [["text", "cachePoint"], ["toolUse", "cachePoint"], ["toolResult"]]


def test_marks_stand_behind_what_they_mark_where_thoughts_are_among_it_and_none_behind_a_thought() -> None:
    calls = (ToolCall("c1", "f", "{}"), ToolCall("c2", "f", "{}"))
    thoughts = (
        Thought("hm", "s1"),
        Thought("so", "s2", after_text=3),
        Thought("now", "s3", after_text=4, after_calls=1),
    )
    parts: Any = [TextPart("a"), TextPart("bc"), TextPart(" ")]
    talk = [
        Message("user", "hi"),
        Message("assistant", parts, calls, cache_marks=tuple(map(CacheMark, range(5))), thoughts=thoughts),
        Message("tool", "r1", tool_call_id="c1"),
        Message("tool", "r2", tool_call_id="c2"),
    ]
    thinking = Sampling(reasoning_effort="high")
    asked = conversed(*talk, tools=Tools(offered=(Tool(name="f"),)), sampling=thinking)
    assert [next(iter(block)) for block in asked["messages"][1]["content"]] == [
        *("reasoningContent", "text", "cachePoint", "text", "cachePoint", "reasoningContent"),
        *("toolUse", "cachePoint", "reasoningContent", "toolUse", "cachePoint"),
    ]
    asked = conversed(*talk, tools=Tools(offered=(Tool(name="f"),)), sampling=Sampling(reasoning_effort="none"))
    assert [next(iter(block)) for block in asked["messages"][1]["content"]] == [
        *("text", "cachePoint", "text", "cachePoint", "toolUse", "cachePoint", "toolUse", "cachePoint"),
    ]


def test_what_the_model_goes_on_from_ends_before_white_space_with_a_mark_behind_it() -> None:
    said = Message("assistant", "well ", cache_marks=(SHORT,))
    asked = converse.parameters(asking("anthropic-claude-haiku-4-5", Message("user", "hi"), said))
    assert asked["messages"][-1]["content"] == [{"text": "well"}, POINT]
    cut_off = msgspec.structs.replace(said, thoughts=(Thought("hm", "s", after_text=5),))
    asked = converse.parameters(asking("anthropic-claude-haiku-4-5", Message("user", "hi"), cut_off))
    assert asked["messages"][-1]["content"] == [{"text": "well"}, POINT]


def test_openai_is_sent_breakpoints_and_what_was_wished_of_its_cache() -> None:
    talk = [
        Message("system", "s", cache_marks=(LONG,)),
        Message("assistant", "", (ToolCall("c", "f", "{}"),), cache_marks=(CacheMark(1),)),
        Message("tool", "r", tool_call_id="c", cache_marks=(SHORT,)),
        Message("user", [TextPart("a"), TextPart("b")], cache_marks=(SHORT,)),
    ]
    sampling = Sampling(caching=Caching(key="k", explicit=True))
    asked = openai_request.parameters(asking("openai-gpt-5.6-terra", *talk, sampling=sampling))
    system, called, result, user = asked["messages"]
    assert system["content"] == [{"type": "text", "text": "s"} | BREAKPOINT]
    assert called["content"] is None
    assert result["content"] == [{"type": "text", "text": "r"} | BREAKPOINT]
    assert user["content"] == [{"type": "text", "text": "a"} | BREAKPOINT, {"type": "text", "text": "b"}]
    assert asked["prompt_cache_options"] == {"mode": "explicit"}
    assert asked["prompt_cache_key"] == "k"


def test_both_of_openais_apis_are_told_the_same_of_its_cache() -> None:
    talk = [
        Message("system", "s", cache_marks=(LONG,)),
        Message("user", [TextPart("a"), TextPart("b")], cache_marks=(SHORT,)),
        Message("assistant", "", (ToolCall("c", "f", "{}"),)),
        Message("tool", "r", tool_call_id="c", cache_marks=(SHORT,)),
        Message("tool", " ", tool_call_id="d", cache_marks=(SHORT,)),
    ]
    sampling = Sampling(caching=Caching(key="k", explicit=True), reasoning_effort="low")
    request = asking("openai-gpt-5.6-terra", *talk, sampling=sampling, tools=Tools(offered=(Tool(name="f"),)))
    request = msgspec.structs.replace(request, model=by_its_api(request.model, sampling, request.tools))
    asked = responses_request.parameters(request)
    system, user, _, result, blank = asked["input"]
    assert system["content"] == [{"type": "input_text", "text": "s"} | BREAKPOINT]
    assert user["content"] == [{"type": "input_text", "text": "a"} | BREAKPOINT, {"type": "input_text", "text": "b"}]
    assert result["output"] == [{"type": "input_text", "text": "r"} | BREAKPOINT]
    assert blank["output"] == " "
    told = openai_request.parameters(request)
    words = ("prompt_cache_key", "prompt_cache_options")
    assert [asked[word] for word in words] == [told[word] for word in words]


@pytest.mark.parametrize("model", ["openai-gpt-5.2", "deepseek-flash"])
def test_other_vendors_are_sent_messages_as_they_were(model: str) -> None:
    plain = Message("user", "hi")
    marked = msgspec.structs.replace(plain, cache_marks=(SHORT,))
    assert openai_request.parameters(asking(model, marked)) == openai_request.parameters(asking(model, plain))
