"""What is the caller's own fault is a 400 that says so, through every API: before anything is held where that can be known,
and uncharged where only the vendor knows it. What other services and clients write goes through.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI, BadRequestError

from tests.harness.caller import told
from tests.harness.running import Running
from tests.harness.support import eventually_true

HELLO = {"role": "user", "content": "Hello"}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
GIF = "R0lGODdhAQABAIAAAAAA"
NOVA, CLAUDE, GPT, GEMINI = "amazon-nova-lite", "anthropic-claude-3-haiku", "openai-gpt-4o", "google-gemini-2.0-flash"
DEEPSEEK, J2, COMMAND, MISTRAL = (
    "deepseek-chat",
    "a21-jurassic-2-mid",
    "cohere-command-text-v1",
    "mistral-mistral-large",
)


@pytest.fixture(scope="module")
async def demo(made_run: Running) -> dict[str, Any]:
    """`make run`, which simulates every vendor."""
    return await made_run.ready()


@pytest.fixture(scope="module")
async def session(demo: dict[str, Any]) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {demo['api_key']}"}
    async with aiohttp.ClientSession(demo["url"], headers=headers) as client:
        yield client


async def post(session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async with session.post(path, json=body) as response:
        return response.status, await response.json()


async def requests_made(session: aiohttp.ClientSession) -> set[str]:
    """The newest requests that had a hold."""
    async with session.get("/api/requests?limit=100") as response:
        return {one["id"] for one in (await response.json())["result"]["requests"]}


async def wallet(session: aiohttp.ClientSession) -> Decimal | None:
    """None while something is held."""
    async with session.get("/api/account") as response:
        account = (await response.json())["result"]
    return Decimal(account["balance_usd"]) if Decimal(account["held_usd"]) == 0 else None


def image(label: str, data: str) -> dict[str, Any]:
    return {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": f"data:image/{label};base64,{data}"}}],
    }


NATIVE: list[tuple[str, dict[str, Any], str]] = [
    (NOVA, {"options": {"temperature": 1.2}}, "`options.temperature` is 1.2: amazon-nova-lite takes 0 to 1"),
    (CLAUDE, {"options": {"temperature": 1.01}}, "`options.temperature` is 1.01"),
    (J2, {"options": {"temperature": 1.5}}, "`options.temperature` is 1.5"),
    (DEEPSEEK, {"options": {"top_p": 0}}, "`options.top_p` is 0"),
    (GPT, {"options": {"stop": list("abcde")}}, "`options.stop` has 5 entries: openai-gpt-4o takes 4 at most"),
    (GEMINI, {"options": {"stop": list("abcdef")}}, "takes 5 at most"),
    (MISTRAL, {"options": {"stop": list("abcdefghijk")}}, "takes 10 at most"),
    (COMMAND, {"options": {"stop": list("abcde")}}, "takes 4 at most"),
    (J2, {"options": {"stop": ["a", "b"]}}, "takes 1 at most"),
    (CLAUDE, {"options": {"stop": ["x", "\n\n"]}}, "`options.stop[1]` is blank"),
    (NOVA, {"messages": [{"role": "assistant", "content": "Hi."}, HELLO]}, "`messages[0]` is the first"),
    (NOVA, {"messages": [HELLO, {"role": "assistant", "content": "Hi."}]}, "`messages[1]` is the last"),
    (
        GEMINI,
        {"messages": [HELLO, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": " "}]},
        "[2].content` is",
    ),
    (NOVA, {"messages": [{"role": "user", "content": ""}]}, "`messages` needs a message of the user that is not blank"),
    (GEMINI, {"messages": [image("gif", GIF)]}, "`messages[0].content` has a gif"),
    (GEMINI, {"messages": [image("png", GIF)]}, "`messages[0].content` has a gif"),
    (NOVA, {"messages": [image("png", "A" * 5_242_884)]}, "more than 3.75 MB"),
]


@pytest.mark.parametrize(("model", "more", "named"), NATIVE)
async def test_what_can_be_known_is_a_400_before_the_hold(
    session: aiohttp.ClientSession, model: str, more: dict[str, Any], named: str
) -> None:
    before = await requests_made(session)
    status, answer = await post(session, "/api/endpoint", {"model": model, "messages": [HELLO], **more})
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    assert named in answer["error"]["message"]
    assert await requests_made(session) == before


async def test_such_a_line_of_a_batch_fails_and_the_others_run(session: aiohttp.ClientSession) -> None:
    hot, cool = ({"options": {"temperature": value}} for value in (1.2, 0.7))
    lines = [{"custom_id": str(n), "model": NOVA, "messages": [HELLO], **more} for n, more in enumerate((hot, cool))]
    data = "\n".join(json.dumps(line) for line in lines)
    async with session.post("/api/batches", data=data, headers={"Content-Type": "application/x-ndjson"}) as response:
        batch = (await response.json())["result"]

    async def ended() -> list[dict[str, Any]] | None:
        async with session.get(f"/api/batches/{batch['id']}/results") as response:
            results = [json.loads(line) for line in (await response.text()).splitlines()]
        return results if len(results) == len(lines) else None

    bad, good = await eventually_true(ended, "both have ended")
    assert (bad["status"], bad["error"]["code"], good["status"]) == (0, "invalid_request", 1)
    assert "`options.temperature` is 1.2" in bad["error"]["message"]


def offering(parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "clock", "parameters": parameters, **more}}]}


COMPATIBLE: list[tuple[str, dict[str, Any], str]] = [
    (NOVA, {"temperature": 1.2}, "`temperature` is 1.2"),
    (GPT, {"stop": list("abcde")}, "`stop` has 5 entries"),
    (GPT, offering({"type": "string"}), "`tools` has 'clock', whose schema is no object"),
    (CLAUDE, offering({"type": "object", "properties": {}, "anyOf": [{}]}), "`anyOf` at the root of its schema"),
    (GPT, offering({"type": "object", "properties": {"a": {}}}, strict=True), '"additionalProperties": false'),
    (GPT, {"response_format": {"type": "json_object"}}, "`response_format` needs the word JSON"),
    (DEEPSEEK, {"response_format": {"type": "json_object"}}, "`response_format` needs the word JSON"),
]


@pytest.mark.parametrize(("model", "more", "named"), COMPATIBLE)
async def test_it_is_told_to_openais_client_as_its_own_fault(
    demo: dict[str, Any], session: aiohttp.ClientSession, model: str, more: dict[str, Any], named: str
) -> None:
    before = await requests_made(session)
    async with AsyncOpenAI(base_url=f"{demo['url']}/v1", api_key=demo["api_key"]) as client:
        with pytest.raises(BadRequestError) as raised:
            await client.chat.completions.create(**{"model": model, "messages": [HELLO], **more})
    assert (raised.value.type, raised.value.code) == ("invalid_request_error", "invalid_request")
    assert named in raised.value.message
    assert await requests_made(session) == before


VENDOR_ONLY: list[tuple[str, dict[str, Any], str]] = [
    (GPT, offering({"type": "object", "properties": {"a": {"type": "array"}}}), "JSON Schema"),
    (GEMINI, offering({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}), "JSON Schema"),
    (GPT, {"messages": [{"role": "user", "content": told(fault="blocked")}]}, "rules for contents"),
    (DEEPSEEK, {"messages": [{"role": "user", "content": told(fault="blocked")}]}, "rules for contents"),
    (GEMINI, {"messages": [{"role": "user", "content": told(fault="blocked")}]}, "rules for contents"),
]


@pytest.mark.parametrize(("model", "more", "said"), VENDOR_ONLY)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_only_the_vendor_knows_is_a_400_in_our_words_and_free(
    session: aiohttp.ClientSession,
    model: str,
    more: dict[str, Any],
    said: str,
    stream: bool,  # noqa: FBT001
) -> None:
    before = await eventually_true(lambda: wallet(session), "nothing is held")
    body = {"model": model, "messages": [{"role": "user", "content": told()}], "stream": stream, **more}
    async with session.post("/v1/chat/completions", json=body) as response:
        status, retry, text = response.status, response.headers.get("x-should-retry"), await response.text()
    error = json.loads(text.removeprefix("data: ").partition("\n\n")[0])["error"]
    assert error["code"] == "invalid_request"
    assert said in error["message"]
    if not stream:  # on a busy machine the status of a stream may be on its way before the refusal is
        assert (status, retry) == (400, "false")
    assert await eventually_true(lambda: wallet(session), "nothing is held") == before


SIGNED = "call_1__thought__" + "Ab/+" * 1_200
"""As LiteLLM writes the signature of a thought into the id of a call."""
CALL = {"id": "functions.get:0", "type": "function", "function": {"name": "clock", "arguments": ""}}


def calling(arguments: str, call_id: str = "functions.get:0", name: str = "clock") -> list[dict[str, Any]]:
    call = {**CALL, "id": call_id, "function": {"name": name, "arguments": arguments}}
    return [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": "ten"},
    ]


REFERRING = '{"properties": {"a": {"$ref": "#/$defs/Spot"}}, "$defs": {"Spot": {"type": "object"}}}'
TEXTS = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
HISTORIES: dict[str, list[dict[str, Any]]] = {
    "an empty answer": [HELLO, {"role": "assistant", "content": ""}],
    "an empty answer twice": [HELLO, {"role": "assistant", "content": ""}, HELLO, {"role": "assistant", "content": []}],
    "arguments that are blank": [HELLO, *calling(" ")],
    "arguments that are null": [HELLO, *calling("null")],
    "arguments in a string": [HELLO, *calling('"{\\"zone\\": 1}"')],
    "arguments that were cut off": [HELLO, *calling('{"zone": "Eur')],
    "ids of other services": [HELLO, *calling("{}", "call_x|fc_y"), HELLO, *calling("{}", "x" * 200)],
    "ids that are empty or very long": [HELLO, *calling("{}", ""), *calling("{}", ""), HELLO, *calling("{}", SIGNED)],
    "names of other services": [HELLO, *calling("{}", name="$web_search"), HELLO, *calling("{}", name="mein Werkzeug")],
    "an answer of null": [HELLO, {"role": "assistant", "content": None}],
    "thoughts and sources": [
        HELLO,
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Sunny."}],
            "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a"}}],
        },
    ],
    "a result without parts": [HELLO, calling("{}")[0], {**calling("{}")[1], "content": []}],
    "ids that come again": [HELLO, *calling("{}", "call_0"), *calling("{}", "call_0"), HELLO, *calling("{}", "call_0")],
    "a result with a reference": [HELLO, calling("{}")[0], {**calling("{}")[1], "content": REFERRING}],
    "parts of text": [
        {"role": "system", "content": TEXTS},
        HELLO,
        {**calling("{}")[0], "content": [{"type": "text", "text": "Let me see."}]},
        {**calling("{}")[1], "content": TEXTS},
        {"role": "assistant", "content": TEXTS},
    ],
}


@pytest.mark.parametrize(
    "model", [GPT, "openai-o1", DEEPSEEK, "deepseek-reasoner", NOVA, CLAUDE, MISTRAL, "meta-llama3-1-8b", GEMINI]
)
async def test_histories_that_others_wrote_go_through(session: aiohttp.ClientSession, model: str) -> None:
    tools = offering({})["tools"]
    for name, history in HISTORIES.items():
        messages = [*history, {"role": "user", "content": told(calls=0, tokens=2)}]
        status, answer = await post(
            session, "/v1/chat/completions", {"model": model, "messages": messages, "tools": tools}
        )
        assert status == 200, (name, answer)


SEARCHED = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "Rome"}}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{"type": "web_search_result", "url": "u"}],
}
BLOCKS: dict[str, list[dict[str, Any]]] = {
    "nothing but a search": [SEARCHED, FOUND],
    "a search with an answer": [SEARCHED, FOUND, {"type": "text", "text": "Sunny.", "citations": [{"url": "u"}]}],
    "code that was run": [
        {"type": "server_tool_use", "id": "s", "name": "bash_code_execution", "input": {"command": "ls"}},
        {"type": "bash_code_execution_tool_result", "tool_use_id": "s", "content": {"stdout": "a"}},
        {"type": "text", "text": "One file."},
    ],
    "tools of an MCP server": [
        {"type": "mcp_tool_use", "id": "m", "name": "find", "server_name": "s", "input": {}},
        {"type": "mcp_tool_result", "tool_use_id": "m", "content": [{"type": "text", "text": "x"}]},
        {"type": "text", "text": "Found."},
    ],
    "a summary": [{"type": "compaction", "content": "We spoke of Rome."}],
}


@pytest.mark.parametrize("model", [GPT, DEEPSEEK, NOVA, CLAUDE, MISTRAL, GEMINI, COMMAND])
async def test_histories_in_which_anthropic_ran_tools_go_through(session: aiohttp.ClientSession, model: str) -> None:
    for name, blocks in BLOCKS.items():
        messages = [HELLO, {"role": "assistant", "content": blocks}, {"role": "user", "content": told(tokens=2)}]
        body = {"model": model, "max_tokens": 50, "messages": messages}
        async with session.post("/v1/messages", json=body) as response:
            assert response.status == 200, (name, await response.text())
            left_out = response.headers.get("x-ignored", "")
        assert ("server_tool_use" in left_out or "mcp_tool_use" in left_out) is (name != "a summary")


@pytest.mark.parametrize("model", [GPT, DEEPSEEK, NOVA, CLAUDE, MISTRAL, GEMINI])
@pytest.mark.parametrize("parameters", [{}, {"type": "object"}, {"properties": {}}, {"description": "None."}])
async def test_a_tool_without_parameters_is_called(
    session: aiohttp.ClientSession, model: str, parameters: dict[str, Any]
) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": told()}], **offering(parameters)}
    status, answer = await post(session, "/v1/chat/completions", body)
    assert status == 200, answer
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "clock"


@pytest.mark.parametrize("model", [GPT, NOVA, CLAUDE, "meta-llama3-2-11b", GEMINI])
@pytest.mark.parametrize("label", ["jpg", "JPEG", "png"])
async def test_an_image_is_taken_under_whatever_label_its_file_had(
    session: aiohttp.ClientSession, model: str, label: str
) -> None:
    said = {"type": "text", "text": told(tokens=2)}
    messages = [{"role": "user", "content": [*image(label, PIXEL)["content"], said]}]
    assert (await post(session, "/api/endpoint", {"model": model, "messages": messages}))[0] == 200
    source = {"type": "base64", "media_type": f"image/{label}", "data": PIXEL}
    asked = {
        "model": model,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": [{"type": "image", "source": source}, said]}],
    }
    assert (await post(session, "/v1/messages", asked))[0] == 200


async def test_claude_goes_on_from_what_ends_in_white_space(session: aiohttp.ClientSession) -> None:
    talk = [{"role": "user", "content": told(tokens=2)}, {"role": "assistant", "content": "So: \n"}]
    asked = {"model": CLAUDE, "max_tokens": 50, "messages": talk}
    assert (await post(session, "/v1/messages", asked))[0] == 200


@pytest.mark.parametrize("model", [GPT, "openai-o1", DEEPSEEK, CLAUDE])
async def test_the_name_of_a_user_may_be_as_long_as_claude_codes(session: aiohttp.ClientSession, model: str) -> None:
    name = json.dumps({"device_id": "f" * 64, "account_uuid": "0" * 36, "session_id": "1" * 36})
    talk = [{"role": "user", "content": told(tokens=2)}]
    body = {"model": model, "max_tokens": 50, "messages": talk, "metadata": {"user_id": name}}
    assert (await post(session, "/v1/messages", body))[0] == 200
    body = {"model": model, "messages": talk, "user": name * 10}
    assert (await post(session, "/v1/chat/completions", body))[0] == 200


async def test_wishes_beyond_a_vendors_range_are_done_as_far_as_it_goes_or_left_out(
    session: aiohttp.ClientSession,
) -> None:
    body = {"messages": [{"role": "user", "content": told(tokens=2)}], "top_k": 5_000, "seed": 2**40}
    for model, ignored in ((GEMINI, "seed"), (CLAUDE, "seed"), (GPT, "top_k")):
        async with session.post("/v1/chat/completions", json={"model": model, **body}) as response:
            assert (response.status, response.headers.get("x-ignored")) == (200, ignored)
