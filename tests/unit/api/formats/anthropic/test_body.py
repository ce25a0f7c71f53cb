"""What `POST /v1/messages` takes, and what it becomes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict

from api.formats.anthropic.chat import parse_message, thinks_between_calls
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
from shared.thoughts import Thought

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "Now", "input_schema": SCHEMA}
TEXT = {"type": "text", "text": "hi"}
CACHED = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
USE = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Roma"}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
THOUGHT = {"type": "thinking", "thinking": "…", "signature": "…"}
REDACTED = {"type": "redacted_thinking", "data": "…"}
SEARCHED = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Roma"}}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{"type": "web_search_result", "title": "Roma", "url": "https://a", "encrypted_content": "…"}],
}
CITED = {"type": "text", "text": "Sunny.", "citations": [{"type": "web_search_result_location", "url": "https://a"}]}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
RESULT = {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


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
        json_answer=JsonAnswer(schema=SCHEMA),
    )


@pytest.mark.parametrize(
    ("changes", "strict"),
    [
        ({}, True),
        ({"required": []}, None),
        ({"additionalProperties": True}, None),
        ({"properties": {"city": {"type": "array", "items": {"type": "object"}}}}, None),
    ],
)
def test_a_schema_is_strict_where_openais_models_can_follow_it_so(
    changes: dict[str, Any],
    strict: bool | None,  # noqa: FBT001
) -> None:
    schema = SCHEMA | {"required": ["city"], "additionalProperties": False} | changes
    asked = parsed(output_config={"format": {"type": "json_schema", "schema": schema}})
    assert asked.sampling.json_answer == JsonAnswer(schema=schema, strict=strict)


def test_what_has_no_effect_is_accepted() -> None:
    tool = WEATHER | CACHED | {"type": "custom", "eager_input_streaming": True}
    asked = parsed(
        service_tier="standard_only",
        speed="standard",
        messages=[user([TEXT | CACHED | {"citations": None}, IMAGE | CACHED])],
        tools=[tool],
        **CACHED,
    )
    assert asked.sampling == Sampling()
    assert asked.messages[0].text() == "hi"


def test_the_tier_flex_is_asked_for_by_name() -> None:
    assert (parsed(service_tier="flex").service_tier, parsed(service_tier="flex").ignored) == ("flex", ())
    assert parsed(service_tier="auto").service_tier is None


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
    *told, said = parsed(system=system).messages
    assert [msgspec.structs.replace(message, cache_marks=()) for message in told] == first
    assert said == Message("user", "hi")


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
        Message("user", "so?"),
        Message("assistant", "well"),
        Message("user", "more"),
    ]


def test_a_result_may_be_empty_and_an_assistant_may_only_call() -> None:
    result = {"type": "tool_result", "tool_use_id": "call_1"}
    asked = parsed(messages=[user("hi"), assistant([USE]), user([result])])
    assert asked.messages[1] == Message("assistant", "", (ToolCall("call_1", "weather", '{"city":"Roma"}'),))
    assert asked.messages[2:] == [Message("tool", "", tool_call_id="call_1")]


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        (None, "{}"),
        ({}, "{}"),
        ("", ""),
        ('{"city": "Ro', '{"city": "Ro'),
        ({"INVALID_JSON": "{"}, '{"INVALID_JSON":"{"}'),
    ],
)
def test_an_input_that_was_cut_off_is_as_its_caller_has_it(written: Any, arguments: str) -> None:
    asked = parsed(messages=[user("x"), assistant([USE | {"input": written}]), user([RESULT])])
    assert asked.messages[1].tool_calls == (ToolCall("call_1", "weather", arguments),)


@pytest.mark.parametrize("call_id", ["", "call_1__thought__" + "x" * 5_000, "functions.weather:0"])
def test_calls_that_another_service_made_keep_their_ids_and_names(call_id: str) -> None:
    use, result = USE | {"id": call_id, "name": "$weather now"}, RESULT | {"tool_use_id": call_id}
    asked = parsed(messages=[user("x"), assistant([use]), user([result])])
    assert asked.messages[1].tool_calls == (ToolCall(call_id, "$weather now", '{"city":"Roma"}'),)
    assert asked.messages[2] == Message("tool", "sunny", tool_call_id=call_id)


def test_turns_need_not_alternate_and_the_last_may_begin_the_answer() -> None:
    asked = parsed(messages=[user("a"), user("b"), assistant("c")])
    assert asked.messages == [Message("user", [TextPart("a"), TextPart("b")]), Message("assistant", "c")]


def test_results_of_parallel_calls_may_come_in_turns_of_their_own() -> None:
    second, lines = USE | {"id": "call_2"}, RESULT | {"tool_use_id": "call_2", "content": "rain"}
    asked = parsed(messages=[user("x"), assistant([USE]), assistant([second]), user([RESULT]), user([lines, TEXT])])
    assert [call.id for call in asked.messages[1].tool_calls] == ["call_1", "call_2"]
    assert asked.messages[2:] == [
        Message("tool", "sunny", tool_call_id="call_1"),
        Message("tool", "rain", tool_call_id="call_2"),
        Message("user", "hi"),
    ]


def test_instructions_may_stand_among_the_turns_but_never_between_a_call_and_its_result() -> None:
    talk = [user("x"), system("a"), assistant([USE]), system("b"), user([RESULT]), user("y"), system("c")]
    asked = parsed(messages=talk)
    assert [(message.role, message.content) for message in asked.messages] == [
        ("user", "x"),
        ("system", "a"),
        ("assistant", ""),
        ("tool", "sunny"),
        ("user", "y"),
        ("system", "b"),
        ("system", "c"),
    ]


def test_a_result_may_show_images_texts_and_found_tools() -> None:
    text = {"type": "document", "title": "Notes", "source": {"type": "text", "media_type": "text/plain", "data": "n"}}
    found = {"type": "tool_reference", "tool_name": "weather"}
    asked = parsed(messages=[user("x"), assistant([USE]), user([RESULT | {"content": [IMAGE, text, found]}])])
    image = ImagePart(ImageUrl("data:image/png;base64,AAAA"))
    assert asked.messages[2].content == [image, TextPart("Notes\n\nn"), TextPart("weather")]


def test_what_a_search_of_the_callers_has_found_is_text() -> None:
    found = {"type": "search_result", "source": "notes/1", "title": "Notes", "content": [TEXT, TEXT]}
    asked = parsed(messages=[user([found]), assistant([USE]), user([RESULT | {"content": [found]}])])
    assert [message.content for message in asked.messages] == [
        "Notes\n\nnotes/1\n\nhi\n\nhi",
        "",
        asked.messages[0].content,
    ]


def test_a_summary_of_what_was_said_before_is_text() -> None:
    summaries = [{"type": "compaction", "content": said} for said in ("We spoke of Roma.", None)]
    asked = parsed(messages=[user("x"), assistant([*summaries, TEXT]), user("y")])
    assert asked.messages[1] == Message("assistant", [TextPart("We spoke of Roma."), TextPart("hi")])
    assert asked.ignored == ()


@pytest.mark.parametrize(
    ("blocks", "ignored"),
    [
        ([SEARCHED], ("server_tool_use",)),
        ([SEARCHED, FOUND], ("server_tool_use", "web_search_tool_result")),
        ([SEARCHED | CACHED, FOUND | CACHED], ("server_tool_use", "web_search_tool_result")),
        (
            [{"type": "mcp_tool_use", "id": "m", "input": {}}, {"type": "mcp_tool_result"}],
            ("mcp_tool_use", "mcp_tool_result"),
        ),
        ([{"type": "of_a_later_release" + "x" * 1_000, "text": "x"}], (f"{'of_a_later_release':x<100}",)),
    ],
)
def test_what_tools_of_anthropics_own_were_asked_and_said_is_left_out_and_named(
    blocks: list[Any], ignored: tuple[str, ...]
) -> None:
    asked = parsed(messages=[user("x"), assistant([TEXT, *blocks, TEXT]), user("y")])
    assert asked.messages[1] == Message("assistant", [TextPart("hi"), TextPart("hi")])
    assert asked.ignored == tuple(f"messages[].content[].{kind}" for kind in ignored)
    alone = parsed(messages=[user("x"), assistant(blocks), user("y")])
    assert alone.messages == [Message("user", "x"), Message("user", "y")]


def test_a_call_that_a_tool_of_anthropics_own_has_made_is_a_call() -> None:
    made = USE | {"caller": {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}}
    asked = parsed(messages=[user("x"), assistant([SEARCHED, made]), user([RESULT])])
    assert asked.messages[1] == Message("assistant", "", (ToolCall("call_1", "weather", '{"city":"Roma"}'),))
    assert asked.ignored == ("messages[].content[].server_tool_use", "messages[].content[].caller")


@pytest.mark.parametrize(
    ("changes", "ignored"),
    [
        (
            {"messages": [user("x"), assistant([SEARCHED, FOUND, CITED])]},
            (
                "messages[].content[].citations",
                "messages[].content[].server_tool_use",
                "messages[].content[].web_search_tool_result",
            ),
        ),
        ({"extra": 1, "container": "x", "mcp_servers": [], "context_management": {}}, ("extra", "container")),
        ({"service_tier": "priority", "speed": "fast"}, ("service_tier", "speed")),
        (
            {"tools": [WEATHER | {"defer_loading": True, "input_examples": [{}]}]},
            ("tools[].defer_loading", "tools[].input_examples"),
        ),
        ({"tools": [SEARCH | {"max_uses": 5}]}, ("tools[].web_search_20250305",)),
        ({"messages": [user([TEXT | {"citations": [{}]}])]}, ("messages[].content[].citations",)),
        ({"thinking": {"type": "adaptive", "display": "detailed"}}, ("thinking.display",)),
        ({"thinking": {"type": "disabled", "budget_tokens": 2_000}}, ("thinking.budget_tokens",)),
        ({"messages": [user("x"), assistant([THOUGHT]), user("y")]}, ("messages[].content[].thinking",)),
        ({"output_config": {"task_budget": {"total": 1}}}, ("output_config.task_budget",)),
        ({"metadata": {"user_id": "me", "team": "us"}}, ("metadata.team",)),
    ],
)
def test_what_nothing_here_knows_is_left_out_and_named(changes: dict[str, Any], ignored: tuple[str, ...]) -> None:
    assert parsed(**changes).ignored == ignored


@pytest.mark.parametrize(
    ("changes", "effort", "wishes"),
    [
        ({"thinking": {"type": "disabled"}}, "none", {"reasoning_effort": ("thinking",)}),
        ({"thinking": {"type": "adaptive"}}, None, {"thinking": ("thinking",)}),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, None, {"thinking": ("thinking",)}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 4_096}, "max_tokens": 40_000},
            "low",
            {"thinking": ("thinking",), "reasoning_effort": ()},
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 4_097}, "max_tokens": 40_000},
            "medium",
            {"thinking": ("thinking",), "reasoning_effort": ()},
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 32_000}, "max_tokens": 40_000},
            "high",
            {"thinking": ("thinking",), "reasoning_effort": ()},
        ),
        ({"output_config": {"effort": "max"}}, "max", {"reasoning_effort": ("output_config.effort",)}),
        ({"top_k": 5, "metadata": {"user_id": "me"}}, None, {"top_k": ("top_k",), "user": ("metadata.user_id",)}),
        (
            {"system": [TEXT | CACHED], **CACHED},
            None,
            {
                "cache": ("system[].cache_control", "messages[].content[].cache_control", "cache_control"),
                "cache_time": (
                    "system[].cache_control.ttl",
                    "messages[].content[].cache_control.ttl",
                    "cache_control.ttl",
                ),
            },
        ),
        ({"tools": [WEATHER | {"strict": True}]}, None, {"strict_tools": ("tools[].strict",)}),
    ],
)
def test_wishes_are_known_by_the_fields_that_they_came_in(
    changes: dict[str, Any], effort: str | None, wishes: dict[str, tuple[str, ...]]
) -> None:
    asked = parsed(**changes)
    assert (asked.sampling.reasoning_effort, asked.wishes, asked.ignored) == (effort, wishes, ())


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
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"messages": [user([])]}, "content"),
        ({"messages": [user([{"type": "container_upload", "file_id": "f"}])]}, "container_upload"),
        ({"messages": [user([FOUND])]}, "web_search_tool_result"),
        ({"messages": [user("x"), assistant([{"text": "x"}])]}, "type"),
        ({"messages": [user("x"), assistant([{"type": 5}])]}, "type"),
        ({"messages": [user([{"type": "image", "source": {"type": "url", "url": "https://a"}}])]}, "content[0]"),
        ({"messages": [user([{"type": "document", "source": {"type": "file", "file_id": "f"}}])]}, "content[0]"),
        ({"messages": [user([{"type": "document", "source": PDF}])]}, "application/pdf"),
        ({"temperature": 1.1}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"top_k": 0}, "top_k"),
        ({"n": 2}, "n"),
        ({"stop": ["x"]}, "stop"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"thinking": {"type": 1}}, "thinking"),
        ({"thinking": {"type": "zzz"}}, "thinking.type"),
        *(({"thinking": {"type": "enabled", "budget_tokens": n}}, "thinking.budget_tokens") for n in (-5, 0, 1_023)),
        ({"thinking": {"type": "enabled", "budget_tokens": 2_000}, "max_tokens": 2_000}, "output limit of 2000"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "bash_20250124"),
        ({"tools": [WEATHER | {"name": "a" * 129}]}, "128"),
        ({"tools": [WEATHER | {"name": "a\n"}]}, "name"),
        ({"tools": [WEATHER | {"input_schema": {}}]}, "tools[0].input_schema"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"messages": [assistant([THOUGHT])]}, "messages"),
        ({"system": "Be brief.", "messages": [assistant(""), assistant([REDACTED])]}, "messages"),
        ({"tools": [SEARCH], "tool_choice": {"type": "tool", "name": "web_search"}}, "web_search"),
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
        ([user("x"), assistant([USE]), user([RESULT | {"tool_use_id": "other"}])], "messages[2]"),
        ([user("x"), assistant([USE]), user([RESULT, RESULT])], "messages[2]"),
        ([user("x"), assistant([USE]), user([RESULT]), user([RESULT])], "messages[3]"),
        ([user("x"), assistant([USE]), system("z"), user("y")], "messages[1]"),
        ([user("x"), assistant([USE, USE]), user([RESULT])], "messages[1]"),
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


@pytest.mark.parametrize(
    ("thinking", "shown", "signed", "budget"),
    [
        (None, False, False, None),
        ({"type": "disabled"}, False, False, None),
        ({"type": "adaptive"}, True, True, None),
        ({"type": "adaptive", "display": "summarized"}, True, True, None),
        ({"type": "adaptive", "display": "omitted"}, False, True, None),
        ({"type": "enabled", "budget_tokens": 2_000}, True, True, 2_000),
        ({"type": "disabled", "budget_tokens": 2_000}, False, False, None),
    ],
)
def test_thoughts_are_shown_and_signed_where_thinking_is_asked_for(
    thinking: Any, *, shown: bool, signed: bool, budget: int | None
) -> None:
    sampling = parsed(thinking=thinking, max_tokens=4_000).sampling
    assert (sampling.shows_thoughts, sampling.signs_thoughts, sampling.thinking_budget) == (shown, signed, budget)


@pytest.mark.parametrize(
    ("headers", "interleaved"),
    [
        ([("anthropic-beta", "interleaved-thinking-2025-05-14")], True),
        ([("Anthropic-Beta", "message-batches-2024-09-24, interleaved-thinking-2026-01-01")], True),
        ([("anthropic-beta", "a"), ("anthropic-beta", "interleaved-thinking-2025-05-14")], True),
        ([("anthropic-beta", "no-interleaved-thinking-2025-05-14")], False),
        ([("anthropic-version", "2023-06-01")], False),
    ],
)
def test_a_budget_may_exceed_the_output_limit_where_it_counts_the_thoughts_between_calls(
    headers: list[tuple[str, str]], *, interleaved: bool
) -> None:
    assert thinks_between_calls(CIMultiDict(headers)) == interleaved
    said = msgspec.json.encode(body(thinking={"type": "enabled", "budget_tokens": 32_000}, max_tokens=32_000))
    if interleaved:
        assert parse_message(said, interleaved=True).sampling.thinking_budget == 32_000
    else:
        with pytest.raises(InvalidRequest, match="no room for an answer"):
            parse_message(said)


def test_thoughts_come_back_in_their_places() -> None:
    use = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "ok"}
    blocks = [THOUGHT, TEXT, REDACTED, use, THOUGHT]
    _, said, *_ = parsed(messages=[user("x"), assistant(blocks), user([result])], tools=[WEATHER]).messages
    length = len(TEXT["text"])
    assert said.thoughts == (
        Thought("…", "…"),
        Thought("", "…", redacted=True, after_text=length),
        Thought("…", "…", after_text=length, after_calls=1),
    )
