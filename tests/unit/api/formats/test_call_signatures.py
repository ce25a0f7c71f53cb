"""The signature that Gemini wants back with a call goes through every API's own form, and comes to the same call again."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from anthropic.types import Message as AnthropicMessage
from openai.types.responses import Response

from api.formats.anthropic.chat import parse_message
from api.formats.asked import Asked
from api.formats.openai.chat import parse_completion
from api.formats.responses.chat import parse_response
from shared.catalogue.models import load_catalogue
from shared.chat import CallPiece, Message, ToolCall
from shared.job import Chunk, Done, Event
from shared.money import Usage
from shared.signatures import wrapped
from shared.thoughts import Thought, ThoughtPiece
from tests.harness.rendering import rendered
from workers.providers.gemini.request import large_fields
from workers.providers.protocol import ProviderRequest
from workers.providers.wire.fitting import Fitted

GEMINI = load_catalogue().find("google-gemini-3.8-flash")
PROOF = base64.b64encode(b"proof").decode()
SIGNED, SUMMED_UP = wrapped(GEMINI, PROOF), wrapped(GEMINI, None)
USAGE = Usage(10, 5)
DONE = Done(
    "tool_calls",
    USAGE,
    5,
    "I look.",
    calls=(ToolCall("c1", "f", "{}", SIGNED), ToolCall("c2", "f", "{}")),
    thoughts=(Thought("Hm.", SUMMED_UP),),
)
PIECES: list[Event] = [
    ThoughtPiece(0, "Hm."),
    ThoughtPiece(0, signature=SUMMED_UP),
    Chunk("I look."),
    CallPiece(0, "{}", "c1", "f", signature=SIGNED),
    CallPiece(1, "{}", "c2", "f"),
    Done("tool_calls", USAGE, 5),
]
ENCRYPTED: Any = {"include": ["reasoning.encrypted_content"], "reasoning": {"summary": "auto"}, "store": False}


def on_messages(**fields: Any) -> Asked:
    return parse_message(json.dumps({"model": "m", "max_tokens": 9, **fields}).encode())


def on_responses(**fields: Any) -> Asked:
    return parse_response(json.dumps({"model": "m", **ENCRYPTED, **fields}).encode())


def answered_on_messages(answer: bytes) -> Asked:
    content = json.loads(answer)["content"]
    AnthropicMessage.model_validate_json(answer)
    assert [block["type"] for block in content] == ["thinking", "text", "thinking", "tool_use", "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call, "content": "ten"} for call in ("c1", "c2")]
    talk = [{"role": "user", "content": "x"}, {"role": "assistant", "content": content}]
    return on_messages(messages=[*talk, {"role": "user", "content": results}])


def answered_on_responses(answer: bytes) -> Asked:
    output = json.loads(answer)["output"]
    Response.model_validate_json(answer)
    types = [item["type"] for item in output]
    assert types == ["reasoning", "message", "reasoning", "function_call", "function_call"]
    results = [{"type": "function_call_output", "call_id": call, "output": "ten"} for call in ("c1", "c2")]
    return on_responses(input=[{"role": "user", "content": "x"}, *output, *results])


def answered_on_completions(answer: bytes) -> Asked:
    said = json.loads(answer)["choices"][0]["message"]
    results = [{"role": "tool", "tool_call_id": call, "content": "ten"} for call in ("c1", "c2")]
    talk = [{"role": "user", "content": "x"}, said, *results]
    return parse_completion(json.dumps({"model": "m", "messages": talk}).encode())


def sent(talk: list[Message]) -> list[Any]:
    """What Gemini is sent of the answer's parts: of calls their signatures."""
    asked = parse_completion(b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}')
    request = ProviderRequest(
        id="req_1", model=GEMINI, messages=talk, sampling=asked.sampling, output_limit=9, stream=False
    )
    _, said, _ = large_fields(Fitted(request).request)["contents"]
    return [part.get("text") or part.get("thoughtSignature") for part in said["parts"]]


@pytest.mark.parametrize(
    ("asked", "again"),
    [
        (on_messages(messages=[{"role": "user", "content": "x"}]), answered_on_messages),
        (on_responses(input="x"), answered_on_responses),
        (parse_completion(b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}'), answered_on_completions),
    ],
    ids=["messages", "responses", "completions"],
)
def test_it_comes_back_to_its_call(asked: Asked, again: Callable[[bytes], Asked]) -> None:
    talk = again(asked.form.answer(DONE, "req_01m8epw4xeeqkp4z1g29z248hh", "m")).messages
    assert sent(talk) == ["I look.", b"proof", None]


def blocks_of_stream() -> list[Any]:
    stream = on_messages(messages=[{"role": "user", "content": "x"}]).form.stream("", "req_1", "m")
    data = b"".join(rendered(stream, number, event) for number, event in enumerate(PIECES))
    events = [json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: ")]
    blocks: list[Any] = []
    for event in events:
        if event["type"] == "content_block_start":
            blocks.append(event["content_block"])
        elif event["type"] == "content_block_delta" and event["delta"]["type"] == "signature_delta":
            blocks[-1]["signature"] = event["delta"]["signature"]
    return blocks


def test_streams_carry_it_in_the_same_place() -> None:
    blocks = blocks_of_stream()
    assert [block["type"] for block in blocks] == ["thinking", "text", "thinking", "tool_use", "tool_use"]
    assert [block["signature"] for block in blocks if block["type"] == "thinking"] == [SUMMED_UP, SIGNED]
    stream = on_responses(input="x", stream=True).form.stream("", "req_01m8epw4xeeqkp4z1g29z248hh", "m")
    data = b"".join(rendered(stream, number, event) for number, event in enumerate(PIECES))
    last = json.loads(data.rstrip().rpartition(b"data: ")[2])
    whole = on_responses(input="x").form.answer(DONE, "req_01m8epw4xeeqkp4z1g29z248hh", "m")
    assert last["response"]["output"] == json.loads(whole)["output"]


def test_who_asks_for_no_signatures_gets_none() -> None:
    bare = parse_response(b'{"model": "m", "input": "x"}').form.answer(DONE, "req_01m8epw4xeeqkp4z1g29z248hh", "m")
    assert SIGNED.encode() not in bare
