"""Thinking in each vendor's words: what is said where nobody asks for it, what an effort becomes, and what histories need."""

from __future__ import annotations

from typing import Any

import pytest

from shared.catalogue.models import load_catalogue
from shared.chat import ImagePart, ImageUrl, Message, ReasoningEffort, Sampling, TextPart, ToolCall
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


def asked(name: str, effort: ReasoningEffort | None = None, messages: list[Message] = HELLO, **more: Any) -> Any:
    model = CATALOGUE.find(name)
    request = ProviderRequest(
        id="req_1",
        model=model,
        messages=messages,
        sampling=Sampling(reasoning_effort=effort, **more),
        output_limit=100,
        stream=False,
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
    ("name", "told"),
    [("deepseek-chat", None), ("deepseek-flash", {"type": "disabled"}), ("deepseek-v4-pro", {"type": "disabled"})],
)
def test_deepseek_is_told_to_switch_it_off(name: str, told: object) -> None:
    assert asked(name).get("thinking") == told


def test_deepseek_is_given_thoughts_back_where_it_thinks() -> None:
    given = {name: asked(name, messages=CALLED)["messages"] for name in ("deepseek-reasoner", "deepseek-flash")}
    thoughts = {name: [message.get("reasoning_content") for message in messages] for name, messages in given.items()}
    assert thoughts == {"deepseek-reasoner": [None, "", None, "", None], "deepseek-flash": [None] * 5}


@pytest.mark.parametrize(
    ("name", "effort", "more", "told"),
    [
        ("amazon-nova-lite", None, {}, None),
        ("anthropic-claude-3-haiku", None, {"top_k": 5}, {"top_k": 5}),
        ("anthropic-claude-opus-4-8", None, {}, None),
        ("anthropic-claude-opus-5", None, {}, {"thinking": {"type": "disabled"}}),
        ("anthropic-claude-sonnet-5-5", None, {}, {"thinking": {"type": "between_tools"}}),
        ("anthropic-claude-opus-5-5", None, {}, None),
        ("openai-gpt-6-luna-bedrock", None, {}, {"reasoning": {"effort": "none"}}),
        ("openai-gpt-6-luna-bedrock", "high", {}, {"reasoning": {"effort": "high"}}),
        ("openai-gpt-6-astra-bedrock", None, {}, None),
        ("openai-gpt-oss-120b", None, {}, None),
    ],
)
def test_converse_is_told_in_the_models_own_fields(
    name: str, effort: ReasoningEffort | None, more: dict[str, Any], told: object
) -> None:
    assert asked(name, effort, **more).get("additionalModelRequestFields") == told


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("google-gemini-2.5-flash-lite", None),
        ("google-gemini-3.1-flash-lite", "MINIMAL"),
        ("google-gemini-3.8-flash", "LOW"),
        ("google-gemini-4-neon", "LOW"),
    ],
)
def test_gemini_is_told_the_least_level(name: str, level: str | None) -> None:
    config = asked(name)["config"].thinking_config
    assert (config and config.thinking_level.value) == level


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


def test_images_go_to_openai_in_a_detail_that_bounds_them() -> None:
    seen = [Message("user", [TextPart("Look."), ImagePart(ImageUrl("data:image/png;base64,AAAA"))])]
    for name, detail in (("openai-gpt-5.5", "high"), ("openai-gpt-4o", None), ("deepseek-flash", None)):
        (message,) = asked(name, messages=seen)["messages"]
        assert message["content"][1]["image_url"].get("detail") == detail
