"""The simulator's tools: values that follow a schema, calls that follow a request, and what each vendor refuses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from deploy.simulator import tools
from deploy.simulator.answer import CallText
from deploy.simulator.app import Running, running_simulator
from deploy.simulator.schema import DEPTH_MAX, example
from deploy.simulator.script import Script
from deploy.simulator.tools import ANY_JSON, AskedTools, Offer

QUICK = Script(first_ms=0, pace_ms=0)
TREE: dict[str, Any] = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "name": {"type": "string"},
            },
            "required": ["name"],
        }
    },
}


# values


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "minLength": 6}, "text.."),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "string", "format": "date"}, "2026-01-02"),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 7}, 7),
        ({"type": "integer", "exclusiveMinimum": 7}, 8),
        ({"type": "integer", "maximum": -7}, -7),
        ({"type": "integer", "minimum": 8, "multipleOf": 5}, 10),
        ({"type": "number", "minimum": 0, "maximum": 0.25}, 0.25),
        ({"enum": ["b", "a"]}, "b"),
        ({"enum": [None]}, None),
        ({"const": 0}, 0),
        ({"type": ["integer", "null"]}, 1),
        ({"type": "STRING"}, "text"),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, [1, "text"]),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 1),
        ({"oneOf": [{"const": "x"}, {"const": "y"}]}, "x"),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {}}}}}, {"a": {"b": "text"}}),
        ({"type": "object", "required": ["a"]}, {"a": "text"}),
        ({"$ref": "#/definitions/x~1y", "definitions": {"x/y": {"const": 3}}}, 3),
        ({"$ref": "#/nowhere"}, "text"),
        ({}, "text"),
        (True, None),
    ],
)
def test_a_value_follows_its_schema(schema: Any, value: Any) -> None:
    assert example(schema) == value


def test_a_schema_that_contains_itself_ends() -> None:
    tree = example(TREE)
    assert tree["kids"][0]["left"]["name"] == "text"
    assert example({"$ref": "#"}) is not None
    endless = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    assert json.dumps(example(endless)).endswith("null" + "}" * (DEPTH_MAX + 1))


# what is answered

CLOCK, WEATHER = Offer("clock"), Offer("weather", {"type": "object", "properties": {"place": {"type": "string"}}})
BOTH = (CLOCK, WEATHER)


@pytest.mark.parametrize(
    ("asked", "script", "calls"),
    [
        (AskedTools(), Script(calls=2), 0),
        (AskedTools(offers=BOTH), Script(), 1),
        (AskedTools(offers=BOTH), Script(calls=0), 0),
        (AskedTools(offers=BOTH), Script(calls=3), 3),
        (AskedTools(offers=BOTH, parallel=False), Script(calls=3), 1),
        (AskedTools(offers=BOTH, choice="none"), Script(calls=3), 0),
        (AskedTools(offers=BOTH, result="ten"), Script(), 0),
        (AskedTools(offers=BOTH, result="ten"), Script(calls=2), 0),
        (AskedTools(offers=BOTH, result="ten", choice="required"), Script(), 1),
        (AskedTools(offers=BOTH, result="ten", only="weather"), Script(calls=2), 2),
    ],
)
def test_as_many_calls_as_asked_for(asked: AskedTools, script: Script, calls: int) -> None:
    assert tools.wanted(asked, script) == calls


def test_an_answer_to_a_result_repeats_it() -> None:
    pieces = tools.pieces("m", "hi", Script(tokens=3), AskedTools(offers=BOTH, result="ten past five"))
    assert "".join(str(piece) for piece in pieces).endswith(" The tool said: ten past five")


@pytest.mark.parametrize(("result", "name"), [(None, "clock"), ("ten past five", "weather")])
def test_who_must_call_a_tool_calls_the_last_one_after_a_result(result: str | None, name: str) -> None:
    pieces = tools.pieces("m", "hi", Script(), AskedTools(offers=BOTH, result=result, choice="required"))
    assert [piece.name for piece in pieces if isinstance(piece, CallText) and piece.name] == [name]


def test_an_answer_in_json_is_json() -> None:
    script = Script(tokens=40, unicode=True)
    written = "".join(str(piece) for piece in tools.pieces("m", "hi", script, AskedTools(schema=ANY_JSON)))
    assert json.loads(written)["answer"].startswith("[simulated m] 🙂")
    typed = "".join(str(piece) for piece in tools.pieces("m", "hi", script, AskedTools(schema=TREE)))
    assert json.loads(typed)["name"] == tools.AWKWARD_TEXT


def test_what_a_limit_cut_off_is_no_argument() -> None:
    assert tools.read_arguments('{"a": 1') == {}
    assert tools.read_arguments('{"a": 1}') == {"a": 1}


# what is refused


@pytest.fixture(scope="module")
async def simulator() -> AsyncIterator[Running]:
    async with running_simulator(QUICK) as running:
        yield running


async def refused(url: str, body: dict[str, Any]) -> str:
    """The words with which a request is refused, empty when it is not."""
    headers = {"Authorization": "Bearer k", "x-goog-api-key": "k"}
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json=body) as response:
        document = await response.json()
        if response.status == 200:
            return ""
        assert response.status == 400
        return str(document.get("message") or document["error"]["message"])


FUNCTION: dict[str, Any] = {
    "type": "function",
    "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}},
}
USER = {"role": "user", "content": "hi"}
SPOKEN = {"id": "a", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [SPOKEN]}
ANSWERED = {"role": "tool", "tool_call_id": "a", "content": "ten"}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {**FUNCTION["function"], "name": name}}


def called(id: str = "a", name: str = "clock") -> dict[str, Any]:  # noqa: A002
    return {**CALLED, "tool_calls": [{**SPOKEN, "id": id, "function": {"name": name, "arguments": "{}"}}]}


SEEN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
OPEN = {"type": "object", "properties": {}}
SCHEMA_FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": OPEN, "strict": True}}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"tools": [FUNCTION]}, ""),
        ({"tools": [FUNCTION], "messages": [USER, CALLED, ANSWERED]}, ""),
        ({"messages": [USER, CALLED, ANSWERED]}, ""),
        ({"messages": [USER, ANSWERED]}, "must be a response"),
        ({"messages": [USER, CALLED, {**ANSWERED, "tool_call_id": "b"}]}, "'b' not found"),
        ({"messages": [USER, CALLED, USER]}, "did not have response messages: a"),
        ({"messages": [USER, CALLED]}, "did not have response messages: a"),
        ({"messages": [{"role": "assistant", "content": None}, USER]}, "got null"),
        ({"tools": []}, "got an empty array"),
        ({"tools": [FUNCTION] * 129}, "maximum length 128, but got an array with length 129"),
        ({"tools": [named("x" * 65)]}, "'tools[0].function.name': string too long"),
        (
            {"tools": [FUNCTION], "messages": [USER, called(name="a.b"), ANSWERED]},
            "'messages[1].tool_calls[0].function.name'",
        ),
        (
            {"tools": [FUNCTION], "messages": [USER, called(id="a" * 41)]},
            "maximum length 40, but got a string with length 41",
        ),
        (
            {"messages": [USER, CALLED, {**ANSWERED, "content": [SEEN]}]},
            "this message with role 'tool' contains an image",
        ),
        ({"tools": [{"type": "function", "function": {"name": "two words"}}]}, "does not match pattern"),
        ({"tools": [{"type": "function", "function": {"name": "x", "parameters": {}}}]}, "Invalid schema for function"),
        ({"tool_choice": "required"}, "only allowed when 'tools'"),
        ({"parallel_tool_calls": False}, "only allowed when 'tools'"),
        (
            {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "no function named 'x'",
        ),
        ({"response_format": {"type": "json_object"}}, "the word 'json'"),
        ({"response_format": SCHEMA_FORM}, "'additionalProperties' is required"),
        ({"reasoning_effort": "low"}, "reasoning_effort"),
        ({"model": "o1", "reasoning_effort": "low"}, ""),
        ({"model": "o1", "tools": [FUNCTION], "parallel_tool_calls": True}, "parallel_tool_calls"),
        ({"model": "o1-mini", "tools": [FUNCTION]}, "'tools' is not supported"),
        ({"model": "o1-mini", "response_format": {"type": "json_object"}}, "'response_format' is not supported"),
    ],
)
async def test_openai_refuses(simulator: Running, more: dict[str, Any], words: str) -> None:
    said = await refused(f"{simulator.openai}/chat/completions", {"model": "gpt-4o", "messages": [USER], **more})
    assert words in said
    assert bool(words) == bool(said)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"response_format": SCHEMA_FORM}, "response_format type is unavailable"),
        ({"messages": [USER, CALLED]}, "did not have response messages"),
        ({"tools": [named("a.b")]}, "string does not match pattern"),
        ({"tools": [FUNCTION] * 129}, "array too long"),
        ({"tools": [FUNCTION], "tool_choice": "required"}, ""),
        (
            {"model": "deepseek-reasoner", "tools": [FUNCTION], "tool_choice": "required"},
            "Thinking mode does not support this tool_choice",
        ),
        ({"model": "deepseek-reasoner", "messages": [USER, CALLED, ANSWERED]}, "Missing `reasoning_content`"),
        ({"model": "deepseek-reasoner", "messages": [USER, {**CALLED, "reasoning_content": ""}, ANSWERED]}, ""),
    ],
)
async def test_deepseek_refuses(simulator: Running, more: dict[str, Any], words: str) -> None:
    said = await refused(
        f"{simulator.deepseek}/chat/completions", {"model": "deepseek-chat", "messages": [USER], **more}
    )
    assert words in said
    assert bool(words) == bool(said)


SPECIFIED: dict[str, Any] = {"toolSpec": {"name": "clock", "inputSchema": {"json": {"type": "object"}}}}
USE: dict[str, Any] = {"toolUse": {"toolUseId": "a", "name": "clock", "input": {}}}
RESULT = {"toolResult": {"toolUseId": "a", "content": [{"text": "ten"}]}}
PICTURE = {"format": "png", "source": {"bytes": "AAAA"}}
NOVA, LLAMA, TITAN = "amazon.nova-lite-v1:0", "meta.llama3-1-8b-instruct-v1:0", "amazon.titan-text-lite-v1"
SEEING_LLAMA, MISTRAL = "us.meta.llama3-2-11b-instruct-v1:0", "mistral.mistral-large-2402-v1:0"


def specified(name: str) -> dict[str, Any]:
    return {"toolSpec": {**SPECIFIED["toolSpec"], "name": name}}


def use(id: str) -> dict[str, Any]:  # noqa: A002
    return {"toolUse": {**USE["toolUse"], "toolUseId": id}}


def result(*content: dict[str, Any]) -> dict[str, Any]:
    return {"toolResult": {"toolUseId": "a", "content": list(content)}}


def turns(*contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


@pytest.mark.parametrize(
    ("model", "messages", "config", "words"),
    [
        (NOVA, turns([{"text": "hi"}]), {}, ""),
        (NOVA, turns([{"text": "hi"}], [USE], [RESULT]), {}, ""),
        (NOVA, turns([{"text": "hi"}], [USE], [RESULT]), None, "toolConfig field must be defined"),
        (NOVA, turns([{"text": "hi"}], [USE], [{"text": "and?"}]), {}, "Expected toolResult blocks at messages.2"),
        (NOVA, turns([{"text": "hi"}], [{"text": "ok"}], [RESULT]), {}, "exceeds the number of toolUse blocks"),
        (NOVA, turns([USE]), {}, "only the other side"),
        (NOVA, turns([{"text": "hi"}]), {"toolChoice": {"tool": {"name": "x"}}}, "is not one of"),
        (NOVA, turns([{"text": "hi"}]), {"toolChoice": {"any": {}}}, ""),
        (LLAMA, turns([{"text": "hi"}]), {"toolChoice": {"any": {}}}, "doesn't support the toolConfig.toolChoice.any"),
        (LLAMA, turns([{"text": "hi"}]), {}, ""),
        (TITAN, turns([{"text": "hi"}]), {}, "doesn't support tool use"),
        (NOVA, turns([{"text": "hi"}]), {"tools": [specified("a.b")]}, "tools.1.member.toolSpec.name"),
        (NOVA, turns([{"text": "hi"}]), {"tools": [specified("a" * 65)]}, "length less than or equal to 64"),
        (NOVA, turns([{"text": "hi"}], [use("a:1")], [RESULT]), {}, "content.1.member.toolUse.toolUseId"),
        (NOVA, turns([{"text": "hi"}], [USE], [result({"image": PICTURE})]), {}, ""),
        (SEEING_LLAMA, turns([{"text": "hi"}], [USE], [result({"image": PICTURE})]), {}, "Remove image and try again"),
        (SEEING_LLAMA, turns([{"text": "hi"}], [USE], [RESULT, {"image": PICTURE}]), {}, ""),
        (MISTRAL, turns([{"text": "hi"}], [USE], [RESULT]), {}, "must be a-z, A-Z, 0-9, with a length of 9"),
    ],
)
async def test_converse_refuses(
    simulator: Running, model: str, messages: list[dict[str, Any]], config: dict[str, Any] | None, words: str
) -> None:
    tool_config = {} if config is None else {"toolConfig": {"tools": [SPECIFIED], **config}}
    said = await refused(f"{simulator.bedrock}/model/{model}/converse", {"messages": messages, **tool_config})
    assert words in said
    assert bool(words) == bool(said)


async def test_llama_does_not_stream_with_tools(simulator: Running) -> None:
    body = {"messages": turns([{"text": "hi"}]), "toolConfig": {"tools": [SPECIFIED]}}
    assert "in streaming mode" in await refused(f"{simulator.bedrock}/model/{LLAMA}/converse-stream", body)


DECLARED = {"tools": [{"functionDeclarations": [{"name": "clock"}]}]}
CALL = {"functionCall": {"name": "clock", "args": {}}}
RESPONSE = {"functionResponse": {"name": "clock", "response": {"output": "ten"}}}


def declared(*names: str) -> dict[str, Any]:
    return {"tools": [{"functionDeclarations": [{"name": name} for name in names]}]}


def contents(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"contents": [{"role": ("user", "model")[i % 2], "parts": [part]} for i, part in enumerate(parts)]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({**contents({"text": "hi"}), **DECLARED}, ""),
        ({**contents({"text": "hi"}, CALL, RESPONSE), **DECLARED}, ""),
        (contents({"text": "hi"}, CALL, RESPONSE), ""),
        (contents({"text": "hi"}, CALL, {"text": "and?"}), "number of function response parts is equal"),
        (contents({"text": "hi"}, {"text": "ok"}, RESPONSE), "immediately after a function call turn"),
        (contents(CALL), "immediately after a user turn"),
        (contents({"text": "hi"}, {"functionCall": {"name": "clock", "id": "a"}}), 'Unknown name "id"'),
        ({**contents({"text": "hi"}), "toolConfig": {}}, "without function_declarations"),
        ({**contents({"text": "hi"}), **declared("a.b:c-d_")}, ""),
        ({**contents({"text": "hi"}), **declared("a/b")}, "function_declarations[0].name: Invalid function name"),
        ({**contents({"text": "hi"}), **declared("2a")}, "Must start with a letter or an underscore"),
        ({**contents({"text": "hi"}), **declared(*["a"] * 513)}, "At most 512 function declarations"),
        (
            {
                **contents({"text": "hi"}),
                **DECLARED,
                "toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["a"]}},
            },
            "must be ANY",
        ),
        (
            {**contents({"text": "hi"}), **DECLARED, "generationConfig": {"responseMimeType": "application/json"}},
            "'application/json' is unsupported",
        ),
        ({**contents({"text": "hi"}), "generationConfig": {"responseJsonSchema": {}}}, "needs `application/json`"),
    ],
)
async def test_gemini_refuses(simulator: Running, body: dict[str, Any], words: str) -> None:
    said = await refused(f"{simulator.gemini}/v1beta/models/gemini-2.0-flash:generateContent", body)
    assert words in said
    assert bool(words) == bool(said)


async def test_openais_own_sdk_reads_the_calls(simulator: Running) -> None:
    async with openai.AsyncOpenAI(api_key="k", base_url=simulator.openai, max_retries=0) as client:
        asked: Any = {
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": "hi [[sim calls=2]]"}],
            "tools": [{"type": "function", "function": {"name": "weather", "parameters": WEATHER.schema}}],
        }
        whole = await client.chat.completions.create(**asked)
        async with client.chat.completions.stream(**asked) as stream:
            streamed = await stream.get_final_completion()
    for completion in (whole, streamed):
        message = completion.choices[0].message
        assert completion.choices[0].finish_reason == "tool_calls"
        assert message.content is None
        calls = [call.function for call in message.tool_calls or () if call.type == "function"]
        assert [(call.name, json.loads(call.arguments)) for call in calls] == [("weather", {"place": "text"})] * 2
