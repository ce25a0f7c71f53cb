"""Tool loops with models that think, on every surface, with the official clients: what was thought goes there and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from tests.harness.caller import told
from tests.harness.running import Running

MODELS = {
    "anthropic-claude-opus-5": "Claude, adaptively",
    "anthropic-claude-opus-5-5": "Claude, bound to the conversation",
    "anthropic-claude-haiku-4-5": "Claude, by a number of tokens",
    "openai-gpt-6-luna-bedrock": "GPT on Bedrock, encrypted",
    "google-gemini-3.8-flash": "Gemini, by levels",
    "deepseek-v4-pro": "DeepSeek",
}
ENCRYPTED = "openai-gpt-6-luna-bedrock"
"""It shows nothing of what it thinks."""
each = pytest.mark.parametrize("model", list(MODELS))
streamed = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
LIMIT, TURNS = 8_000, 4
ASK = told(reasoning=3, preface=2, tokens=2)
"""A tool is called after a thought and a word; another thought follows its result, and then the same is asked again."""

FIRST: Any = {"role": "user", "content": told(reasoning=3)}


@pytest.fixture
async def keys(made_run: Running) -> dict[str, str]:
    demo = await made_run.ready()
    return {"url": demo["url"], "key": demo["api_key"]}


@asynccontextmanager
async def anthropics(keys: dict[str, str]) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=keys["url"], api_key=keys["key"], max_retries=0) as client:
        yield client


@asynccontextmanager
async def openais(keys: dict[str, str]) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{keys['url']}/v1", api_key=keys["key"], max_retries=0) as client:
        yield client


@each
@streamed
@pytest.mark.parametrize("display", ["summarized", "omitted"])
async def test_messages(keys: dict[str, str], model: str, display: str, *, stream: bool) -> None:
    tools = [{"name": "weather", "input_schema": PLACE}]
    messages: list[Any] = [{"role": "user", "content": ASK}]
    asked: dict[str, Any] = {"model": model, "max_tokens": LIMIT, "tools": tools}
    asked["thinking"] = {"type": "adaptive", "display": display}
    async with anthropics(keys) as client:
        for turn in range(TURNS):
            if stream:
                async with client.messages.stream(messages=messages, **asked) as events:
                    said: Any = await events.get_final_message()
            else:
                said = await client.messages.create(messages=messages, **asked)
            thoughts = [block for block in said.content if "thinking" in block.type]
            texts = [getattr(block, "thinking", "") for block in thoughts]
            assert bool("".join(texts)) == (display == "summarized" and model != ENCRYPTED), turn
            assert said.usage.output_tokens > 0
            uses = [block for block in said.content if block.type == "tool_use"]
            assert len(uses) == (turn + 1) % 2
            results = [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"} for use in uses]
            messages += [said.to_param(), {"role": "user", "content": results or ASK}]


@each
@streamed
async def test_completions(keys: dict[str, str], model: str, *, stream: bool) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": PLACE}}]
    messages: list[Any] = [{"role": "user", "content": ASK}]
    asked: dict[str, Any] = {"model": model, "max_tokens": LIMIT, "tools": tools}
    asked["extra_body"] = {"reasoning": {"effort": "high"}}
    async with openais(keys) as client:
        for turn in range(TURNS):
            said = await _completion(client, messages, asked, stream=stream)
            assert bool(said.get("reasoning_content")) == (model != ENCRYPTED), turn
            calls = said.get("tool_calls", [])
            assert [("extra_content" in call) for call in calls] == [model.startswith("google")] * ((turn + 1) % 2)
            results = [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in calls]
            messages += [said, *(results or [{"role": "user", "content": ASK}])]


async def _completion(
    client: openai.AsyncOpenAI, messages: list[Any], asked: dict[str, Any], *, stream: bool
) -> dict[str, Any]:
    """The assistant's message, put together as clients do that send all fields back."""
    if not stream:
        answer: Any = await client.chat.completions.create(messages=messages, **asked)
        return answer.choices[0].message.to_dict()  # type: ignore[no-any-return]
    said: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [], "reasoning_details": []}
    events: Any = await client.chat.completions.create(messages=messages, stream=True, **asked)
    async for chunk in events:
        delta = chunk.choices[0].delta.to_dict()
        said["content"] += delta.get("content") or ""
        said["reasoning_details"] += delta.get("reasoning_details") or []
        if text := delta.get("reasoning_content"):
            said["reasoning_content"] = said.get("reasoning_content", "") + text
        for call in delta.get("tool_calls") or []:
            if "id" in call:
                said["tool_calls"].append(call)
            else:
                said["tool_calls"][-1]["function"]["arguments"] += call["function"]["arguments"]
    return {name: value for name, value in said.items() if value}


@each
@streamed
@pytest.mark.parametrize("way", ["summary", "encrypted", "chain"])
async def test_responses(keys: dict[str, str], model: str, way: str, *, stream: bool) -> None:
    tools = [{"type": "function", "name": "weather", "parameters": PLACE, "strict": False}]
    asked: dict[str, Any] = {"model": model, "max_output_tokens": LIMIT, "tools": tools}
    asked["reasoning"] = {"effort": "high"} | ({} if way == "encrypted" else {"summary": "auto"})
    if way != "chain":
        asked |= {"store": False, "include": ["reasoning.encrypted_content"]}
    items: list[Any] = [{"role": "user", "content": ASK}]
    async with openais(keys) as client:
        for turn in range(TURNS):
            if stream:
                async with client.responses.stream(input=items, **asked) as events:
                    said: Any = await events.get_final_response()
            else:
                said = await client.responses.create(input=items, **asked)
            thoughts = [item for item in said.output if item.type == "reasoning"]
            shown = "".join(part.text for item in thoughts for part in item.summary)
            assert bool(shown) == (way != "encrypted" and model != ENCRYPTED), turn
            calls = [item for item in said.output if item.type == "function_call"]
            assert len(calls) == (turn + 1) % 2
            results = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
            more: list[Any] = results or [{"role": "user", "content": ASK}]
            if way == "chain":
                asked["previous_response_id"], items = said.id, more
                kept = await client.responses.retrieve(said.id)
                assert [item.type for item in kept.output] == [item.type for item in said.output]
            else:
                items += [*(item.to_dict() for item in said.output), *more]


async def test_thoughts_are_not_shown_unasked_and_are_billed(keys: dict[str, str]) -> None:
    async with openais(keys) as client:
        said = await client.chat.completions.create(
            model="anthropic-claude-opus-5-5", messages=[{"role": "user", "content": told(tokens=4, reasoning=5)}]
        )
    assert "reasoning" not in str(said.choices[0].message.to_dict())
    assert said.usage is not None
    assert said.usage.completion_tokens == 4 + 5


async def test_a_conversation_that_was_edited_goes_on_without_its_thoughts(keys: dict[str, str]) -> None:
    asked: dict[str, Any] = {
        "model": "anthropic-claude-opus-5-5",
        "max_tokens": LIMIT,
        "thinking": {"type": "adaptive"},
    }
    async with anthropics(keys) as client:
        said: Any = await client.messages.create(messages=[FIRST], **asked)
        assert [block.type for block in said.content] == ["thinking", "text"]
        edited = [
            {"role": "user", "content": "Shortened."},
            said.to_param(),
            {"role": "user", "content": told(tokens=3)},
        ]
        again: Any = await client.messages.create(messages=edited, **asked)
    assert again.content[-1].type == "text"


async def test_a_thought_of_another_model_is_left_out_and_named(keys: dict[str, str]) -> None:
    asked: dict[str, Any] = {"max_tokens": LIMIT, "thinking": {"type": "adaptive"}}
    async with anthropics(keys) as client:
        said: Any = await client.messages.create(model="deepseek-flash", messages=[FIRST], **asked)
        talk: Any = [FIRST, said.to_param(), {"role": "user", "content": told(tokens=3)}]
        for model, ignored in (("deepseek-flash", None), ("anthropic-claude-opus-5", "messages[].content[].thinking")):
            raw = await client.messages.with_raw_response.create(model=model, messages=talk, **asked)
            assert raw.headers.get("x-ignored") == ignored


@pytest.mark.parametrize("model", ["deepseek-flash", "anthropic-claude-opus-5"])
async def test_thoughts_that_a_model_does_not_get_because_it_does_not_think_now_are_named(
    keys: dict[str, str], model: str
) -> None:
    asked: dict[str, Any] = {"model": model, "max_tokens": LIMIT}
    async with anthropics(keys) as client:
        said: Any = await client.messages.create(messages=[FIRST], thinking={"type": "adaptive"}, **asked)
        talk: Any = [FIRST, said.to_param(), {"role": "user", "content": told(tokens=3)}]
        raw = await client.messages.with_raw_response.create(messages=talk, thinking={"type": "disabled"}, **asked)
        assert raw.headers.get("x-ignored") == "messages[].content[].thinking"
        raw = await client.messages.with_raw_response.create(messages=talk, thinking={"type": "adaptive"}, **asked)
        assert raw.headers.get("x-ignored") is None


async def test_a_request_that_was_kept_shows_its_thoughts_again(keys: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {keys['key']}"}
    asked = {"model": "deepseek-flash", "messages": [FIRST], "include_reasoning": True, "reasoning_effort": "high"}
    async with aiohttp.ClientSession(keys["url"], headers=headers) as session:
        reply = await session.post("/v1/chat/completions", json={**asked, "stream": True})
        assert b"reasoning_content" in await reply.read()
        request = reply.headers["x-request-id"]
        shown = (await (await session.get(f"/api/requests/{request}")).json())["result"]
        assert len(shown["thoughts"]) == 1
        again = await session.get(f"/api/requests/{request}/stream", headers={"Accept": "text/event-stream"})
        assert b"event: thought" in await again.read()
