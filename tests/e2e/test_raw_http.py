"""What is no honest HTTP: refused or closed, never answered with a 5xx, and never out of step."""

from __future__ import annotations

import asyncio

import pytest

from shared.settings import Settings
from tests.e2e.test_request_life import ASYNC, ended
from tests.harness.caller import MODEL, Caller, told

HOST = "Host: localhost\r\n"
DEFAULT_REFUSED_BODY_S = Settings.load({"DATABASE_URL": "postgresql://", "REDIS_URL": "redis://"}).refused_body_within_s
"""This service has a much shorter time, so whoever waits as long as this has met the default."""


async def closes(caller: Caller, data: bytes) -> bytes:
    """Send it and nothing more; gives what comes until the other side closes, which it must do by itself."""
    return await caller.raw(data)


async def test_a_header_that_never_ends_is_not_waited_for_for_ever(caller: Caller) -> None:
    beginnings = (
        b"",
        b"GET /healthz HTTP/1.1\r\nHos",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST /api/endpoint",
    )
    assert await asyncio.gather(*(closes(caller, data) for data in beginnings)) == [b""] * len(beginnings)


async def test_a_body_that_never_ends_is_a_400_and_the_connection_is_closed(caller: Caller) -> None:
    head = (
        f"POST /api/endpoint HTTP/1.1\r\n{HOST}Authorization: Bearer {caller.key}\r\nContent-Type: application/json\r\n"
    )
    framings = (
        b"Content-Length: 500\r\n\r\n{",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
    )
    async with asyncio.timeout(DEFAULT_REFUSED_BODY_S):
        answers = await asyncio.gather(*(closes(caller, head.encode() + framing) for framing in framings))
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"invalid_request" in answer


async def test_a_chunk_that_turns_bad_later_ends_the_connection(caller: Caller) -> None:
    head = (
        f"POST /api/endpoint HTTP/1.1\r\n{HOST}Authorization: Bearer {caller.key}\r\nContent-Type: application/json\r\n"
    )
    host, _, port = caller.url("").removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
    await writer.drain()
    await asyncio.sleep(0.2)  # so that it comes by itself
    writer.write(b"ZZZ\r\nfoo\r\n")
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_head_of_a_stream_is_a_405_and_the_connection_stays_in_step(caller: Caller) -> None:
    request_id = (await caller.chat(told(tokens=3), headers=ASYNC)).json["result"]["id"]
    await ended(caller, request_id)
    head = f"HEAD /api/requests/{request_id}/stream HTTP/1.1\r\n{HOST}Authorization: Bearer {caller.key}\r\n\r\n"
    then = f"GET /healthz HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n"
    first, second = (await closes(caller, (head + then).encode())).split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"405 ")
    assert first.endswith(b"\r\n\r\n")
    assert second.startswith(b"200 ")


CODINGS = ["gzip", "GZIP", "deflate", "br", "zstd", "compress", "x-unknown", "identity, gzip", "gzip, identity"]
JSON = "Content-Type: application/json\r\n"
FRAMINGS = ("Content-Length: 5\r\n\r\nabcde", "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n")
CODES = {
    "/api/endpoint": '"code":"unsupported_media_type"',
    "/api/batches": '"code":"unsupported_media_type"',
    "/v1/chat/completions": '"type":"invalid_request_error"',
    "/v1/batches": '"type":"invalid_request_error"',
    "/v1/messages": '"type":"error"',
    "/v1/messages/count_tokens": '"type":"error"',
}
"""What an error of each API has in its body."""


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("path", CODES)
async def test_a_compressed_body_is_refused_in_words_however_it_is_said(caller: Caller, path: str, coding: str) -> None:
    encodings = "".join(f"Content-Encoding: {one}\r\n" for one in coding.split(", "))
    head = f"POST {path} HTTP/1.1\r\n{HOST}Authorization: Bearer {caller.key}\r\n{JSON}{encodings}"
    requests = [f"{head}Connection: close\r\n{framing}".encode() for framing in FRAMINGS]
    for answer in await asyncio.gather(*(closes(caller, request) for request in requests)):
        head_of_it, _, body = answer.decode().partition("\r\n\r\n")
        assert head_of_it.startswith("HTTP/1.1 415 ")
        assert "The body is compressed: send it as it is, without Content-Encoding." in body
        assert CODES[path] in body


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
async def test_a_body_that_is_said_to_be_as_it_is_is_taken(caller: Caller, coding: str) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": told(tokens=1)}]}
    for path in ("/api/endpoint", "/v1/chat/completions"):
        assert (await caller.request("POST", path, json=body, headers={"Content-Encoding": coding})).status == 200


async def test_a_compressed_part_of_a_form_is_refused_in_words(caller: Caller) -> None:
    part = 'Content-Disposition: form-data; name="file"; filename="a.jsonl"\r\nContent-Encoding: gzip\r\n\r\nabc'
    body = f"--x\r\n{part}\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    reply = await caller.request("POST", "/v1/files", data=body.encode(), headers=headers)
    assert reply.status == 415
    assert "`file` is compressed" in reply.json["error"]["message"]


async def test_an_expectation_that_nobody_has_is_refused_without_its_words(caller: Caller) -> None:
    reply = await caller.request("POST", "/api/endpoint", data=b"{}", headers={"Expect": "canary-417"})
    assert reply.status == 417
    assert b"canary" not in reply.body
    assert reply.error["code"] == "invalid_request"
