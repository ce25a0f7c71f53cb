"""Anthropic's message batches: raw, and with the official client, over the same core as the native ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import anthropic
import asyncpg
import pytest
from anthropic import AsyncAnthropic

from shared.ids import new_id
from shared.ledger.api_keys import KeyRules
from tests.e2e.anthropic_client import asked, client_of
from tests.e2e.conftest import NewCaller
from tests.harness.caller import MODEL, Caller, Reply, cost_nano, expected, told
from tests.harness.support import eventually_true

PATH = "/v1/messages/batches"


@pytest.fixture
async def client(caller: Caller) -> AsyncIterator[AsyncAnthropic]:
    async with client_of(caller) as made:
        yield made


def one(custom_id: str, text: str, **changes: Any) -> Any:
    return {"custom_id": custom_id, "params": asked(text, **changes)}


async def send(caller: Caller, requests: Sequence[Any], key: str | None = None, **others: Any) -> Reply:
    headers = {"Idempotency-Key": key} if key else {}
    return await caller.request("POST", PATH, json={"requests": requests, **others}, headers=headers)


async def sent(caller: Caller, requests: Sequence[Any], **others: Any) -> Any:
    reply = await send(caller, requests, **others)
    assert reply.status == 200, reply.body
    return reply.json


async def until_ended(caller: Caller, batch_id: str) -> Any:
    async def ask() -> Any:
        batch = (await caller.request("GET", f"{PATH}/{batch_id}")).json
        return batch if batch["processing_status"] == "ended" else None

    return await eventually_true(ask, "the batch has ended", 60)


async def results(caller: Caller, batch_id: str) -> list[Any]:
    reply = await caller.request("GET", f"{PATH}/{batch_id}/results")
    assert (reply.status, reply.complete) == (200, True), reply.body
    return [json.loads(line) for line in reply.body.splitlines()]


async def files_of(caller: Caller) -> list[str]:
    return [file["id"] for file in (await caller.request("GET", "/v1/files")).json["data"]]


async def test_the_client_runs_a_batch_to_its_results(
    client: AsyncAnthropic, caller: Caller, books: asyncpg.Pool
) -> None:
    before = await caller.settled(books)
    texts = {f"id-{number}": told(tokens=number + 1, key=f"batch-{number}") for number in range(5)}
    batch = await client.messages.batches.create(requests=[one(name, text) for name, text in texts.items()])
    assert batch.id.startswith("msgbatch_")
    assert (batch.type, batch.processing_status, batch.results_url) == ("message_batch", "in_progress", None)
    assert (batch.expires_at - batch.created_at).total_seconds() == 86_400
    await until_ended(caller, batch.id)
    ended = await client.messages.batches.retrieve(batch.id)
    assert ended.request_counts.to_dict() == {
        "processing": 0,
        "succeeded": 5,
        "errored": 0,
        "canceled": 0,
        "expired": 0,
    }
    found = {}
    async for line in await client.messages.batches.results(batch.id):
        assert line.result.type == "succeeded"
        assert (line.result.message.model, line.result.message.stop_reason) == (MODEL, "end_turn")
        found[line.custom_id] = line.result.message.content[0].to_dict()["text"]
    assert found == {name: expected(text) for name, text in texts.items()}
    costs = sum(cost_nano(text, number + 1) for number, text in enumerate(texts.values()))
    assert before - await caller.settled(books) == costs


async def test_the_address_of_results_is_where_the_caller_called(caller: Caller) -> None:
    caller = caller.at(caller.url(""))
    batch_id = (await sent(caller, [one("a", told())]))["id"]
    path = f"{PATH}/{batch_id}"
    assert (await until_ended(caller, batch_id))["results_url"] == caller.url(f"{path}/results")
    for host, begins in (("models.example:8443", "http://models.example:8443"), ("models.example:99999", "")):
        seen = await caller.request("GET", path, headers={"Host": host})
        assert (seen.status, seen.json["results_url"]) == (200, f"{begins}{path}/results")


async def test_the_client_turns_the_pages_both_ways(client: AsyncAnthropic, caller: Caller) -> None:
    made = [(await sent(caller, [one("a", told())]))["id"] for _ in range(5)]
    newest_first = made[::-1]
    page = await client.messages.batches.list(limit=2)
    assert [batch.id for batch in page.data] == newest_first[:2]
    assert (page.has_more, page.first_id, page.last_id) == (True, newest_first[0], newest_first[1])
    assert [batch.id async for batch in client.messages.batches.list(limit=2)] == newest_first
    newer = await client.messages.batches.list(limit=2, before_id=newest_first[3])
    assert [batch.id for batch in newer.data] == newest_first[1:3]
    assert newer.has_more is True
    newest = await client.messages.batches.list(limit=2, before_id=newest_first[1])
    assert ([batch.id for batch in newest.data], newest.has_more) == (newest_first[:1], False)
    both = await caller.request("GET", PATH, params={"before_id": made[0], "after_id": made[1]})
    assert (both.status, both.json["error"]["type"]) == (400, "invalid_request_error")
    for name in ("before_id", "after_id"):
        assert (await caller.request("GET", PATH, params={name: "batch_1"})).status == 404
    assert (await caller.request("GET", PATH, params={"limit": "0"})).status == 400


async def test_what_is_wrong_with_one_request_is_told_in_its_result(caller: Caller) -> None:
    requests = [
        one("good", told()),
        one("streamed", told(), stream=True),
        one("no model", told(), model="gpt-99"),
        {"custom_id": "no params", "params": {}},
        {"custom_id": "no object", "params": 3},
        one("deep", told(), metadata={"user_id": [[["x"]]]}),
        one("refused", told(status=400)),
        one("wish", told(), top_k=3, mood="good"),
    ]
    batch = await sent(caller, requests)
    ended = await until_ended(caller, batch["id"])
    counts = {"processing": 0, "succeeded": 2, "errored": 6, "canceled": 0, "expired": 0}
    assert ended["request_counts"] == counts
    found = await results(caller, batch["id"])
    assert [line["custom_id"] for line in found] == [request["custom_id"] for request in requests]
    assert [line["result"]["type"] for line in found] == ["succeeded", *["errored"] * 6, "succeeded"]
    types = [line["result"]["error"]["error"]["type"] for line in found[1:7]]
    assert types == ["invalid_request_error", "not_found_error", *["invalid_request_error"] * 4]
    assert "`stream`" in found[1]["result"]["error"]["error"]["message"]
    ran = [line["result"]["error"]["request_id"] for line in found[1:7]]
    assert ran[:5] == [None] * 5
    assert ran[5].startswith("req_")
    assert found[7]["ignored"] == ["mood", "top_k"]


@pytest.mark.parametrize(
    ("requests", "named"),
    [
        ([one("a", told()), one("b", told()), one("a", told())], "requests.2"),
        ([one("a", told()), {"custom_id": "a", "params": {}}], "requests.1"),
        ([one("", told())], "requests.0"),
        ([one("x" * 257, told())], "requests.0"),
        ([one("a\0", told())], "requests.0"),
        ([{"params": asked(told())}], "requests.0"),
        ([{"custom_id": "a"}], "requests.0"),
        ([{**one("a", told()), "url": "/v1/messages"}], "requests.0"),
        ([one("a", told()), "b"], "requests.1"),
        ([], "requests"),
    ],
)
async def test_a_request_without_an_id_of_its_own_spoils_the_body_and_nothing_stays(
    caller: Caller, requests: list[Any], named: str
) -> None:
    reply = await send(caller, requests)
    assert (reply.status, reply.json["error"]["type"]) == (400, "invalid_request_error")
    assert f"`{named}`" in reply.json["error"]["message"]
    assert (await caller.request("GET", PATH)).json["data"] == []
    assert await files_of(caller) == []


async def test_a_body_that_breaks_off_leaves_nothing(caller: Caller) -> None:
    body = json.dumps({"requests": [one(f"id-{number}", told()) for number in range(3_000)]}).encode()

    async def broken() -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]
        await asyncio.sleep(0.5)
        raise ConnectionResetError

    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await caller.request("POST", PATH, data=broken(), headers={"Content-Type": "application/json"})
    reply = await caller.request("POST", PATH, data=body[:-2], headers={"Content-Type": "application/json"})
    assert (reply.status, "ends too early" in reply.json["error"]["message"]) == (400, True)
    account = (await caller.request("GET", "/api/account")).json["result"]
    assert (account["balance_usd"], account["held_usd"]) == ("1", "0")
    assert await files_of(caller) == []
    assert (await caller.request("GET", PATH)).json["data"] == []


async def test_a_repeat_with_the_same_key_is_the_same_batch(caller: Caller) -> None:
    key, requests = new_id("key"), [one("a", told()), one("b", told())]
    first = await send(caller, requests, key)
    again = await caller.request(
        "POST",
        PATH,
        data=json.dumps({"requests": requests}, indent=2).encode(),
        headers={"Idempotency-Key": key, "Content-Type": "application/json"},
    )
    assert (first.status, again.status, again.headers["Idempotent-Replayed"]) == (200, 200, "true")
    assert first.json["id"] == again.json["id"]
    other = await send(caller, requests[:1], key)
    assert (other.status, other.json["error"]["details"]["error_code"]) == (422, "idempotency_mismatch")
    assert len((await caller.request("GET", PATH)).json["data"]) == len(await files_of(caller)) == 1


async def test_the_client_cancels_and_deletes(client: AsyncAnthropic, caller: Caller, books: asyncpg.Pool) -> None:
    requests = [one(f"id-{number}", told(tokens=400, pace_ms=20)) for number in range(300)]
    batch = await client.messages.batches.create(requests=requests)
    with pytest.raises(anthropic.ConflictError):
        await client.messages.batches.delete(batch.id)
    early = await caller.request("GET", f"{PATH}/{batch.id}/results")
    assert (early.status, early.json["error"]["type"]) == (409, "conflict_error")
    canceled = await client.messages.batches.cancel(batch.id)
    assert canceled.processing_status in {"canceling", "ended"}
    assert canceled.cancel_initiated_at is not None
    ended = await until_ended(caller, batch.id)
    counts = ended["request_counts"]
    assert counts["canceled"] > 0
    assert sum(counts.values()) == 300
    assert {line["result"]["type"] for line in await results(caller, batch.id)} >= {"canceled"}
    deleted = await client.messages.batches.delete(batch.id)
    assert (deleted.id, deleted.type) == (batch.id, "message_batch_deleted")
    for path in (f"{PATH}/{batch.id}", f"{PATH}/{batch.id}/results", f"/api/batches/{ours(batch.id)}"):
        assert (await caller.request("GET", path)).status == 404
    assert (await caller.request("DELETE", f"{PATH}/{batch.id}")).status == 404
    assert (await caller.request("GET", PATH)).json["data"] == []
    assert await files_of(caller) == []

    async def erased() -> bool:
        lines = "SELECT count(*) FROM file_lines l JOIN batches b ON b.file_id = l.file_id WHERE b.id = $1"
        answers = "SELECT count(*) FROM batch_answers WHERE batch_id = $1"
        left = [await books.fetchval(query, ours(batch.id)) for query in (lines, answers)]
        return left == [0, 0]

    await eventually_true(erased, "neither lines nor answers are left", 30)


def ours(message_batch: str) -> str:
    return message_batch.removeprefix("msg")


async def test_a_file_of_its_own_stays_when_a_batch_over_it_is_deleted(caller: Caller) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/messages", "body": asked(told())}
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("file", json.dumps(line).encode(), filename="in.jsonl")
    file = (await caller.request("POST", "/v1/files", data=form)).json
    body = {"input_file_id": file["id"], "endpoint": "/v1/messages", "completion_window": "24h"}
    batch_id = "msg" + (await caller.request("POST", "/v1/batches", json=body)).json["id"]
    await until_ended(caller, batch_id)
    (found,) = await results(caller, batch_id)
    assert found["result"]["message"]["content"] == [{"type": "text", "text": expected(told())}]
    assert (await caller.request("DELETE", f"{PATH}/{batch_id}")).status == 200
    assert await files_of(caller) == [file["id"]]
    assert (await caller.request("GET", f"/v1/batches/{ours(batch_id)}")).status == 404


async def test_a_batch_is_its_accounts_alone(caller: Caller, new_caller: NewCaller) -> None:
    batch = await sent(caller, [one("a", told())])
    stranger = await new_caller()
    for method, path in (
        ("GET", batch["id"]),
        ("GET", f"{batch['id']}/results"),
        ("POST", f"{batch['id']}/cancel"),
        ("DELETE", batch["id"]),
    ):
        reply = await stranger.request(method, f"{PATH}/{path}")
        assert (reply.status, reply.json["error"]["type"]) == (404, "not_found_error")
        assert reply.json["error"]["message"] == f"There is no such batch: GET {PATH} lists yours."
    assert (await stranger.request("GET", PATH)).json["data"] == []
    assert (await until_ended(caller, batch["id"]))["request_counts"]["succeeded"] == 1


async def test_a_key_does_what_its_scopes_say(caller: Caller, new_caller: NewCaller) -> None:
    reader = await new_caller(rules=KeyRules(scopes=("read",)))
    writer = await new_caller(rules=KeyRules(scopes=("inference",)))
    for method, path in (("POST", PATH), ("POST", f"{PATH}/msgbatch_1/cancel"), ("DELETE", f"{PATH}/msgbatch_1")):
        refused = await reader.request(method, path, json={"requests": [one("a", told())]})
        assert (refused.status, refused.json["error"]["type"]) == (403, "permission_error")
    for path in (PATH, f"{PATH}/msgbatch_1", f"{PATH}/msgbatch_1/results"):
        assert (await writer.request("GET", path)).status == 403
    poor = await new_caller(credit=0)
    assert (await send(poor, [one("a", told())])).json["error"]["type"] == "billing_error"


async def test_what_is_besides_is_left_out_and_named_and_refused_to_a_strict_key(
    caller: Caller, new_caller: NewCaller
) -> None:
    reply = await caller.request("POST", f"{PATH}?beta=true&x=1", json={"requests": [one("a", told())], "mood": "good"})
    assert (reply.status, reply.headers["x-ignored"]) == (200, "?x, mood")
    listed = await caller.request("GET", f"{PATH}?beta=true&x=1")
    assert (listed.status, listed.headers["x-ignored"]) == (200, "?x")
    strict = await new_caller(rules=KeyRules(strict=True))
    for path, others in ((f"{PATH}?x=1", {}), (PATH, {"mood": "good"})):
        refused = await strict.request("POST", path, json={"requests": [one("a", told())], **others})
        assert refused.status == 400
    batch = await sent(strict, [one("a", told()), one("wish", told(), mood="good")])
    assert (await until_ended(strict, batch["id"]))["request_counts"]["errored"] == 1


async def test_too_many_requests_and_too_long_ones_are_refused_whole(caller: Caller) -> None:
    many = [{"custom_id": f"{number}", "params": {}} for number in range(100_001)]
    reply = await send(caller, many)
    assert (reply.status, "more than 100000 requests" in reply.json["error"]["message"]) == (400, True)
    long = await send(caller, [one("a", told()), one("b", "x" * 4_000_001)])
    assert (long.status, long.json["error"]["type"]) == (413, "request_too_large")
    assert "`requests.1`" in long.json["error"]["message"]
    assert await files_of(caller) == []
