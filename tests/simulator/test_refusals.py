"""What each vendor refuses besides what is about tools (`test_tools.py`): values, turns, parts, images, schemas, unknown
fields, and bodies that are no JSON; in words near to the vendor's own.
"""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from deploy.simulator.app import Running
from tests.simulator.test_tools import (
    ANSWERED,
    CALL,
    DECLARED,
    FUNCTION,
    RESPONSE,
    USER,
    called,
    contents,
    refused,
    turns,
)

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
JPEG, GIF, LARGE = "/9j/4AAQSkZJRgABAQEASABIAAD=", "R0lGODdhAQABAIAAAAAA", "A" * (5 * 1024 * 1024 + 4)
Body = dict[str, Any]


def said(role: str, content: Any) -> Body:
    return {"messages": [USER, {"role": role, "content": content}]}


def seen(url: str) -> Body:
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


def offered(parameters: Any, **more: Any) -> Body:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": parameters, **more}}]}


TEXT = [{"type": "text", "text": "hi"}]
CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
DEEP = {**CLOSED, "properties": {"a": {"type": "object", "properties": {}}}}


def form(schema: Body, *, strict: bool = False) -> Body:
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": strict}}
    }


OPENAI: list[tuple[Body, str]] = [
    ({"temperature": 2, "top_p": 0, "presence_penalty": -2, "frequency_penalty": 2, "stop": list("abcd")}, ""),
    ({"temperature": 2.1}, "'temperature': decimal above maximum value. Expected a value <= 2, but got 2.1 instead"),
    ({"temperature": -1}, "'temperature': decimal below minimum value"),
    ({"top_p": 1.1}, "'top_p': decimal above maximum value"),
    ({"presence_penalty": 2.5}, "'presence_penalty': decimal above maximum value"),
    (
        {"stop": list("abcde")},
        "'stop': array too long. Expected an array with maximum length 4, but got an array with length 5",
    ),
    ({"model": "o4-mini", "stop": ["x"]}, "'stop' is not supported with this model"),
    ({"seed": 2**70}, "'seed': integer above maximum value"),
    ({"seed": "x"}, "Invalid type for 'seed'"),
    (
        said("system", "x" * 10_485_761),
        "'messages[1].content': string too long. Expected a string with maximum length 10485760",
    ),
    ({"user": "x" * 64}, ""),
    (
        {"user": "x" * 65},
        "'user': string too long. Expected a string with maximum length 64, but got a string with length 65",
    ),
    ({"cachePoint": {}}, "Unrecognized request argument supplied: cachePoint"),
    ({"messages": [{**USER, "cache_control": {}}]}, "Unknown parameter: 'messages[0].cache_control'"),
    ({"tools": [{**FUNCTION, "defer_loading": True}]}, "Unknown parameter: 'tools[0].defer_loading'"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "Invalid type for 'messages[0].role'"),
    (said("assistant", TEXT), ""),
    (
        said("system", [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]),
        "Image URLs are only allowed",
    ),
    (said("user", []), "'messages[1].content': empty array"),
    (
        said("user", [{"type": "video", "video": ""}]),
        "Invalid value: 'video'. Supported values are: 'text', 'image_url'",
    ),
    (seen(f"data:image/png;base64,{PNG}"), ""),
    (seen(f"data:image/jpg;base64,{JPEG}"), ""),
    (seen("data:image/tiff;base64,AAAA"), "You uploaded an unsupported image"),
    (seen("data:image/png;base64,A"), "Invalid base64 image_url"),
    ({"model": "o3-mini", **seen(f"data:image/png;base64,{PNG}")}, "image_url is only supported by certain models"),
    ({"tools": [FUNCTION, FUNCTION]}, "Tool names must be unique"),
    (
        {"tools": [FUNCTION], "messages": [USER, called(), ANSWERED, ANSWERED]},
        "Duplicate value for 'tool_call_id' of a",
    ),
    (
        {"messages": [USER, called(""), {**ANSWERED, "tool_call_id": ""}]},
        "'messages[1].tool_calls[0].id': empty string. Expected a string with minimum length 1",
    ),
    (offered(None), ""),
    (offered({}), "got 'type: \"None\"'"),
    (offered({"type": "object"}), "object schema missing properties"),
    (offered({**CLOSED, "anyOf": [{}]}), "not have 'oneOf'/'anyOf'"),
    (
        offered({"type": "object", "properties": {"a": {"type": "array"}}}),
        "('properties', 'a'), array schema missing",
    ),
    (offered({"type": "object", "properties": {}}, strict=True), "'additionalProperties' is required"),
    (offered(DEEP, strict=True), "context=('properties', 'a'), 'additionalProperties' is required"),
    (offered({**CLOSED, "required": []}, strict=True), "Missing 'a'"),
    (offered(CLOSED, strict=True), ""),
    (form(CLOSED, strict=True), ""),
    (form({"type": "array"}), "got 'type: \"array\"'"),
    (form({"type": "object", "properties": {}}), ""),
]
DEEPSEEK: list[tuple[Body, str]] = [
    ({"temperature": 2, "top_p": 1, "stop": list("abcdefghijklmnop"), "whatever": 1}, ""),
    ({"temperature": 2.5}, "the valid range of temperature is [0, 2]"),
    ({"top_p": 0}, "the valid range of top_p is (0, 1.0]"),
    ({"frequency_penalty": 3}, "the valid range of frequency_penalty is"),
    ({"stop": list("abcdefghijklmnopq")}, "Invalid stop value"),
    (said("user", TEXT), ""),
    (said("system", TEXT), "messages[1]: invalid type: sequence, expected a string"),
    (said("assistant", TEXT), "messages[1]: invalid type: sequence, expected a string"),
    ({"messages": [USER, called(), {**ANSWERED, "content": TEXT}]}, "messages[2]: invalid type: sequence"),
    (seen(f"data:image/png;base64,{PNG}"), "unknown variant `image_url`, expected `text`"),
    (said("developer", "x"), "unknown variant `developer`"),
    (said("assistant", None), "content or tool_calls must be set"),
    (offered({}), "got 'type: null'"),
    (offered({"type": "object"}), ""),
    ({"response_format": {"type": "json_object"}}, "Prompt must contain the word 'json'"),
    (said("user", "x"), ""),
    (
        {"model": "deepseek-reasoner", **said("user", "x")},
        "successive user or assistant messages (messages[0] and messages[1]",
    ),
]
CLAUDE, NOVA, MISTRAL = (
    "anthropic.claude-3-haiku-20240307-v1:0",
    "amazon.nova-lite-v1:0",
    "mistral.mistral-large-2402-v1:0",
)


def config(**inference: Any) -> Body:
    return {"messages": turns([{"text": "hi"}]), "inferenceConfig": inference}


def image(format: str, data: str) -> Body:  # noqa: A002
    return {"messages": turns([{"text": "hi"}, {"image": {"format": format, "source": {"bytes": data}}}])}


def specified(schema: Body, **more: Any) -> Body:
    tool = {"toolSpec": {"name": "f", "inputSchema": {"json": schema}, **more}}
    return {"messages": turns([{"text": "hi"}]), "toolConfig": {"tools": [tool]}}


def twice() -> Body:
    body = specified({"type": "object"})
    return {**body, "toolConfig": {"tools": body["toolConfig"]["tools"] * 2}}


def used(*ids: str) -> list[Body]:
    return [{"toolUse": {"toolUseId": one, "name": "f", "input": {}}} for one in ids]


def results(*ids: str) -> list[Body]:
    return [{"toolResult": {"toolUseId": one, "content": [{"text": "x"}]}} for one in ids]


def talk(*contents: list[Body]) -> Body:
    return {**specified({"type": "object"}), "messages": turns([{"text": "hi"}], *contents)}


CONVERSE: list[tuple[str, Body, str]] = [
    (NOVA, config(temperature=1, topP=0, maxTokens=1, stopSequences=list("abcdefghijklmnop")), ""),
    (
        NOVA,
        config(temperature=1.5),
        "Value '1.5' at 'inferenceConfig.temperature' failed to satisfy constraint: Member must",
    ),
    (NOVA, config(topP=1.1), "have value less than or equal to 1"),
    (NOVA, config(maxTokens=0), "have value greater than or equal to 1"),
    (NOVA, config(stopSequences=[""]), "'inferenceConfig.stopSequences.1.member' failed"),
    (NOVA, config(topK=4), "extraneous key [topK] is not permitted"),
    (NOVA, {**config(), "seed": 1}, "extraneous key [seed] is not permitted"),
    (NOVA, {**config(), "system": [{"text": " "}]}, "system.0 is blank"),
    (NOVA, {"messages": turns([{"text": "hi"}], [{"text": "ok"}])}, "conversation must end with a user message"),
    (NOVA, {"messages": turns([{"text": " "}])}, "messages.0.content.0 is blank"),
    (NOVA, {"messages": turns([])}, "messages.0 is empty"),
    (NOVA, {"messages": turns([{}])}, "must set one of its keys"),
    (NOVA, {"messages": [{"role": "assistant", "content": [{"text": "hi"}]}]}, "must start with a user message"),
    (NOVA, {"messages": turns([{"text": "hi"}]) * 2}, "must alternate between user and assistant"),
    (NOVA, image("png", PNG), ""),
    (NOVA, image("jpg", JPEG), "image.format' failed to satisfy constraint: Member must satisfy enum value set"),
    (NOVA, image("png", JPEG), "does not match the specified image format"),
    (NOVA, image("png", "A"), "no valid base 64"),
    (NOVA, image("png", LARGE), "image size exceeds"),
    (CLAUDE, image("png", JPEG), "the image appears to be a image/jpeg image"),
    (CLAUDE, image("png", LARGE), "image exceeds 5 MB maximum"),
    ("us.anthropic.claude-haiku-4-5-20251001-v1:0", config(temperature=1, topP=1), "cannot both be specified"),
    (CLAUDE, config(temperature=1, topP=1), ""),
    (CLAUDE, config(stopSequences=["x", "\n"]), "each stop sequence must contain non-whitespace"),
    (CLAUDE, {**config(), "additionalModelRequestFields": {"top_k": 501}}, "#/top_k: 501 is not less or equal to 500"),
    (CLAUDE, {"messages": turns([{"text": "hi"}], [{"text": "So: "}])}, "cannot end with trailing whitespace"),
    (CLAUDE, {"messages": turns([{"text": "hi"}], [{"text": "So:"}])}, ""),
    (CLAUDE, specified({"type": "object", "anyOf": [{}]}), "does not support oneOf, allOf, or anyOf at the top level"),
    (CLAUDE, twice(), "names must be unique"),
    (CLAUDE, talk(used("a"), results("a"), used("a"), results("a")), "`tool_use` ids must be unique"),
    (NOVA, talk(used("a"), results("a"), used("a"), results("a")), ""),
    (NOVA, talk(used("a", "a"), results("a", "a")), "toolUse blocks at messages.1.content contain duplicate Ids: a"),
    (NOVA, talk(used("a"), results("a", "a")), "toolResult blocks at messages.2.content contain duplicate Ids: a"),
    (NOVA, talk(used("a", "b"), results("a", "c")), "for the following Ids: b"),
    (NOVA, specified({}), "tools.0.toolSpec.inputSchema.json.type must be one of the following: object"),
    (NOVA, specified({"type": "object"}, description=""), "toolSpec.description' failed"),
    (MISTRAL, config(stopSequences=list("abcdefghij")), ""),
    (MISTRAL, config(stopSequences=list("abcdefghijk")), "at most 10 items"),
]
J2, COMMAND = "ai21.j2-mid-v1", "cohere.command-text-v14"
INVOKE: list[tuple[str, Body, str]] = [
    (J2, {"temperature": 1, "topP": 1, "stopSequences": ["a"]}, ""),
    (J2, {"temperature": 1.5}, "#/temperature: 1.5 is not less or equal to 1"),
    (J2, {"stopSequences": ["a", "b"]}, "expected maximum item count: 1, found: 2"),
    (J2, {"stop": ["a"]}, "extraneous key [stop] is not permitted"),
    (COMMAND, {"temperature": 5, "stop_sequences": list("abcd")}, ""),
    (COMMAND, {"temperature": 5.5}, "is not less or equal to 5"),
    (COMMAND, {"p": -1}, "#/p: -1 is not greater or equal to 0"),
    (COMMAND, {"stop_sequences": list("abcde")}, "expected maximum item count: 4, found: 5"),
]


def generation(**config: Any) -> Body:
    return {**contents({"text": "hi"}), "generationConfig": config}


def inline(kind: str, data: str) -> Body:
    return contents({"inlineData": {"mimeType": kind, "data": data}})


def function(**declaration: Any) -> Body:
    return {**contents({"text": "hi"}), "tools": [{"functionDeclarations": [{"name": "f", **declaration}]}]}


POINTING = {"functionResponse": {"name": "clock", "response": {"a": [{"$ref": "#/b"}]}}}
REFERENCED = {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"type": "string"}}}
BESIDE = {**REFERENCED, "properties": {"a": {"$ref": "#/$defs/b", "description": "A."}}}
LOST = {"type": "object", "properties": {"a": {"$ref": "#/$defs/c"}}}
GEMINI: list[tuple[Body, str]] = [
    (generation(temperature=2, topP=1, topK=40, seed=2**31 - 1, stopSequences=list("abcde")), ""),
    (generation(temperature=2.1), "temperature must be in the range [0.0, 2.0]"),
    (generation(topP=-1), "top_p must be in the range"),
    (generation(topK=41), "a topK value of 41 but the supported range is from 1 (inclusive) to 41 (exclusive)"),
    (generation(seed=2**31), "(TYPE_INT32), 2147483648"),
    (generation(stopSequences=list("abcdef")), "the number of stop_sequences must not exceed 5"),
    (generation(maxOutputTokens=8_193), "supported range is from 1 (inclusive) to 8193 (exclusive)"),
    (generation(top_z=1), "Unknown name \"top_z\" at 'generationConfig': Cannot find field."),
    ({**contents({"text": "hi"}), "stream": True}, 'Unknown name "stream": Cannot find field.'),
    ({"contents": []}, "contents is not specified"),
    ({"contents": [{"role": "system", "parts": [{"text": "x"}]}]}, "Please use a valid role"),
    ({"contents": [{"role": "user", "parts": []}]}, "contents.parts must not be empty"),
    (contents({"text": ""}), "contents[0].parts[0].data: required oneof field 'data' must have one initialized field"),
    ({**contents({"text": "hi"}), "systemInstruction": {"parts": [{"text": ""}]}}, "system_instruction.parts[0].data"),
    (inline("image/png", PNG), ""),
    (inline("image/gif", GIF), "Unsupported MIME type: image/gif"),
    (inline("image/jpg", JPEG), "Unsupported MIME type: image/jpg"),
    (inline("image/png", GIF), "Unable to process input image"),
    (inline("image/png", "A"), "Base64 decoding failed"),
    (function(parametersJsonSchema=REFERENCED), ""),
    (function(parametersJsonSchema=BESIDE), "alongside unsupported fields: description"),
    (function(parametersJsonSchema=LOST), "reference to undefined schema at properties.a"),
    (function(parametersJsonSchema={"type": "string"}), "must be of type OBJECT"),
    (function(parameters={"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}), ""),
    (function(parameters=REFERENCED), 'Unknown name "$defs"'),
    (function(parameters=REFERENCED, parametersJsonSchema=REFERENCED), "mutually exclusive"),
    (
        {**contents({"text": "hi"}), "tools": [{"functionDeclarations": [{"name": "f"}, {"name": "f"}]}]},
        "Duplicate function",
    ),
    (
        {"contents": contents({"text": "hi"}, CALL)["contents"][1:], **DECLARED},
        "function call turn comes immediately after",
    ),
    (
        {
            **contents(
                {"text": "hi"}, CALL, {"functionResponse": {"name": "clock", "response": {"a": [{"$ref": "#/b"}]}}}
            ),
            **DECLARED,
        },
        "The referenced name `#/b` in function_response.response",
    ),
    ({**contents({"text": "hi"}, CALL, RESPONSE), **DECLARED}, ""),
]


def is_as_told(found: str, words: str) -> bool:
    return words in found and bool(words) == bool(found)


@pytest.mark.parametrize(("more", "words"), OPENAI)
async def test_openai(simulator: Running, more: Body, words: str) -> None:
    found = await refused(f"{simulator.openai}/chat/completions", {"model": "gpt-4o", "messages": [USER], **more})
    assert is_as_told(found, words), found


@pytest.mark.parametrize(("more", "words"), DEEPSEEK)
async def test_deepseek(simulator: Running, more: Body, words: str) -> None:
    body = {"model": "deepseek-chat", "messages": [USER], **more}
    found = await refused(f"{simulator.deepseek}/chat/completions", body)
    assert is_as_told(found, words), found


@pytest.mark.parametrize(("model", "body", "words"), CONVERSE)
async def test_converse(simulator: Running, model: str, body: Body, words: str) -> None:
    found = await refused(f"{simulator.bedrock}/model/{model}/converse", body)
    assert is_as_told(found, words), found


@pytest.mark.parametrize(("model", "body", "words"), INVOKE)
async def test_invoke(simulator: Running, model: str, body: Body, words: str) -> None:
    found = await refused(f"{simulator.bedrock}/model/{model}/invoke", {"prompt": "hi", **body})
    assert is_as_told(found, words), found


@pytest.mark.parametrize(("body", "words"), GEMINI)
async def test_gemini(simulator: Running, body: Body, words: str) -> None:
    found = await refused(f"{simulator.gemini}/v1beta/models/gemini-2.0-flash:generateContent", body)
    assert is_as_told(found, words), found


async def test_newer_models_of_gemini_know_no_penalties(simulator: Running) -> None:
    url = f"{simulator.gemini}/v1beta/models/gemini-2.5-flash:generateContent"
    assert "Penalty is not enabled" in await refused(url, generation(presencePenalty=0.5))
    assert await refused(url, generation(topK=100)) == ""


PATHS = {
    "openai": "/v1/chat/completions",
    "deepseek": "/deepseek/chat/completions",
    "converse": f"/bedrock/model/{NOVA}/converse",
    "invoke": f"/bedrock/model/{COMMAND}/invoke",
    "gemini": "/gemini/v1beta/models/gemini-2.0-flash:generateContent",
}


@pytest.mark.parametrize("vendor", PATHS)
@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"\xff", b"null"])
async def test_a_body_that_is_no_json_object_is_refused(simulator: Running, vendor: str, raw: bytes) -> None:
    headers = {"Authorization": "Bearer k", "x-goog-api-key": "k", "Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession(simulator.url, headers=headers) as session,
        session.post(PATHS[vendor], data=raw) as response,
    ):
        assert response.status == 400
        assert await response.json()


@pytest.mark.parametrize(
    ("vendor", "status"), [("openai", 401), ("deepseek", 401), ("converse", 403), ("invoke", 403), ("gemini", 403)]
)
async def test_nobody_is_served_without_a_key(simulator: Running, vendor: str, status: int) -> None:
    async with aiohttp.ClientSession(simulator.url) as session, session.post(PATHS[vendor], json={}) as response:
        assert response.status == status


@pytest.mark.parametrize(
    ("vendor", "status", "words"),
    [("openai", 400, "you must provide a model parameter"), ("deepseek", 415, "Expected request with `Content-Type")],
)
async def test_another_type_of_body_is_not_read(simulator: Running, vendor: str, status: int, words: str) -> None:
    headers = {"Authorization": "Bearer k", "Content-Type": "text/plain"}
    async with (
        aiohttp.ClientSession(simulator.url, headers=headers) as session,
        session.post(PATHS[vendor], data=b"{}") as response,
    ):
        assert response.status == status
        assert words in (await response.json())["error"]["message"]
