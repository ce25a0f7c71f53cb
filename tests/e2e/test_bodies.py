"""Bodies of requests: how they arrive, how much room there is for them, and what of them comes back."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import pytest

from shared.ledger.api_keys import KeyRules
from tests.e2e.conftest import NewCaller
from tests.harness.caller import MODEL, Caller, told
from tests.harness.cluster import Cluster
from tests.harness.memory import NOW, megabytes

LARGE = 300_000
JSON = {"Content-Type": "application/json"}
COMPLETIONS = "/v1/chat/completions"


def asking(size: int = 0, **options: object) -> bytes:
    """A request of about `size` bytes."""
    content = [{"type": "text", "text": told(tokens=3)}, {"type": "text", "text": "a" * size}]
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": content}], "options": options}).encode()


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(body), 10_000):
        yield body[begin : begin + 10_000]


def head(caller: Caller, size: int) -> bytes:
    """Of a request whose body is said to have so many bytes."""
    return (
        f"POST /api/endpoint HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {caller.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("size", [0, LARGE])
async def test_a_body_whose_length_is_not_said_is_taken(caller: Caller, size: int) -> None:
    reply = await caller.request("POST", "/api/endpoint", data=in_pieces(asking(size)), headers=JSON)
    assert reply.status == 200


async def test_so_it_is_refused_as_soon_as_it_is_too_large(caller: Caller) -> None:
    reply = await caller.request("POST", "/api/endpoint", data=in_pieces(asking(2_000_000)), headers=JSON)
    assert (reply.status, reply.error["code"]) == (413, "request_too_large")


async def test_the_messages_come_back_as_they_were_sent(caller: Caller) -> None:
    """To the last blank and escape."""
    said = '[ {"content":"' + told(tokens=3) + ' \\u00e9 \\/", "role" : "user"} ]'
    body = f'{{"model": "{MODEL}", "messages": {said}}}'
    reply = await caller.request("POST", "/api/endpoint", data=body.encode(), headers=JSON)
    assert reply.status == 200
    assert f'"request":{said}'.encode() in reply.body


async def test_who_has_no_credit_need_not_send_a_large_body(new_caller: NewCaller) -> None:
    poor = await new_caller(credit=0)
    answer = await poor.raw(head(poor, LARGE))
    assert answer.startswith(b"HTTP/1.1 402 ")
    assert b'"insufficient_credit"' in answer


async def test_where_little_can_be_said_a_large_body_is_too_large(new_caller: NewCaller) -> None:
    manager = await new_caller(rules=KeyRules(scopes=("manage",)))
    reply = await manager.request("POST", "/api/keys", data=b" " * LARGE, headers=JSON)
    assert (reply.status, reply.error["code"]) == (413, "request_too_large")


async def test_beyond_their_room_large_bodies_are_refused_unread_and_small_ones_are_served(
    caller: Caller, cluster: Cluster
) -> None:
    cluster.start("web-8", BODIES_HELD_BYTES_MAX="500000", BODIES_ROOM_WITHIN_S="0.2")
    await cluster.ready()
    try:
        there = caller.at(cluster.url("web-8"))
        host, _, port = cluster.url("web-8").removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head(caller, LARGE))  # whose body does not come
        await writer.drain()
        refused = await _until_refused(there)
        assert refused["code"] == "overloaded"
        assert (await there.chat(told(tokens=3))).status == 200
        writer.write(asking(LARGE - len(asking())))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        large = await there.request("POST", "/api/endpoint", data=asking(LARGE), headers=JSON)
        assert large.status == 200
    finally:
        await cluster.drain("web-8")


async def test_a_repeat_that_waits_for_the_first_answer_holds_no_body(caller: Caller, cluster: Cluster) -> None:
    cluster.start("web-9", BODIES_HELD_BYTES_MAX="500000", BODIES_ROOM_WITHIN_S="2")
    await cluster.ready()
    try:
        there = caller.at(cluster.url("web-9"))
        slow, key = completion(first_ms=4_000), {**JSON, "Idempotency-Key": f"slow-{caller.account_id}"}
        calls = [asyncio.create_task(there.request("POST", COMPLETIONS, data=slow, headers=key)) for _ in range(3)]
        other = await there.request("POST", COMPLETIONS, data=completion(first_ms=0), headers=JSON)
        assert other.status == 200
        assert not any(call.done() for call in calls)
        assert [call.status for call in await asyncio.gather(*calls)] == [200, 200, 200]
    finally:
        await cluster.drain("web-9")


@pytest.mark.parametrize("repeatable", [False, True])
async def test_nothing_stays_of_large_bodies_that_were_refused(
    new_caller: NewCaller, cluster: Cluster, *, repeatable: bool
) -> None:
    """Though each exception has the frames that it came through."""
    name = f"web-{10 + repeatable}"
    cluster.start(name, BODY_BYTES_MAX="20000000")
    await cluster.ready()
    try:
        poor = (await new_caller(credit=1)).at(cluster.url(name))
        headers = {**JSON, "Idempotency-Key": "refused"} if repeatable else JSON
        body, pid, seen = picture(10_000_000), cluster.pid(name), []
        for _ in range(14):
            refused = await poor.request("POST", COMPLETIONS, data=body, headers=headers)
            assert refused.status == 402
            seen.append(megabytes(pid, NOW))
        assert seen[-1] < seen[1] + 60
    finally:
        await cluster.drain(name)


def picture(size: int) -> bytes:
    """A request with a picture of about so many bytes."""
    url = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * (size * 3 // 4)).decode()
    content = [{"type": "text", "text": told(tokens=3)}, {"type": "image_url", "image_url": {"url": url}}]
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 10}).encode()


def completion(**script: int) -> bytes:
    """A large one, in OpenAI's form, whose answer repeats nothing of it."""
    content = told(tokens=3, **script) + "a" * LARGE
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 10}).encode()


async def _until_refused(caller: Caller) -> dict[str, str]:
    """The first body is just arriving: until then there is room for another one."""
    for _ in range(20):
        reply = await caller.request("POST", "/api/endpoint", data=asking(LARGE), headers=JSON)
        if reply.status == 503:
            return reply.error
    raise AssertionError("there was room every time")
