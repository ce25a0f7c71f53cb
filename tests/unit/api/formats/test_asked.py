"""What a request asks for, and when two ask for the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from api.formats.anthropic.chat import parse_message
from api.formats.asked import Asked
from api.formats.native.chat import parse_chat_request
from api.formats.openai.chat import parse_completion


def fingerprint_of(body: msgspec.Struct) -> bytes:
    text = b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}'
    asked: Asked = parse_chat_request(text)
    return msgspec.structs.replace(asked, body=body).fingerprint()


def test_a_body_asks_for_the_same_after_a_release_that_knows_more_fields() -> None:
    turn = msgspec.defstruct("Turn", [("text", str)])
    newer_turn = msgspec.defstruct("Turn", [("text", str), ("mood", str | None, None)])
    body = msgspec.defstruct("Body", [("turns", list), ("n", int, 1)])
    newer_body = msgspec.defstruct("Body", [("turns", list), ("n", int, 1), ("effort", str | None, None)])
    before = fingerprint_of(body(turns=[turn(text="x")], n=2))
    assert fingerprint_of(newer_body(turns=[newer_turn(text="x")], n=2)) == before
    assert fingerprint_of(newer_body(turns=[newer_turn(text="x")], n=2, effort="low")) != before
    assert fingerprint_of(newer_body(turns=[newer_turn(text="x", mood="good")], n=2)) != before


def completion(parameters: object = None, role: str = "user") -> bytes:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    body = {"model": "m", "messages": [{"role": role, "content": "x"}], "tools": [tool]}
    return parse_completion(msgspec.json.encode(body)).fingerprint()


def test_a_schema_counts_as_it_is_written() -> None:
    schemas: list[object] = [None, {}, {"default": None}, {"default": []}, {"default": [None]}]
    assert len(set(map(completion, schemas))) == len(schemas)


def test_roles_count() -> None:
    assert completion(role="user") != completion(role="system")


TEXT = {"type": "text", "text": "ä"}
SCHEMA = {"type": "object", "properties": {"b": {"enum": [None, 1.5, []]}, "a": {}}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"type": "tool_result", "tool_use_id": "c", "content": [TEXT]}
NATIVE = {
    "model": "m",
    "messages": [{"role": "user", "content": [TEXT, {"type": "image_url", "image_url": {"url": "data:x"}}]}],
    "options": {"stop": ["b", "a"], "temperature": 0.5},
}
COMPLETION = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s", "name": "left out"},
        {"role": "user", "content": [TEXT, TEXT]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
    "metadata": {"b": "1", "a": "2"},
    "store": {"x": [{"z": 1, "y": 2}]},
    "stream": True,
    "stream_options": {"include_usage": True},
}
MESSAGE = {
    "model": "m",
    "max_tokens": 5,
    "system": [TEXT | {"cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [TEXT, {"type": "tool_use", "id": "c", "name": "f", "input": {"q": [{}]}}]},
        {"role": "user", "content": [RESULT]},
    ],
    "tools": [{"name": "f", "input_schema": SCHEMA}],
    "tool_choice": {"type": "any"},
}


@pytest.mark.parametrize(
    ("parse", "body", "fingerprint"),
    [
        (parse_chat_request, NATIVE, "7f3c8c0ddbd04ca2758aecfa108bf8608dcb834d58ff1611cd24cb90fb1eff8f"),
        (parse_completion, COMPLETION, "7ef2093d42ab10d9be68c5d69b990cd72f07f00289cf672ad2396f490adaf6d9"),
        (parse_message, MESSAGE, "04c4e4326dd5dece346249edc99ddf636a865eb5ce9d4e4556e6b0d33e9df4e9"),
    ],
)
def test_a_release_finds_what_another_has_written_down(
    parse: Callable[[bytes], Asked], body: dict[str, Any], fingerprint: str
) -> None:
    """However the body is written."""
    assert parse(json.dumps(body).encode()).fingerprint().hex() == fingerprint
    turned = dict(reversed(body.items()))
    assert parse(json.dumps(turned, indent=1, ensure_ascii=False).encode()).fingerprint().hex() == fingerprint
