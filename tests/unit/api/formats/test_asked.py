"""What a request asks for, and when two ask for the same."""

from __future__ import annotations

import msgspec

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
