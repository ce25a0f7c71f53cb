"""What `POST /v1/messages` takes, and what it becomes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from api.formats.anthropic.chat import parse_message
from api.formats.asked import Asked
from shared.chat import (
    ImagePart,
    ImageUrl,
    JsonAnswer,
    Message,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    Tools,
)
from shared.errors import InvalidRequest

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "Now", "input_schema": SCHEMA}
TEXT = {"type": "text", "text": "hi"}
CACHED = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
USE = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Roma"}}
RESULT = {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def body(**changes: Any) -> dict[str, Any]:
    return {"model": "openai-gpt-4o", "max_tokens": 100, "messages": [user("hi")], **changes}


def parsed(**changes: Any) -> Asked:
    return parse_message(msgspec.json.encode(body(**changes)))


def test_the_least_that_a_body_has() -> None:
    asked = parsed()
    assert (asked.model, asked.max_tokens, asked.stream) == ("openai-gpt-4o", 100, False)
    assert asked.messages == [Message("user", "hi")]
    assert (asked.sampling, asked.tools) == (Sampling(), Tools())


def test_the_options_in_the_projects_own_words() -> None:
    schema = {"type": "json_schema", "schema": SCHEMA}
    asked = parsed(
        stream=True,
        temperature=1,
        top_p=0.5,
        stop_sequences=["a", "b"],
        metadata={"user_id": "someone"},
        output_config={"effort": "low", "format": schema},
    )
    assert asked.stream
    assert asked.sampling == Sampling(
        temperature=1.0,
        top_p=0.5,
        stop=("a", "b"),
        user="someone",
        reasoning_effort="low",
        json_answer=JsonAnswer(schema=SCHEMA, strict=True),
    )


def test_what_has_no_effect_is_accepted() -> None:
    tool = WEATHER | CACHED | {"type": "custom", "eager_input_streaming": True, "allowed_callers": ["direct"]}
    asked = parsed(
        thinking={"type": "disabled"},
        service_tier="standard_only",
        speed="standard",
        messages=[user([TEXT | CACHED | {"citations": None}, IMAGE | CACHED])],
        tools=[tool],
        **CACHED,
    )
    assert asked.sampling == Sampling()
    assert asked.messages[0].text() == "hi"


def test_null_is_not_given() -> None:
    required = {"model", "messages", "max_tokens"}
    fields = [field for field in type(parsed().body).__struct_fields__ if field not in required]
    assert parsed(**dict.fromkeys(fields)).fingerprint() == parsed().fingerprint()


@pytest.mark.parametrize(
    ("system", "content"),
    [
        ("Be kind", "Be kind"),
        ([{"type": "text", "text": "Be kind"} | CACHED], "Be kind"),
        ([TEXT, TEXT], [TextPart("hi"), TextPart("hi")]),
        ("", None),
        ([], None),
    ],
)
def test_the_system_prompt_is_the_first_message(system: Any, content: Any) -> None:
    first = [] if content is None else [Message("system", content)]
    assert parsed(system=system).messages == [*first, Message("user", "hi")]


def test_a_conversation_with_tools_becomes_messages_of_their_own() -> None:
    second = USE | {"id": "call_2", "input": {}, "caller": {"type": "direct"}}
    lines = RESULT | {"tool_use_id": "call_2", "content": [TEXT, TEXT], "is_error": True}
    asked = parsed(
        messages=[
            user([TEXT, IMAGE]),
            assistant([TEXT, USE, second]),
            user([lines, RESULT, {"type": "text", "text": "so?"}]),
            assistant("well"),
            user("more"),
        ],
        tools=[WEATHER],
    )
    assert asked.messages == [
        Message("user", [TextPart("hi"), ImagePart(ImageUrl("data:image/png;base64,AAAA"))]),
        Message(
            "assistant", "hi", (ToolCall("call_1", "weather", '{"city":"Roma"}'), ToolCall("call_2", "weather", "{}"))
        ),
        Message("tool", [TextPart("hi"), TextPart("hi")], tool_call_id="call_2"),
        Message("tool", "sunny", tool_call_id="call_1"),
        Message("user", [TextPart("so?")]),
        Message("assistant", "well"),
        Message("user", "more"),
    ]


def test_a_result_may_be_empty_and_an_assistant_may_only_call() -> None:
    result = {"type": "tool_result", "tool_use_id": "call_1"}
    asked = parsed(messages=[user("hi"), assistant([USE]), user([result])])
    assert asked.messages[1] == Message("assistant", "", (ToolCall("call_1", "weather", '{"city":"Roma"}'),))
    assert asked.messages[2:] == [Message("tool", "", tool_call_id="call_1")]


def test_turns_need_not_alternate_and_the_last_may_begin_the_answer() -> None:
    asked = parsed(messages=[user("a"), user("b"), assistant("c")])
    assert [message.role for message in asked.messages] == ["user", "user", "assistant"]


@pytest.mark.parametrize(
    ("choice", "becomes", "parallel"),
    [
        (None, None, None),
        ({"type": "auto"}, ToolChoice("auto"), None),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice("auto"), False),
        ({"type": "any", "disable_parallel_tool_use": False}, ToolChoice("required"), None),
        ({"type": "tool", "name": "weather"}, ToolChoice("named", "weather"), None),
        ({"type": "none"}, ToolChoice("none"), None),
    ],
)
def test_tools_and_their_choice(choice: Any, becomes: ToolChoice | None, parallel: bool | None) -> None:  # noqa: FBT001
    asked = parsed(tools=[WEATHER | {"strict": True}], tool_choice=choice)
    tool = Tool(name="weather", description="Now", parameters=SCHEMA, strict=True)
    assert asked.tools == Tools(offered=(tool,), choice=becomes, parallel=parallel)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"extra": 1}, "extra"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "role"),
        ({"messages": [user([])]}, "content"),
        ({"messages": [user([{"type": "document"}])]}, "type"),
        ({"messages": [user([TEXT | {"citations": [{}]}])]}, "citations"),
        ({"messages": [user([{"type": "image", "source": {"type": "url", "url": "https://a"}}])]}, "base64"),
        ({"messages": [user([IMAGE | {"source": IMAGE["source"] | {"data": "not base 64"}}])]}, "source.data"),  # type: ignore[operator]
        ({"messages": [user([IMAGE | {"source": IMAGE["source"] | {"media_type": "image/x"}}])]}, "media_type"),  # type: ignore[operator]
        ({"messages": [assistant([{"type": "thinking", "thinking": "…", "signature": "…"}])]}, "thinking"),
        ({"messages": [assistant([{"type": "redacted_thinking", "data": "…"}])]}, "redacted_thinking"),
        ({"messages": [user("x"), assistant([USE]), user([RESULT | {"content": [IMAGE]}])]}, "image"),
        ({"temperature": 1.1}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"top_k": 5}, "top_k"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"thinking": {"type": "adaptive"}}, "thinking"),
        ({"output_config": {"effort": "max"}}, "effort"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"container": "x"}, "container"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"context_management": {}}, "context_management"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search"),
        ({"tools": [WEATHER | {"name": "a" * 65}]}, "64"),
        ({"tools": [WEATHER | {"name": "a\n"}]}, "name"),
        ({"tools": [WEATHER | {"input_schema": {}}]}, "tools[0].input_schema"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tools": [WEATHER | {"defer_loading": True}]}, "defer_loading"),
        ({"tool_choice": {"type": "auto"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice.name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "none", "disable_parallel_tool_use": True}}, "tool_choice"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_its_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named.replace("[", r"\[")):
        parsed(**changes)


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([user([RESULT])], "messages[0]"),
        ([user("x"), assistant([USE])], "messages[1]"),
        ([user("x"), assistant([USE]), user("y")], "messages[1]"),
        ([user("x"), assistant([USE]), user("y"), user([RESULT])], "messages[1]"),
        ([user("x"), assistant([USE]), user([RESULT | {"tool_use_id": "other"}])], "messages[2]"),
        ([user("x"), assistant([USE]), user([RESULT, RESULT])], "messages[2]"),
        ([user("x"), assistant([USE]), user([RESULT]), user([RESULT])], "messages[3]"),
        ([user("x"), assistant([USE, USE]), user([RESULT])], "messages[1]"),
        ([user("x"), assistant([USE]), assistant("y"), user([RESULT])], "messages[1]"),
    ],
)
def test_a_call_and_its_result_must_meet(messages: list[Any], named: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(messages=messages)
    assert named in refused.value.message


def test_refusals_use_anthropics_names() -> None:
    names = ["stop", "tools", "tool_choice", "user", "max_tokens", "messages"]
    assert [parsed().name_of(name) for name in names] == [
        "stop_sequences",
        "tools",
        "tool_choice",
        "metadata.user_id",
        "max_tokens",
        "messages",
    ]
