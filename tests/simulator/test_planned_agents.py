"""The vendors' own SDKs in small agents, which a plan leads through a task turn by turn."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import aioboto3
import aiohttp
import httpx2
import msgspec
import openai
import pytest
from google import genai
from google.genai import types

from deploy.simulator.app import Running
from deploy.simulator.plans import Plan

Call: TypeAlias = tuple[str, dict[str, Any]]
Heard: TypeAlias = tuple[str, list[Call], int]
"""One turn as an SDK gave it: text, calls, and the output tokens that the vendor reported."""

LOOK, CHANGE, ALSO = (
    {"name": "Read", "arguments": {"file_path": "a.txt"}},
    {"name": "Edit", "arguments": {"file_path": "a.txt", "old": ["x"], "new": '"Grüße"\n'}},
    {"name": "Run", "arguments": {}},
)
TURNS = [{"text": "I look first.", "calls": [LOOK]}, {"calls": [CHANGE, ALSO]}, {"text": "All done 🙂."}]
PLAN = msgspec.convert({"key": "k1", "turns": TURNS}, Plan)
HEARD = [(turn.text, [(call.name, call.arguments) for call in turn.calls]) for turn in PLAN.turns]
PROMPT = "<system-reminder>Be quick.</system-reminder>Change a.txt. [[sim plan=k1 key=agent]]"
REMINDER = "<system-reminder>The list of tasks is empty.</system-reminder>"
NAMES = ("Read", "Edit", "Run")
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"file_path": {"type": "string"}}}
OPENAI_TOOLS: Any = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in NAMES]
TURNS_MAX = 9


@pytest.fixture
async def planned(simulator: Running) -> Running:
    async with aiohttp.ClientSession(simulator.url, raise_for_status=True) as session:
        await session.post("/_plans", data=msgspec.json.encode(PLAN))
    return simulator


async def openai_agent(client: openai.AsyncOpenAI, model: str, *, stream: bool) -> list[Heard]:
    messages: list[Any] = [{"role": "user", "content": PROMPT}]
    heard: list[Heard] = []
    while len(heard) < TURNS_MAX:
        if stream:
            asked = client.chat.completions.stream(
                model=model, messages=messages, tools=OPENAI_TOOLS, stream_options={"include_usage": True}
            )
            async with asked as streamed:
                completion: Any = await streamed.get_final_completion()
        else:
            completion = await client.chat.completions.create(model=model, messages=messages, tools=OPENAI_TOOLS)
        message = completion.choices[0].message
        calls = message.tool_calls or []
        said = [(call.function.name, json.loads(call.function.arguments)) for call in calls]
        heard.append((message.content or "", said, completion.usage.completion_tokens))
        if not calls:
            break
        messages.append(message.model_dump(include={"role", "content", "tool_calls"}))
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "ok"} for call in calls]
        messages.append({"role": "user", "content": REMINDER})
    return heard


async def play_openai(simulator: Running, stack: AsyncExitStack, *, stream: bool) -> list[Heard]:
    client = openai.AsyncOpenAI(api_key="k", base_url=simulator.openai, max_retries=0)
    return await openai_agent(await stack.enter_async_context(client), "gpt-4o", stream=stream)


async def play_deepseek(simulator: Running, stack: AsyncExitStack, *, stream: bool) -> list[Heard]:
    client = openai.AsyncOpenAI(api_key="k", base_url=simulator.deepseek, max_retries=0)
    return await openai_agent(await stack.enter_async_context(client), "deepseek-chat", stream=stream)


async def converse_content(client: Any, asked: dict[str, Any], *, stream: bool) -> tuple[list[dict[str, Any]], int]:
    """The content blocks of an answer, and its output tokens."""
    if not stream:
        whole = await client.converse(**asked)
        return whole["output"]["message"]["content"], whole["usage"]["outputTokens"]
    blocks: dict[int, dict[str, Any]] = {}
    tokens = 0
    async for event in (await client.converse_stream(**asked))["stream"]:
        if start := event.get("contentBlockStart"):
            blocks[start["contentBlockIndex"]] = {"toolUse": {**start["start"]["toolUse"], "input": ""}}
        if part := event.get("contentBlockDelta"):
            block, delta = blocks.setdefault(part["contentBlockIndex"], {"text": ""}), part["delta"]
            if "text" in delta:
                block["text"] += delta["text"]
            else:
                block["toolUse"]["input"] += delta["toolUse"]["input"]
        tokens = event.get("metadata", {}).get("usage", {}).get("outputTokens", tokens)
    for use in (block["toolUse"] for block in blocks.values() if "toolUse" in block):
        use["input"] = json.loads(use["input"])
    return list(blocks.values()), tokens


async def play_bedrock(simulator: Running, stack: AsyncExitStack, *, stream: bool) -> list[Heard]:
    session = aioboto3.Session(aws_access_key_id="a", aws_secret_access_key="s", region_name="us-east-1")
    made = session.client("bedrock-runtime", endpoint_url=simulator.bedrock)
    client = await stack.enter_async_context(made)
    specs = [{"toolSpec": {"name": name, "inputSchema": {"json": SCHEMA}}} for name in NAMES]
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"text": PROMPT}]}]
    asked = {"modelId": "amazon.nova-lite-v1:0", "messages": messages, "toolConfig": {"tools": specs}}
    heard: list[Heard] = []
    while len(heard) < TURNS_MAX:
        content, tokens = await converse_content(client, asked, stream=stream)
        uses = [block["toolUse"] for block in content if "toolUse" in block]
        text = "".join(block.get("text", "") for block in content)
        heard.append((text, [(use["name"], use["input"]) for use in uses], tokens))
        if not uses:
            break
        results = [{"toolResult": {"toolUseId": use["toolUseId"], "content": [{"text": "ok"}]}} for use in uses]
        messages += [
            {"role": "assistant", "content": content},
            {"role": "user", "content": [*results, {"text": REMINDER}]},
        ]
    return heard


async def gemini_parts(
    client: genai.Client, contents: list[types.Content], config: types.GenerateContentConfig, *, stream: bool
) -> tuple[list[types.Part], int]:
    """The parts of an answer, and its output tokens."""
    asked: Any = {"model": "gemini-2.0-flash", "contents": contents, "config": config}
    if stream:
        chunks = [chunk async for chunk in await client.aio.models.generate_content_stream(**asked)]
    else:
        chunks = [await client.aio.models.generate_content(**asked)]
    found = [c.content.parts for chunk in chunks for c in chunk.candidates or () if c.content]
    usage = chunks[-1].usage_metadata
    return [part for parts in found for part in parts or ()], (usage and usage.candidates_token_count) or 0


async def play_gemini(simulator: Running, stack: AsyncExitStack, *, stream: bool) -> list[Heard]:
    transport = await stack.enter_async_context(httpx2.AsyncClient())
    options = types.HttpOptions(base_url=simulator.gemini, httpx_async_client=transport)
    client = genai.Client(api_key="k", vertexai=False, http_options=options)
    declared = [types.FunctionDeclaration(name=name, parameters_json_schema=SCHEMA) for name in NAMES]
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=declared)],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    contents = [types.Content(role="user", parts=[types.Part(text=PROMPT)])]
    heard: list[Heard] = []
    while len(heard) < TURNS_MAX:
        parts, tokens = await gemini_parts(client, contents, config, stream=stream)
        calls = [part.function_call for part in parts if part.function_call]
        said = [(call.name or "", call.args or {}) for call in calls]
        heard.append(("".join(part.text or "" for part in parts), said, tokens))
        if not calls:
            break
        answers = [types.Part.from_function_response(name=name, response={"output": "ok"}) for name, _ in said]
        spoken = [part for part in parts if part.text or part.function_call]
        contents += [
            types.Content(role="model", parts=spoken),
            types.Content(role="user", parts=[*answers, types.Part(text=REMINDER)]),
        ]
    return heard


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("play", [play_openai, play_deepseek, play_bedrock, play_gemini])
async def test_a_plan_leads_an_agent_to_its_end(
    planned: Running, play: Callable[..., Awaitable[list[Heard]]], *, stream: bool
) -> None:
    async with AsyncExitStack() as stack:
        heard = await play(planned, stack, stream=stream)
    assert [(text, calls) for text, calls, _ in heard] == HEARD
    calls = planned.calls.find("agent")
    assert [tokens for *_, tokens in heard] == [call.output_tokens for call in calls]
    assert [call.tokens_sent for call in calls] == [call.output_tokens for call in calls]


# requests beside the plan


@pytest.fixture
async def client(planned: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="k", base_url=planned.openai, max_retries=0) as made:
        yield made


async def said(client: openai.AsyncOpenAI, *messages: tuple[str, str], **more: Any) -> Any:
    talk: Any = [{"role": role, "content": content} for role, content in messages]
    return (await client.chat.completions.create(model="gpt-4o", messages=talk, **more)).choices[0].message


async def test_a_call_without_tools_is_answered_with_plain_text(client: openai.AsyncOpenAI) -> None:
    message = await said(client, ("system", "Write a title."), ("user", PROMPT))
    assert message.content.startswith("[simulated ")
    assert not message.tool_calls


async def test_a_tool_that_is_not_on_offer_is_named_in_plain_text(client: openai.AsyncOpenAI) -> None:
    message = await said(client, ("user", PROMPT), tools=OPENAI_TOOLS[1:])
    assert message.content.startswith("[simulated ")
    assert message.content.endswith(" not on offer: Read.")
    assert not message.tool_calls


async def test_after_the_last_turn_comes_plain_text(client: openai.AsyncOpenAI) -> None:
    turns = [message for _ in TURNS for message in (("assistant", "ok"), ("user", "go on"))]
    message = await said(client, ("user", PROMPT), *turns, tools=OPENAI_TOOLS)
    assert message.content.startswith("[simulated ")
    assert not message.tool_calls


async def test_a_repeated_request_is_given_the_same_turn(client: openai.AsyncOpenAI) -> None:
    for _ in range(2):
        assert (await said(client, ("user", PROMPT), tools=OPENAI_TOOLS)).content == "I look first."


async def test_a_limit_cuts_a_turn_and_a_fault_hits_it(client: openai.AsyncOpenAI) -> None:
    assert (await said(client, ("user", PROMPT), tools=OPENAI_TOOLS, max_tokens=1)).content == "I look"
    for _ in range(2):
        with pytest.raises(openai.RateLimitError):
            await said(client, ("user", "[[sim plan=k1 status=429]]"), ("assistant", "ok"), ("user", "again"))


async def test_an_unknown_plan_is_a_400_that_names_it(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no plan 'k2'"):
        await said(client, ("user", "[[sim plan=k2]]"))
