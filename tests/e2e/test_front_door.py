"""The front door at its edges: broken HTTP, its own end, and credit that has just come back."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from shared.ledger.api_keys import KeyRules
from tests.e2e.conftest import NewCaller
from tests.harness.caller import MODEL, Caller, hold_nano, told
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true, free_port


@pytest.mark.parametrize(
    "lines",
    [
        b"POST /api/endpoint HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\x00\r\n\r\n",
        b"POST /api/endpoint HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nBad Header: x\r\n\r\n",
        b"NONSENSE %s\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000 + b"%s\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_in_our_own_form_without_its_bytes(caller: Caller, lines: bytes) -> None:
    answer = await caller.raw(lines % caller.key.encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    document = json.loads(body)
    assert document["error"]["code"] == "invalid_request"
    assert f"x-request-id: {document['error']['request_id']}".encode() in head
    assert caller.key.encode() not in answer


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"200"),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"POST /api/endpoint HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: much\r\n\r\n", b"417"),
    ],
)
async def test_no_answer_tells_the_versions_of_what_serves_it(caller: Caller, lines: bytes, status: bytes) -> None:
    head, _, _ = (await caller.raw(lines)).partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert [line for line in head.split(b"\r\n") if line.startswith(b"Server:")] == [b"Server: rebootml"]


async def test_no_stream_tells_the_versions_of_what_serves_it(caller: Caller) -> None:
    assert (await caller.chat(told(tokens=1), stream=True)).headers.getall("Server") == ["rebootml"]


async def test_sequential_requests_on_credit_for_one_are_never_refused(new_caller: NewCaller) -> None:
    """The answer comes just before its settlement is committed; the next request must not feel that."""
    message = told(tokens=1)
    poor = await new_caller(credit=hold_nano(message, 50) + 40 * 10_000)
    statuses = [(await poor.chat(message, max_tokens=50)).status for _ in range(40)]
    assert statuses == [200] * 40


async def test_a_limited_keys_refusal_says_what_is_left(new_caller: NewCaller) -> None:
    limited = await new_caller(rules=KeyRules(rpm=1))
    await limited.chat(told(tokens=1))
    refused = await limited.chat(told(tokens=1))
    assert refused.status == 429
    assert refused.headers["x-ratelimit-limit-requests"] == "1"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"].endswith("s")


async def test_a_front_door_that_stops_tells_its_streams_and_the_request_is_settled(
    caller: Caller, cluster: Cluster
) -> None:
    metrics_port = free_port()
    cluster.start("web-7", DRAIN_S="2", METRICS_PORT=str(metrics_port))
    await cluster.ready()
    message = told(tokens=40, hold=5, key="stopping")
    body = {"model": MODEL, "messages": [{"role": "user", "content": message}], "options": {"stream": True}}
    url = f"{cluster.url('web-7')}/api/endpoint"
    async with caller.session.post(url, json=body, headers=caller.authorization) as response:
        received = await asyncio.wait_for(response.content.readany(), 20)
        stopping = asyncio.ensure_future(cluster.drain("web-7"))
        await eventually_true(lambda: _says_that_it_drains(caller, metrics_port), "/readyz says that it drains")
        async for data in _until_broken(response.content):
            received += data
    await stopping
    text, _, record = received.partition(b"\x1e")
    assert text.startswith(b"[simulated")
    assert json.loads(record)["error"]["code"] == "unavailable"
    await caller.release("stopping")


async def _says_that_it_drains(caller: Caller, metrics_port: int) -> bool:
    async with caller.session.get(f"http://127.0.0.1:{metrics_port}/readyz") as response:
        return response.status == 503 and (await response.json())["draining"]


async def _until_broken(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """What still comes until the transfer breaks off."""
    try:
        async for data in content.iter_any():
            yield data
    except aiohttp.ClientPayloadError:
        return


@pytest.mark.parametrize("accept", ["Text/Event-Stream", "text/html, text/event-stream;q=0.5"])
async def test_event_streams_are_asked_for_in_any_case(caller: Caller, accept: str) -> None:
    reply = await caller.chat(told(tokens=2), stream=True, headers={"Accept": accept})
    assert reply.headers["Content-Type"].startswith("text/event-stream")


async def test_event_streams_are_not_sent_to_who_refuses_them(caller: Caller) -> None:
    reply = await caller.chat(told(tokens=2), stream=True, headers={"Accept": "text/event-stream;q=0"})
    assert reply.headers["Content-Type"].startswith("text/plain")


async def test_a_front_door_that_runs_out_of_files_says_so_and_goes_on(caller: Caller, cluster: Cluster) -> None:
    pid, door = cluster.pid("web-2"), caller.at(cluster.url("web-2"))
    usual = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    open_now = len(list(Path(f"/proc/{pid}/fd").iterdir()))  # noqa: ASYNC240 - a few small names
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 20, usual[1]))
    try:
        host, _, port = door.url("").removeprefix("http://").partition(":")
        crowd = [await asyncio.open_connection(host, int(port)) for _ in range(60)]
        await cluster.until_log("web-2", "files that may be opened run out")
        for _, writer in crowd:
            writer.close()
        await cluster.until_log("web-2", "files may be opened again")
        assert (await door.chat(told(tokens=2))).status == 200
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, usual)
