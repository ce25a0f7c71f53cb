"""A loop of tools with a model that thinks, on each surface: by the one API of its vendor that takes both."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from tests.harness.caller import Caller, told

OBJECT = {"type": "object", "properties": {"zone": {"type": "string"}}}
ASTRA, LUNA = "openai-gpt-6-astra", "openai-gpt-6-luna"
EFFORTS: list[tuple[str, str | None]] = [(ASTRA, None), (LUNA, "high")]
"""One that always thinks, and one that does when it is told to."""
each = pytest.mark.parametrize(("model", "effort"), EFFORTS)


async def posted(caller: Caller, path: str, body: dict[str, Any]) -> Any:
    reply = await caller.request("POST", path, json={name: value for name, value in body.items() if value is not None})
    assert reply.status == 200, reply.body
    return reply.json


async def apis(books: asyncpg.Pool, caller: Caller) -> list[str]:
    """By which APIs the account's requests went."""
    query = "SELECT api FROM requests WHERE account_id = $1 ORDER BY created_at"
    return [row["api"] for row in await books.fetch(query, caller.account_id)]


@each
async def test_on_chat_completions(caller: Caller, books: asyncpg.Pool, model: str, effort: str | None) -> None:
    tools = [{"type": "function", "function": {"name": "clock", "parameters": OBJECT}}]
    talk: list[Any] = [{"role": "user", "content": told(reasoning=3)}]
    body = {"model": model, "tools": tools, "reasoning_effort": effort}
    first = (await posted(caller, "/v1/chat/completions", {**body, "messages": talk}))["choices"][0]
    (call,) = first["message"]["tool_calls"]
    assert (first["finish_reason"], call["function"]["name"]) == ("tool_calls", "clock")
    talk += [first["message"], {"role": "tool", "tool_call_id": call["id"], "content": "five past ten"}]
    second = await posted(caller, "/v1/chat/completions", {**body, "messages": talk})
    assert "five past ten" in second["choices"][0]["message"]["content"]
    assert second["usage"]["completion_tokens_details"]["reasoning_tokens"] == 3
    assert await apis(books, caller) == ["openai-responses"] * 2


@each
async def test_on_messages(caller: Caller, books: asyncpg.Pool, model: str, effort: str | None) -> None:
    body = {
        "model": model,
        "max_tokens": 1_000,
        "tools": [{"name": "clock", "input_schema": OBJECT}],
        "output_config": {"effort": effort} if effort else None,
    }
    talk: list[Any] = [{"role": "user", "content": told(reasoning=3)}]
    first = await posted(caller, "/v1/messages", {**body, "messages": talk})
    call = first["content"][-1]
    assert (first["stop_reason"], call["type"], call["name"]) == ("tool_use", "tool_use", "clock")
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "five past ten"}
    talk += [{"role": "assistant", "content": first["content"]}, {"role": "user", "content": [result]}]
    second = await posted(caller, "/v1/messages", {**body, "messages": talk})
    assert "five past ten" in second["content"][-1]["text"]
    assert await apis(books, caller) == ["openai-responses"] * 2


@each
async def test_on_responses(caller: Caller, books: asyncpg.Pool, model: str, effort: str | None) -> None:
    tools = [{"type": "function", "name": "clock", "parameters": OBJECT, "strict": False}]
    body = {"model": model, "tools": tools, "reasoning": {"effort": effort} if effort else None}
    first = await posted(caller, "/v1/responses", {**body, "input": told(reasoning=3)})
    call = first["output"][-1]
    assert (call["type"], call["name"]) == ("function_call", "clock")
    result = [{"type": "function_call_output", "call_id": call["call_id"], "output": "five past ten"}]
    second = await posted(caller, "/v1/responses", {**body, "input": result, "previous_response_id": first["id"]})
    assert "five past ten" in second["output"][-1]["content"][0]["text"]
    assert await apis(books, caller) == ["openai-responses"] * 2


async def test_without_reasoning_tools_stay_with_chat_completions(caller: Caller, books: asyncpg.Pool) -> None:
    tools = [{"type": "function", "function": {"name": "clock", "parameters": OBJECT}}]
    body = {"model": LUNA, "tools": tools, "messages": [{"role": "user", "content": told()}]}
    answer = await posted(caller, "/v1/chat/completions", body)
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert await apis(books, caller) == ["openai-chat"]
