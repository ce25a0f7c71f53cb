"""What vendors refuse of their newer models: sampling, tools and histories while they think, efforts, levels and switches."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from deploy.simulator.app import Running
from tests.simulator.test_tools import ANSWERED, FUNCTION, USER, called, contents, refused, turns

Body = dict[str, Any]
TOOLS = {"tools": [FUNCTION]}
NONE = {"reasoning_effort": "none"}
OFF = {"thinking": {"type": "disabled"}}


def png(width: int, height: int) -> str:
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + size).decode()


def seen(detail: str | None, width: int, height: int) -> Body:
    image = {"url": f"data:image/png;base64,{png(width, height)}"} | ({"detail": detail} if detail else {})
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": image}]}]}


OPENAI: list[tuple[str, Body, str]] = [
    ("gpt-5.5", {}, ""),
    ("gpt-5.5", {"temperature": 0.5}, "'temperature' is not supported with this model"),
    ("gpt-5.5", {"temperature": 1}, ""),
    ("gpt-5.5", {"top_p": 1}, "'top_p' is not supported with this model"),
    ("gpt-5.5", {"temperature": 0.5, "top_p": 0.5, **NONE}, ""),
    ("gpt-5.4", {"temperature": 0.5}, ""),
    ("gpt-5.4", {"temperature": 0.5, "reasoning_effort": "low"}, "'temperature' is not supported with this model"),
    ("gpt-5.4", {"stop": ["x"]}, "'stop' is not supported with this model"),
    ("gpt-5.4", {"presence_penalty": 0}, "'presence_penalty' is not supported with this model"),
    ("gpt-5.4", {"max_tokens": 5}, "Use 'max_completion_tokens' instead"),
    (
        "gpt-5.4",
        {"reasoning_effort": "minimal"},
        "does not support 'minimal' with this model. Supported values are: 'none'",
    ),
    ("gpt-6-astra", NONE, "does not support 'none' with this model. Supported values are: 'medium', 'low'"),
    ("gpt-4o", {"reasoning_effort": "low"}, "Unrecognized request argument supplied: reasoning_effort"),
    ("gpt-4o", OFF, "Unrecognized request argument supplied: thinking"),
    ("gpt-5.5", TOOLS, "Function tools with reasoning_effort are not supported for gpt-5.5-2026-04-23 in /v1/chat"),
    ("gpt-5.5", TOOLS | NONE, ""),
    ("gpt-5.4", TOOLS, ""),
    ("gpt-5.4", TOOLS | {"reasoning_effort": "low"}, "use /v1/responses or set reasoning_effort to 'none'"),
    ("gpt-5.2", TOOLS | {"reasoning_effort": "low"}, ""),
    ("gpt-6.1-terra", TOOLS | NONE, "Function tools with reasoning_effort are not supported"),
    ("gpt-6-luna", seen(None, 5_536, 5_536), ""),
    ("gpt-6-luna", seen(None, 5_537, 5_536), "requires 30102 patches after processing, exceeding the limit of 30000"),
    ("gpt-6-luna", seen("high", 8_000, 8_000), ""),
    (
        "gpt-6-luna",
        seen("best", 8, 8),
        "Invalid value: 'best'. Supported values are: 'low', 'high', 'auto', 'original'",
    ),
    ("gpt-5.5", seen(None, 8_000, 8_000), ""),
]
ANSWER = {"role": "assistant", "content": "ok"}
TALK = {"messages": [USER, ANSWER, USER]}
DEEPSEEK: list[tuple[str, Body, str]] = [
    ("deepseek-flash", TALK, "The `reasoning_content` in the thinking mode must be passed back to the API"),
    ("deepseek-flash", TALK | OFF, ""),
    ("deepseek-flash", {"messages": [USER, {**ANSWER, "reasoning_content": ""}, USER]}, ""),
    ("deepseek-flash", {"messages": [USER, {**ANSWER, "reasoning_content": "hm"}, USER]}, ""),
    ("deepseek-v4-pro", TALK, "must be passed back to the API"),
    ("deepseek-chat", TALK, ""),
    ("deepseek-reasoner", {"messages": [USER, called(), ANSWERED], **TOOLS}, "Missing `reasoning_content` field"),
    ("deepseek-flash", {**TOOLS, "tool_choice": "required"}, "Thinking mode does not support this tool_choice"),
    ("deepseek-flash", {**TOOLS, **OFF, "tool_choice": "required"}, ""),
    ("deepseek-flash", seen(None, 8, 8), ""),
    ("deepseek-v4-pro", seen(None, 8, 8), "unknown variant `image_url`, expected `text`"),
    ("deepseek-flash", {"max_tokens": 393_217}, "the valid range of max_tokens is [1, 393216]"),
]


def asked(inference: Body | None = None, **fields: Any) -> Body:
    return {
        "messages": turns([{"text": "hi"}]),
        "inferenceConfig": inference or {},
        "additionalModelRequestFields": fields,
    }


def chosen(**choice: Any) -> Body:
    tool = {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}
    return asked() | {"toolConfig": {"tools": [tool], "toolChoice": choice}}


def thought(text: str, signature: str | None) -> Body:
    return {"reasoningContent": {"reasoningText": {"text": text, **({"signature": signature} if signature else {})}}}


def thinking_back(*said: Body, **fields: Any) -> Body:
    return asked(**fields) | {"messages": turns([{"text": "hi"}], list(said), [{"text": "So?"}])}


def calling(*said: Body) -> Body:
    result = {"toolResult": {"toolUseId": "call_1", "content": [{"text": "ten"}]}}
    talk = turns([{"text": "hi"}], list(said), [result])
    return chosen(auto={}) | {"messages": talk, "additionalModelRequestFields": {"thinking": COUNTED}}


COUNTED = {"type": "enabled", "budget_tokens": 2_000}
CALLED = {"toolUseId": "call_1", "name": "f", "input": {}}
ENCRYPTED = {"reasoningContent": {"redactedContent": base64.b64encode(b"x").decode()}}
HAIKU, NOVA = "global.anthropic.claude-haiku-4-5-20251001-v1:0", "global.amazon.nova-2-lite-v1:0"
GPT, OSS, GROK = "global.openai.gpt-6-luna", "openai.gpt-oss-20b-1:0", "global.xai.grok-4.7"
OPUS_5, OPUS_5_5 = "global.anthropic.claude-opus-5", "global.anthropic.claude-opus-5-5"
SONNET_5_5, SONNET_4_6 = "global.anthropic.claude-sonnet-5-5", "global.anthropic.claude-sonnet-4-6"
DISABLED = {"thinking": {"type": "disabled"}}
CONVERSE: list[tuple[str, Body, str]] = [
    (OPUS_5, asked({"temperature": 0.5}), "`temperature` is deprecated for this model"),
    (OPUS_5, asked({"topP": 0.5}), "`top_p` is deprecated for this model"),
    (OPUS_5, asked({"temperature": 1}), ""),
    (OPUS_5, asked({"topP": 0.99}), ""),
    (OPUS_5, asked({"temperature": 1, "topP": 0.99}), "cannot both be specified"),
    (SONNET_4_6, asked({"temperature": 0.5}), ""),
    (SONNET_4_6, asked({"temperature": 0.5, "topP": 0.5}), "cannot both be specified"),
    (OPUS_5, asked(top_k=5), "extraneous key [top_k] is not permitted"),
    (SONNET_4_6, asked(top_k=5), ""),
    (OPUS_5, asked(**DISABLED), ""),
    (OPUS_5_5, asked(**DISABLED), "thinking.type: 'disabled' is not supported for this model"),
    (SONNET_5_5, asked(**DISABLED), "thinking.type: 'disabled' is not supported for this model"),
    (SONNET_5_5, asked(thinking={"type": "between_tools"}), ""),
    (OPUS_5, asked(thinking={"type": "between_tools"}), "'between_tools' is not supported for this model"),
    ("amazon.nova-lite-v1:0", asked(**DISABLED), "extraneous key [thinking] is not permitted"),
    (OPUS_5, chosen(any={}), ""),
    (OPUS_5_5, chosen(any={}), "doesn't support the toolConfig.toolChoice.any field"),
    (OPUS_5_5, chosen(auto={}), ""),
    (OPUS_5, {"messages": turns([{"text": "hi"}], [{"text": "So"}])}, "conversation must end with a user message"),
    ("anthropic.claude-opus-5", asked(), "with on-demand throughput isn’t supported"),
    ("us.anthropic.claude-opus-5", asked(), ""),
    (GPT, asked({"temperature": 1}), "doesn't support the temperature field"),
    (GPT, asked({"topP": 1}), "doesn't support the topP field"),
    (GPT, asked({"stopSequences": ["x"]}), "doesn't support the stopSequences field"),
    (OSS, asked({"stopSequences": ["x"]}), "doesn't support the stopSequences field"),
    (OSS, asked({"temperature": 0.5, "maxTokens": 1}), ""),
    (GPT, asked({"maxTokens": 15}), "Expected a value >= 16, but got 15 instead"),
    (GROK, asked({"maxTokens": 15}), "Expected a value >= 16, but got 15 instead"),
    (GPT, asked({"maxTokens": 16}), ""),
    (GPT, asked(reasoning={"effort": "none"}), ""),
    (
        "global.openai.gpt-6-astra",
        asked(reasoning={"effort": "none"}),
        "does not support 'none'. Supported values are: 'low'",
    ),
    (GPT, asked(reasoning_effort="low"), "extraneous key [reasoning_effort] is not permitted"),
    (OSS, asked(reasoning_effort="low"), ""),
    (GPT, chosen(tool={"name": "f"}), ""),
    ("us.meta.llama4-scout-17b-instruct-v1:0", chosen(any={}), "doesn't support the toolConfig.toolChoice.any field"),
    (OPUS_5, asked(thinking={"type": "adaptive"}, output_config={"effort": "xhigh"}), ""),
    (OPUS_5, asked(thinking=COUNTED), "thinking.type: 'enabled' is not supported for this model"),
    (SONNET_4_6, asked(thinking=COUNTED), ""),
    (SONNET_4_6, asked(output_config={"effort": "xhigh"}), "'xhigh' is not supported for this model"),
    (HAIKU, asked(thinking={"type": "adaptive"}), "thinking.type: 'adaptive' is not supported for this model"),
    (HAIKU, asked(thinking={"type": "enabled", "budget_tokens": 1_023}), "greater than or equal to 1024"),
    (HAIKU, asked({"maxTokens": 2_000}, thinking=COUNTED), "must be greater than `thinking.budget_tokens`"),
    (HAIKU, asked({"temperature": 0.5}, thinking=COUNTED), "may only be set to 1 when thinking is enabled"),
    (HAIKU, asked(thinking=COUNTED, top_k=5), "`top_k` must be unset when thinking is enabled"),
    (HAIKU, chosen(any={}) | {"additionalModelRequestFields": {"thinking": COUNTED}}, "forces tool use"),
    (HAIKU, thinking_back({"text": "So."}, thinking=COUNTED), ""),
    (HAIKU, calling({"toolUse": CALLED}), "Expected `thinking` or `redacted_thinking`, but found `tool_use`"),
    (OPUS_5, thinking_back(thought("Hm.", "x"), {"text": "So."}), "Invalid `signature` in `thinking` block"),
    (OPUS_5, thinking_back(thought("Hm.", None), {"text": "So."}), "thinking.signature: Field required"),
    (OPUS_5, thinking_back({"text": "So."}, ENCRYPTED), "Invalid `signature` in `thinking` block"),
    (NOVA, asked(reasoningConfig={"type": "enabled", "maxReasoningEffort": "low"}), ""),
    (NOVA, asked(reasoningConfig={"type": "enabled", "maxReasoningEffort": "max"}), "does not support 'max'"),
    (
        NOVA,
        asked({"maxTokens": 9}, reasoningConfig={"type": "enabled", "maxReasoningEffort": "high"}),
        "maxTokens must not be set",
    ),
]
CALL = {"functionCall": {"name": "clock", "args": {}}}
SIGNED = {**CALL, "thoughtSignature": base64.b64encode(b"skip_thought_signature_validator").decode()}
RESPONSE = {"functionResponse": {"name": "clock", "response": {"output": "ten"}}}
DECLARED = {"tools": [{"functionDeclarations": [{"name": "clock"}]}]}


def with_id(part: Body, one: str) -> Body:
    kind = next(iter(part))
    return {**part, kind: {**part[kind], "id": one}}


def thinking(**config: Any) -> Body:
    return {**contents({"text": "hi"}), "generationConfig": {"thinkingConfig": config}}


def limited(tokens: int) -> Body:
    return {**contents({"text": "hi"}), "generationConfig": {"maxOutputTokens": tokens}}


def talk(*parts: Body) -> Body:
    return {**contents({"text": "hi"}, *parts), **DECLARED}


JSON_BESIDE_TOOLS = {
    **contents({"text": "hi"}),
    **DECLARED,
    "generationConfig": {"responseMimeType": "application/json"},
}
OLD, FLASH, ARGON = "gemini-2.5-flash-lite", "gemini-3.8-flash", "gemini-4-argon"
GEMINI: list[tuple[str, Body, str]] = [
    (FLASH, thinking(thinkingLevel="LOW"), ""),
    (FLASH, thinking(thinkingLevel="MINIMAL"), "Thinking level MINIMAL is not supported for this model"),
    ("gemini-3.5-flash-lite", thinking(thinkingLevel="MINIMAL"), ""),
    (OLD, thinking(thinkingLevel="LOW"), "Thinking level LOW is not supported for this model"),
    (OLD, thinking(thinkingBudget=0), ""),
    (OLD, thinking(thinkingBudget=511), "Please choose a value between 512 and 24576"),
    (OLD, thinking(thinkingBudget=512, includeThoughts=True), ""),
    (OLD, thinking(includeThoughts=True), "include_thoughts is only enabled when thinking is enabled"),
    (FLASH, thinking(includeThoughts=True), ""),
    (FLASH, talk({**CALL, "thoughtSignature": "c2ltdWxhdGVk"}, RESPONSE), "Corrupted thought signature"),
    (ARGON, thinking(thinkingBudget=0), "Thinking budget is not supported for this model"),
    (FLASH, thinking(thinkingBudget=0, thinkingLevel="LOW"), "only one of thinking budget and thinking level"),
    (ARGON, limited(32_769), "from 1 (inclusive) to 32769 (exclusive)"),
    ("gemini-4-carbon", limited(65_536), ""),
    (FLASH, talk(CALL, RESPONSE), "missing a thought_signature in functionCall parts"),
    (FLASH, talk(SIGNED, RESPONSE), ""),
    (FLASH, talk(with_id(SIGNED, "a"), with_id(RESPONSE, "a")), ""),
    (FLASH, talk(with_id(SIGNED, "a"), with_id(RESPONSE, "b")), "function_response.id is not the call's"),
    (FLASH, talk(with_id(SIGNED, "a"), RESPONSE), "function_response.id is not the call's"),
    (OLD, talk(with_id(CALL, "a"), with_id(RESPONSE, "a")), 'Unknown name "id"'),
    (OLD, talk(CALL, RESPONSE), ""),
    (FLASH, JSON_BESIDE_TOOLS, ""),
    (OLD, JSON_BESIDE_TOOLS, "Function calling with a response mime type"),
]


def is_as_told(found: str, words: str) -> bool:
    return words in found and bool(words) == bool(found)


@pytest.mark.parametrize(("model", "more", "words"), OPENAI)
async def test_openai(simulator: Running, model: str, more: Body, words: str) -> None:
    found = await refused(f"{simulator.openai}/chat/completions", {"model": model, "messages": [USER], **more})
    assert is_as_told(found, words), found


@pytest.mark.parametrize(("model", "more", "words"), DEEPSEEK)
async def test_deepseek(simulator: Running, model: str, more: Body, words: str) -> None:
    found = await refused(f"{simulator.deepseek}/chat/completions", {"model": model, "messages": [USER], **more})
    assert is_as_told(found, words), found


@pytest.mark.parametrize(("model", "body", "words"), CONVERSE)
async def test_converse(simulator: Running, model: str, body: Body, words: str) -> None:
    found = await refused(f"{simulator.bedrock}/model/{model}/converse", body)
    assert is_as_told(found, words), found


@pytest.mark.parametrize(("model", "body", "words"), GEMINI)
async def test_gemini(simulator: Running, model: str, body: Body, words: str) -> None:
    found = await refused(f"{simulator.gemini}/v1beta/models/{model}:generateContent", body)
    assert is_as_told(found, words), found
