"""Thinking in each vendor's words: what is said where nobody asks for it, what an effort becomes, and what histories need."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shared.catalogue.models import load_catalogue
from shared.chat import (
    NO_TOOLS,
    ImagePart,
    ImageUrl,
    Message,
    ReasoningEffort,
    Sampling,
    TextPart,
    Tool,
    ToolCall,
    ToolChoice,
    Tools,
)
from shared.thoughts import Thought
from workers.providers.bedrock import converse as bedrock_converse
from workers.providers.gemini import request as gemini_request
from workers.providers.openai import request as openai_request
from workers.providers.protocol import ProviderRequest

CATALOGUE = load_catalogue()
HELLO = [Message("user", "Hello")]
CALLED = [
    *HELLO,
    Message("assistant", "Yes."),
    Message("user", "Time?"),
    Message("assistant", "", tool_calls=(ToolCall("call_1", "clock", "{}"),)),
    Message("tool", "ten", tool_call_id="call_1"),
]


CLOCK = Tools(offered=(Tool(name="clock"),))
ADAPTIVE, SUMMARIZED = {"type": "adaptive"}, {"type": "adaptive", "display": "summarized"}
SHOWN = {"shows_thoughts": True}


def asked(
    name: str,
    effort: ReasoningEffort | None = None,
    messages: list[Message] = HELLO,
    *,
    limit: int = 100,
    tools: Tools = NO_TOOLS,
    **more: Any,
) -> Any:
    model = CATALOGUE.find(name)
    request = ProviderRequest(
        id="req_1",
        model=model,
        messages=messages,
        sampling=Sampling(reasoning_effort=effort, **more),
        output_limit=limit,
        stream=False,
        tools=tools,
    )
    if model.api == "gemini":
        return {**gemini_request.parameters(request), **gemini_request.large_fields(request)}
    words = bedrock_converse if model.api == "bedrock-converse" else openai_request
    return words.parameters(request)


@pytest.mark.parametrize(
    ("name", "effort", "told"),
    [
        ("openai-gpt-4o", None, None),
        ("openai-o1", None, None),
        ("openai-o1", "low", "low"),
        ("openai-gpt-5.2", None, "none"),
        ("openai-gpt-6-luna", None, "none"),
        ("openai-gpt-6-luna", "high", "high"),
        ("openai-gpt-6-astra", None, None),
    ],
)
def test_openai_is_told_an_effort(name: str, effort: ReasoningEffort | None, told: str | None) -> None:
    assert asked(name, effort).get("reasoning_effort") == told


@pytest.mark.parametrize(
    ("name", "effort", "told"),
    [
        ("deepseek-chat", None, (None, None)),
        ("deepseek-reasoner", None, (None, None)),
        ("deepseek-flash", None, ({"type": "disabled"}, None)),
        ("deepseek-flash", "none", ({"type": "disabled"}, None)),
        ("deepseek-flash", "low", ({"type": "enabled"}, "low")),
        ("deepseek-v4-pro", "max", ({"type": "enabled"}, "max")),
    ],
)
def test_deepseek_is_told_by_a_switch_and_an_effort(name: str, effort: ReasoningEffort | None, told: object) -> None:
    words = asked(name, effort)
    assert (words.get("thinking"), words.get("reasoning_effort")) == told


def test_the_successor_of_the_reasoner_thinks_unless_it_has_to_call_a_tool() -> None:
    served = msgspec.structs.replace(CATALOGUE.find("deepseek-flash"), thinking=None)
    tools = Tools(offered=(Tool(name="clock"),), choice=ToolChoice("required"))
    request = ProviderRequest(
        id="req_1", model=served, messages=HELLO, sampling=Sampling(), output_limit=100, stream=False
    )
    assert openai_request.parameters(request)["thinking"] == {"type": "enabled"}
    forced = msgspec.structs.replace(request, tools=tools)
    assert openai_request.parameters(forced)["thinking"] == {"type": "disabled"}


THOUGHT = [
    *CALLED[:3],
    msgspec.structs.replace(CALLED[3], thoughts=(Thought("Hm. "), Thought("Aha."))),
    CALLED[4],
]


@pytest.mark.parametrize(
    ("name", "effort", "messages", "given_back"),
    [
        ("deepseek-reasoner", None, CALLED, [None, "", None, "", None]),
        ("deepseek-reasoner", None, THOUGHT, [None, "", None, "Hm. Aha.", None]),
        ("deepseek-flash", None, THOUGHT, [None] * 5),
        ("deepseek-flash", "high", CALLED, [None, "", None, "", None]),
        ("deepseek-flash", "high", THOUGHT, [None, "", None, "Hm. Aha.", None]),
    ],
)
def test_deepseek_is_given_thoughts_back_where_it_thinks(
    name: str, effort: ReasoningEffort | None, messages: list[Message], given_back: list[str | None]
) -> None:
    said = asked(name, effort, messages)["messages"]
    assert [message.get("reasoning_content") for message in said] == given_back


def test_the_reasoner_takes_back_what_it_thought_before_a_call_only() -> None:
    talk = [*HELLO, Message("assistant", "Yes.", thoughts=(Thought("Hm."),)), *HELLO]
    assert asked("deepseek-reasoner", messages=talk)["messages"][1]["reasoning_content"] == ""
    assert asked("deepseek-flash", "high", talk)["messages"][1]["reasoning_content"] == "Hm."


@pytest.mark.parametrize(
    ("name", "effort", "more", "told"),
    [
        ("amazon-nova-lite", None, {}, None),
        ("anthropic-claude-3-haiku", None, {"top_k": 5}, {"top_k": 5}),
        ("anthropic-claude-3-haiku", None, SHOWN, None),
        ("anthropic-claude-3-5-sonnet-v2", None, SHOWN, None),
        ("anthropic-claude-opus-4-8", None, {}, None),
        ("anthropic-claude-opus-5", None, {}, {"thinking": {"type": "disabled"}}),
        ("anthropic-claude-sonnet-5-5", None, {}, {"thinking": {"type": "between_tools"}}),
        ("anthropic-claude-opus-5-5", None, {}, None),
        ("openai-gpt-6-luna-bedrock", None, {}, {"reasoning": {"effort": "none"}}),
        ("openai-gpt-6-luna-bedrock", "high", {}, {"reasoning": {"effort": "high"}}),
        ("openai-gpt-6-astra-bedrock", None, {}, None),
        ("openai-gpt-oss-120b", None, {}, None),
        ("openai-gpt-oss-120b", "low", {}, {"reasoning_effort": "low"}),
        ("moonshot-kimi-k3.1", None, {}, None),
        ("moonshot-kimi-k3.1", "none", {}, {"reasoning_effort": "none"}),
        ("amazon-nova-2-lite", None, {}, None),
        ("amazon-nova-2-lite", "low", {}, {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}),
        ("anthropic-claude-opus-5", "none", {}, {"thinking": {"type": "disabled"}}),
        ("anthropic-claude-opus-5", "max", {}, {"thinking": ADAPTIVE, "output_config": {"effort": "max"}}),
        ("anthropic-claude-opus-5", "low", SHOWN, {"thinking": SUMMARIZED, "output_config": {"effort": "low"}}),
        ("anthropic-claude-opus-5-5", None, SHOWN, {"thinking": SUMMARIZED}),
        ("anthropic-claude-opus-4-6", None, SHOWN, None),
        ("anthropic-claude-opus-4-6", "low", SHOWN, {"thinking": ADAPTIVE, "output_config": {"effort": "low"}}),
        ("anthropic-claude-sonnet-5-5", "none", {}, {"thinking": {"type": "between_tools"}}),
        ("anthropic-claude-haiku-4-5", "none", {}, None),
    ],
)
def test_converse_is_told_in_the_models_own_fields(
    name: str, effort: ReasoningEffort | None, more: dict[str, Any], told: object
) -> None:
    assert asked(name, effort, **more).get("additionalModelRequestFields") == told


@pytest.mark.parametrize(
    ("effort", "limit", "budget", "told"),
    [
        ("low", 64_000, None, 4_096),
        ("high", 64_000, None, 32_768),
        ("high", 64_000, 2_000, 2_000),
        ("low", 64_000, 10, 1_024),
        ("high", 16_384, None, 12_288),
        ("high", 1_366, None, 1_025),
        ("high", 1_300, None, None),
    ],
)
def test_claude_that_counts_is_told_how_many_tokens_with_room_left_for_the_answer(
    effort: ReasoningEffort, limit: int, budget: int | None, told: int | None
) -> None:
    fields = asked("anthropic-claude-haiku-4-5", effort, limit=limit, thinking_budget=budget).get(
        "additionalModelRequestFields"
    )
    assert fields == ({"thinking": {"type": "enabled", "budget_tokens": told}} if told else None)


def test_claude_that_counts_does_not_begin_to_think_where_its_thoughts_are_missing() -> None:
    def thinking(messages: list[Message]) -> object:
        fields = asked("anthropic-claude-haiku-4-5", "low", messages, limit=16_384, tools=CLOCK)
        return fields.get("additionalModelRequestFields")

    def called(*thoughts: Thought, text: str = "") -> list[Message]:
        return [*CALLED[:3], msgspec.structs.replace(CALLED[3], content=text, thoughts=thoughts), CALLED[4]]

    first, behind = Thought("Hm.", "sig"), Thought("Hm.", "sig", after_calls=1)
    for refused in (
        CALLED,
        [*HELLO, Message("assistant", "I ")],
        called(behind),
        called(Thought("Hm.", "sig", after_text=2), text="So."),
        [*called(behind), Message("user", "And now?")],
        [*CALLED[:3], Message("assistant", "So."), *called(first)[3:]],
    ):
        assert thinking(refused) is None, refused
    for taken in (called(first), called(first, behind, text="So."), [*called(first), Message("system", "Be brief.")]):
        assert thinking(taken) == {"thinking": {"type": "enabled", "budget_tokens": 4_096}}, taken


@pytest.mark.parametrize(
    ("name", "effort", "more", "told"),
    [
        ("google-gemini-2.5-flash-lite", None, {}, None),
        ("google-gemini-2.5-flash-lite", "none", SHOWN, None),
        ("google-gemini-2.5-flash-lite", "low", {"limit": 64_000}, (None, 1_024, None)),
        ("google-gemini-2.5-flash-lite", "high", {"limit": 64_000, "thinking_budget": 100}, (None, 512, None)),
        ("google-gemini-2.5-flash-lite", "high", {"limit": 64_000, **SHOWN}, (None, 24_576, True)),
        ("google-gemini-2.5-flash-lite", "high", {"limit": 8_000, "thinking_budget": 9_000}, (None, 6_000, None)),
        ("google-gemini-2.5-flash-lite", "high", {}, (None, 512, None)),
        ("google-gemini-3.1-flash-lite", None, {}, ("MINIMAL", None, None)),
        ("google-gemini-3.8-flash", None, {}, ("LOW", None, None)),
        ("google-gemini-3.8-flash", None, SHOWN, ("LOW", None, True)),
        ("google-gemini-4-neon", None, {}, ("LOW", None, None)),
        ("google-gemini-4-neon", "xhigh", {"thinking_budget": 9}, ("XHIGH", None, None)),
        ("google-gemini-2.0-flash", None, SHOWN, None),
    ],
)
def test_gemini_is_told_a_level_or_a_number_of_tokens(
    name: str, effort: ReasoningEffort | None, more: dict[str, Any], told: object
) -> None:
    config = asked(name, effort, **more)["config"].thinking_config
    level = config and config.thinking_level and config.thinking_level.value
    assert (config and (level, config.thinking_budget, config.include_thoughts)) == told


def test_gemini_has_ids_and_a_stand_in_for_signatures_from_its_third_generation_on() -> None:
    def parts(name: str) -> tuple[Any, Any]:
        contents = asked(name, messages=CALLED)["contents"]
        return contents[3]["parts"][0], contents[4]["parts"][0]

    call, said = parts("google-gemini-3.8-flash")
    assert (call["functionCall"]["id"], said["functionResponse"]["id"]) == ("call_1", "call_1")
    assert call["thoughtSignature"] == b"skip_thought_signature_validator"
    call, said = parts("google-gemini-2.5-flash-lite")
    assert [part.keys() for part in (call, call["functionCall"], said["functionResponse"])] == [
        {"functionCall"},
        {"name", "args"},
        {"name", "response"},
    ]


def test_gemini_is_given_its_own_signatures_back_where_they_were() -> None:
    calls = (ToolCall("call_1", "clock", "{}", "c2ln"), ToolCall("call_2", "clock", "{}"))
    talk = [
        *HELLO,
        Message("assistant", "Yes.", tool_calls=calls, thoughts=(Thought("A summary, which it does not want."),)),
        Message("tool", "ten", tool_call_id="call_1"),
        Message("tool", "ten", tool_call_id="call_2"),
    ]
    _, said, _ = asked("google-gemini-3.8-flash", messages=talk)["contents"]
    assert [part.get("text") for part in said["parts"]] == ["Yes.", None, None]
    assert [part.get("thoughtSignature") for part in said["parts"]] == [None, b"sig", None]


def test_claude_is_given_its_own_thoughts_back_where_they_were_while_it_thinks() -> None:
    thoughts = (Thought("Hm.", "sig"), Thought(signature="ZGF0YQ==", redacted=True, after_text=4), Thought("unsigned"))
    turn = Message("assistant", "Yes. No.", tool_calls=(ToolCall("call_1", "clock", "{}"),), thoughts=thoughts)
    talk = [*HELLO, turn, Message("tool", "ten", tool_call_id="call_1")]
    clock = Tools(offered=(Tool(name="clock"),))
    text = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig"}}}
    data = {"reasoningContent": {"redactedContent": b"data"}}
    said = asked("anthropic-claude-opus-5", "high", talk, tools=clock)["messages"][1]["content"]
    assert said[:4] == [text, {"text": "Yes."}, data, {"text": " No."}]
    assert "toolUse" in said[4]
    for name, effort, tools in (
        ("anthropic-claude-opus-5", None, clock),
        ("anthropic-claude-opus-5", "high", NO_TOOLS),
    ):
        said = asked(name, effort, talk, tools=tools)["messages"][1]["content"]  # type: ignore[arg-type]
        assert not any("reasoningContent" in block for block in said)


def test_claude_is_not_given_a_thought_that_nothing_follows() -> None:
    cut_off = Message("assistant", "Yes.", thoughts=(Thought("Hm.", "sig", after_text=4),))
    said = asked("anthropic-claude-opus-5", "high", [*HELLO, cut_off, *HELLO])["messages"][1]["content"]
    assert said == [{"text": "Yes."}]


def test_images_go_to_openai_in_a_detail_that_bounds_them() -> None:
    seen = [Message("user", [TextPart("Look."), ImagePart(ImageUrl("data:image/png;base64,AAAA"))])]
    for name, detail in (("openai-gpt-5.5", "high"), ("openai-gpt-4o", None), ("deepseek-flash", None)):
        (message,) = asked(name, messages=seen)["messages"]
        assert message["content"][1]["image_url"].get("detail") == detail
