"""A character that a store refuses, wherever text may stand: a 400 or a 404, never a fault of ours."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from shared.ledger.api_keys import SCOPES, KeyRules
from tests.e2e.conftest import NewCaller
from tests.e2e.test_batches import NDJSON, results, until
from tests.e2e.test_openai_batches import form
from tests.harness.caller import Caller, told

ID = "01m8d6x64hfm9chazn2m2hk8z0"
ODD = [
    "%00",
    "a%00b",
    f"re%00q_{ID}",
    f"%00_{ID}",
    f"req%00_{ID}",
    f"req_%00{ID}",
    f"req_{ID}%00",
    f"batch_{ID}%00_output",
    f"\0_{ID}",  # as they are, not escaped
    "%ED%A0%80",
    f"%ED%B0%80_{ID}",
    "%FF",
    "\xff",
    f"\xed\xa0\x80_{ID}",
    "%EF%BF%BF",
    "%C2%85",
    "%E2%80%A8",
    "%0A%0D",
    "%2E%2E%2F",
    "9" * 5_000,
]
"""In paths and queries. What is no ASCII goes as single bytes."""
ODD_TEXTS = [r"\u0000", r"a\u0000b", r"\ud800", r"\udc00a", r"\ud83d\ud83d", r"\uffff", r"\u0085\u2028", "\\n" * 3]
"""In JSON, as they are written there."""
ODD_HEADERS = [b"\xff", b"\xed\xa0\x80", b"a\tb", b"\xc2\x85", b"a" * 300, b"\x7f"]
HEADERS = {"Authorization", "x-api-key", "Accept", "Content-Type", "Origin", "Prefer", "User-Agent", "Content-Encoding"}
SENT_AT_ONCE = 20
REFUSED_BY_THE_VENDOR = 502
"""Such as a schema whose type is none."""


@pytest.fixture
async def owner(new_caller: NewCaller) -> Caller:
    """May call every route."""
    return await new_caller(credit=100_000_000_000, rules=KeyRules(scopes=SCOPES))


async def document_of(caller: Caller) -> Any:
    return (await caller.request("GET", "/openapi.json")).json


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield method.upper(), path, operation


async def status_of(caller: Caller, method: str, target: str, headers: dict[str, bytes], body: bytes = b"") -> int:
    """Of a request whose bytes nobody corrects on their way."""
    given = {"Host": b"localhost", "Authorization": f"Bearer {caller.key}".encode(), "Connection": b"close", **headers}
    head = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in given.items())
    length = b"Content-Length: %d\r\n" % len(body) if body or method == "POST" else b""
    answer = await caller.raw(
        method.encode() + b" " + target.encode("latin-1") + b" HTTP/1.1\r\n" + head + length + b"\r\n" + body
    )
    return int(answer.split(b" ", 2)[1])


async def all_statuses(calls: list[tuple[str, Any]]) -> Counter[int]:
    """Fails with what was called when the answer is a fault of ours, or none."""
    at_once = asyncio.Semaphore(SENT_AT_ONCE)

    async def one(what: str, call: Any) -> tuple[str, int]:
        async with at_once:
            return what, await call

    answered = await asyncio.gather(*(one(what, call) for what, call in calls))
    faults = [(what, status) for what, status in answered if status >= 500 and status != REFUSED_BY_THE_VENDOR]
    assert faults == []
    return Counter(status for _, status in answered)


def filled(path: str, operation: Any, odd: str) -> Iterator[str]:
    """The path with `odd` in the place of each parameter of it, and behind each parameter of the query."""
    plain = path
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            plain = plain.replace(f"{{{parameter['name']}}}", f"req_{ID}")
    for parameter in operation.get("parameters", []):
        match parameter["in"]:
            case "path":
                yield path.replace(f"{{{parameter['name']}}}", odd)
            case "query":
                yield f"{plain}?{parameter['name']}={odd}"
    yield f"{plain}?{odd}=1"
    yield f"{plain}{odd}"


async def test_no_parameter_of_a_path_or_a_query_is_a_fault_of_ours(owner: Caller) -> None:
    document = await document_of(owner)
    targets = [
        (method, target)
        for method, path, operation in operations(document)
        for odd in ODD
        for target in filled(path, operation, odd)
    ]
    calls = [(f"{method} {target[:200]!r}", status_of(owner, method, target, {})) for method, target in targets]
    assert set(await all_statuses(calls)) <= {200, 302, 400, 404, 405, 413, 414, 415, 431}


async def test_no_header_is_a_fault_of_ours(owner: Caller) -> None:
    document = await document_of(owner)
    targets = [
        (method, path.replace("{", "").replace("}", ""), name, value)
        for method, path, operation in operations(document)
        for name in HEADERS | {one["name"] for one in operation.get("parameters", []) if one["in"] == "header"}
        for value in ODD_HEADERS
    ]
    await all_statuses(
        [
            (f"{method} {target} {name}: {value[:20]!r}", status_of(owner, method, target, {name: value}))
            for method, target, name, value in targets
        ]
    )


def leaves(document: Any) -> Iterator[tuple[list[Any], Any]]:
    """Where a text stands in a document: its path, and the text."""
    if isinstance(document, dict):
        for name, value in document.items():
            for path, leaf in leaves(value):
                yield [name, *path], leaf
    elif isinstance(document, list):
        for number, value in enumerate(document):
            for path, leaf in leaves(value):
                yield [number, *path], leaf
    elif isinstance(document, str):
        yield [], document


def replaced(document: Any, path: list[Any], text: str) -> Any:
    if not path:
        return text
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = replaced(copy[path[0]], path[1:], text)
    return copy


TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}
USER = {"role": "user", "content": told(tokens=1)}
RICH: dict[str, Any] = {
    "POST /api/endpoint": {"model": "openai-gpt-4o-mini", "messages": [USER], "options": {"stop": ["x"]}},
    "POST /v1/chat/completions": {
        "model": "openai-gpt-4o-mini",
        "messages": [{"role": "system", "name": "n", "content": "s"}, USER],
        "metadata": {"a": "b"},
        "user": "u",
        "stop": "x",
        "tools": [TOOL],
        "safety_identifier": "z",
    },
    "POST /v1/messages": {
        "model": "openai-gpt-4o-mini",
        "max_tokens": 9,
        "messages": [USER],
        "system": [{"type": "text", "text": "s"}],
        "metadata": {"user_id": "u"},
        "stop_sequences": ["x"],
        "tools": [{"name": "weather", "description": "d", "input_schema": {"type": "object"}}],
    },
    "POST /v1/messages/count_tokens": {"model": "openai-gpt-4o-mini", "messages": [USER]},
    "POST /v1/responses": {
        "model": "openai-gpt-4o-mini",
        "max_output_tokens": 16,
        "instructions": "i",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "tools": [{"type": "function", "name": "weather", "description": "d", "parameters": {"type": "object"}}],
        "previous_response_id": f"resp_{ID}",
        "metadata": {"a": "b"},
        "user": "u",
    },
    "POST /v1/responses/input_tokens": {"model": "openai-gpt-4o-mini", "input": "hi", "instructions": "i"},
    "POST /v1/batches": {
        "input_file_id": f"file_{ID}",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"a": "b"},
    },
    "POST /v1/messages/batches": {
        "requests": [
            {
                "custom_id": "c",
                "params": {
                    "model": "openai-gpt-4o-mini",
                    "max_tokens": 10,
                    "messages": [{"role": "user", "content": "x"}],
                },
            }
        ]
    },
    "POST /api/keys": {"name": "n", "limit_usd": "1", "scopes": ["read"], "expires_at": "2099-01-01T00:00:00Z"},
    "POST /api/keys/{key_id}/rotate": {"grace_s": "1"},
}
"""Bodies with a text wherever one may be kept."""
PLACE = "PLACE"


def odd_bodies(body: Any) -> Iterator[bytes]:
    """With each odd text in the place of each text, and of each name of a field."""
    for path, _ in leaves(body):
        for odd in ODD_TEXTS:
            yield json.dumps(replaced(body, path, PLACE)).replace(PLACE, odd).encode()
    for name in ("metadata", "options"):
        for odd in ODD_TEXTS if name in body else ():
            yield json.dumps({**body, name: {**body[name], PLACE: "x"}}).replace(PLACE, odd).encode()
    for odd in ODD_TEXTS:
        yield json.dumps({**body, PLACE: "x"}).replace(PLACE, odd).encode()


async def test_every_body_of_json_is_among_those_that_are_tried(owner: Caller) -> None:
    document = await document_of(owner)
    taken = {f"{method} {path}" for method, path, operation in operations(document) if "requestBody" in operation}
    assert taken == {*RICH, "POST /v1/files", "POST /api/batches"}


@pytest.mark.parametrize("route", RICH)
async def test_no_text_in_a_body_is_a_fault_of_ours(owner: Caller, route: str) -> None:
    method, _, path = route.partition(" ")
    target, headers = path.replace("{key_id}", "k"), {"Content-Type": b"application/json"}
    calls = [(f"{route} {body!r}", status_of(owner, method, target, headers, body)) for body in odd_bodies(RICH[route])]
    statuses = await all_statuses(calls)
    assert statuses[400] > 0


def odd_lines(line: dict[str, Any]) -> list[bytes]:
    return [body.replace(b"\n", b" ") for body in odd_bodies(line)]


async def test_no_text_in_a_line_is_a_fault_of_ours(owner: Caller) -> None:
    """Lines that can be stored run, the others are bad, and all of them are told again."""
    native = b"\n".join(odd_lines({"custom_id": "c", **RICH["POST /api/endpoint"]}))
    reply = await owner.request("POST", "/api/batches", data=native, headers=NDJSON)
    assert reply.status == 201, reply.body
    ended = await until(owner, reply.json["result"]["id"])
    assert ended["counts"]["total"] == len(await results(owner, ended["id"])) == native.count(b"\n") + 1
    lines = odd_lines({"custom_id": "c", "method": "POST", "url": "/v1/messages", "body": RICH["POST /v1/messages"]})
    reply = await owner.request("POST", "/v1/files", data=form(b"\n".join(lines), ("purpose", "batch")))
    assert reply.status == 200, reply.body
    body = {"input_file_id": reply.json["id"], "endpoint": "/v1/messages", "completion_window": "24h"}
    assert (await owner.request("POST", "/v1/batches", json=body)).status == 200


@pytest.mark.parametrize("name", ["a\0b", "\udcff", "é\u2028", "x" * 5_000])
async def test_no_name_of_a_file_or_a_field_is_a_fault_of_ours(owner: Caller, name: str) -> None:
    line = json.dumps({"custom_id": "c", "method": "POST", "url": "/v1/messages", "body": RICH["POST /v1/messages"]})
    text = name.encode("utf-8", "surrogateescape")
    for disposition in (
        b'name="file"; filename="' + text + b'"',
        b'name="' + text + b'"',
        b"name=file; filename*=utf-8''%00%FF",
    ):
        part = b"--x\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + line.encode() + b"\r\n"
        purpose = b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x--\r\n'
        headers = {"Content-Type": b"multipart/form-data; boundary=x"}
        assert await status_of(owner, "POST", "/v1/files", headers, part + purpose) in {200, 400}


@pytest.mark.parametrize("bad", [f"re\0q_{ID}", f"\0_{ID}", f"req_{ID}\0", "\ud800"])
async def test_what_no_id_can_be_is_not_found_and_no_page_begins_with_it(owner: Caller, bad: str) -> None:
    text = quote(bad, safe="", errors="surrogatepass")
    for path in ("/api/requests/", "/api/batches/", "/v1/batches/", "/v1/files/", "/v1/models/"):
        assert await status_of(owner, "GET", path + text, {}) == 404
    for path in ("/api/requests?cursor=", "/api/batches?cursor=", "/v1/batches?after=", "/v1/files?after="):
        assert await status_of(owner, "GET", path + text, {}) in {400, 404}
