"""Callers who close their side after their request, as `nc` and others do, get their answer; those who leave have left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.ids import new_id
from tests.e2e.test_batches import line, sent, until
from tests.e2e.test_request_life import ASYNC, ended
from tests.harness.caller import MODEL, Caller, expected, told
from tests.harness.support import eventually_true

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


def request_of(
    caller: Caller, method: str, target: str, document: Any = None, version: str = "1.1", **headers: str
) -> bytes:
    body = b"" if document is None else json.dumps(document).encode()
    given = {"Host": "x", "Authorization": f"Bearer {caller.key}", "Content-Type": "application/json", **headers}
    lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def chat(text: str, **options: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "options": options}


@asynccontextmanager
async def connected(caller: Caller) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    host, _, port = caller.url("").removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield reader, writer
    finally:
        writer.close()


async def half_closed(caller: Caller, data: bytes) -> bytes:
    """Send it, close this side, and read until the other side is closed."""
    async with connected(caller) as (reader, writer):
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read()


def answers(data: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each, without interim answers."""
    found = []
    for answer in data.replace(INTERIM, b"").split(b"HTTP/1.1 ")[1:]:
        head, _, body = answer.partition(b"\r\n\r\n")
        found.append((int(head[:3]), body))
    return found


async def state_of(caller: Caller, request_id: str) -> Any:
    return (await caller.request("GET", f"/api/requests/{request_id}")).json["result"]["state"]


async def newest(caller: Caller) -> Any:
    requests = (await caller.request("GET", "/api/requests")).json["result"]["requests"]
    return requests[0] if requests else None


@pytest.mark.parametrize("target", ["/healthz", "/api/account", "/openapi.json"])
async def test_a_plain_answer_comes(caller: Caller, target: str) -> None:
    ((status, body),) = answers(await half_closed(caller, request_of(caller, "GET", target)))
    assert status == 200
    assert json.loads(body)


@pytest.mark.parametrize("first_ms", [0, 1_800])
async def test_an_answer_comes_however_long_it_takes(caller: Caller, first_ms: int) -> None:
    text = told(tokens=3, first_ms=first_ms)
    ((status, body),) = answers(await half_closed(caller, request_of(caller, "POST", "/api/endpoint", chat(text))))
    assert (status, json.loads(body)["result"]["response"]) == (200, expected(text))


@pytest.mark.parametrize("accept", ["text/plain", "text/event-stream"])
async def test_a_stream_comes_to_its_end(caller: Caller, accept: str) -> None:
    text = told(tokens=8, first_ms=700, pace_ms=100)
    data = await half_closed(
        caller, request_of(caller, "POST", "/api/endpoint", chat(text, stream=True), Accept=accept)
    )
    assert data.replace(INTERIM, b"").startswith(b"HTTP/1.1 200 ")
    assert data.endswith(b"\r\n0\r\n\r\n")
    assert (b"event: done" if accept == "text/event-stream" else b"simulated") in data


async def test_every_request_of_several_is_answered_in_turn(caller: Caller) -> None:
    requests = [request_of(caller, "GET", target) for target in ("/api/account", "/nowhere", "/healthz")]
    data = await half_closed(
        caller, b"".join([*requests, request_of(caller, "POST", "/api/endpoint", chat(told(first_ms=900)))])
    )
    assert [status for status, _ in answers(data)] == [200, 404, 200, 200]


async def test_a_download_comes_whole(caller: Caller) -> None:
    batch = await sent(caller, [line(f"id-{number}", told(tokens=2)) for number in range(30)])
    await until(caller, batch["id"])
    data = await half_closed(caller, request_of(caller, "GET", f"/api/batches/{batch['id']}/results"))
    assert data.endswith(b"\r\n0\r\n\r\n")
    assert data.count(b'"custom_id"') == 30


async def test_half_a_body_is_no_request(caller: Caller) -> None:
    whole = request_of(caller, "POST", "/api/endpoint", chat(told()))
    assert await half_closed(caller, whole[:-3]) == b""
    assert await newest(caller) is None


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("stream", [False, True])
async def test_who_leaves_before_the_answer_has_cancelled(caller: Caller, version: str, stream: bool) -> None:  # noqa: FBT001
    key = new_id("left")
    async with connected(caller) as (_, writer):
        text = told(hold=0, key=key)
        writer.write(request_of(caller, "POST", "/api/endpoint", chat(text, stream=stream), version))
        request = await eventually_true(lambda: newest(caller), "the request is admitted")
    await eventually_true(lambda: _is(caller, request["id"], "cancelled"), "it is cancelled")
    await caller.release(key)


async def test_who_closes_one_side_and_leaves_later_has_cancelled_too(caller: Caller) -> None:
    key = new_id("left")
    async with connected(caller) as (reader, writer):
        writer.write(request_of(caller, "POST", "/api/endpoint", chat(told(hold=0, key=key))))
        writer.write_eof()
        assert await reader.readexactly(len(INTERIM)) == INTERIM
        request = await eventually_true(lambda: newest(caller), "the request is admitted")
        assert await state_of(caller, request["id"]) in {"queued", "running"}
    await eventually_true(lambda: _is(caller, request["id"], "cancelled"), "it is cancelled")
    await caller.release(key)


async def test_who_leaves_while_a_stream_is_silent_has_cancelled(caller: Caller) -> None:
    key = new_id("left")
    async with connected(caller) as (reader, writer):
        writer.write(request_of(caller, "POST", "/api/endpoint", chat(told(tokens=9, hold=2, key=key), stream=True)))
        await reader.readuntil(b"\r\n\r\n")
        request = await newest(caller)
    await eventually_true(lambda: _is(caller, request["id"], "cancelled"), "it is cancelled")
    await caller.release(key)


async def _is(caller: Caller, request_id: str, state: str) -> bool:
    return bool(await state_of(caller, request_id) == state)


async def test_a_request_of_its_own_is_not_cancelled(caller: Caller) -> None:
    ((status, body),) = answers(
        await half_closed(caller, request_of(caller, "POST", "/api/endpoint", chat(told()), **ASYNC))
    )
    assert status == 202
    assert (await ended(caller, json.loads(body)["result"]["id"]))["state"] == "succeeded"
