"""An operator's overlay: other prices, other vendors that speak OpenAI's protocol, successors; no release needed."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.e2e.overlaid import Overlaid
from tests.harness.caller import Caller, told
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true


@pytest.fixture(scope="module")
def cluster(overlaid: Overlaid) -> Cluster:
    return overlaid.cluster


@pytest.fixture(scope="module")
async def books(cluster: Cluster) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=2) as pool:
        yield pool


async def test_a_model_of_another_vendor_needs_rows_only(caller: Caller) -> None:
    reply = await caller.chat(told(tokens=10), model="acme-large")
    result = reply.json["result"]
    assert (result["model"], result["tokens_output"]) == ("acme-large", 10)
    assert int(result["price"] * 10**9) == result["tokens_input"] * 1_000 + 10 * 2_000


async def test_a_price_factor_changes_the_charge_and_not_the_vendors_cost(caller: Caller, books: asyncpg.Pool) -> None:
    reply = await caller.chat(told(tokens=10), model="openai-gpt-5.2")
    await caller.settled(books)
    row = await books.fetchrow("SELECT * FROM requests WHERE id = $1", reply.headers["x-request-id"])
    assert row is not None
    assert row["charged_nano"] == 2 * row["vendor_cost_nano"] == int(reply.json["result"]["price"] * 10**9)


async def test_a_successor_serves_and_is_disclosed(caller: Caller, books: asyncpg.Pool) -> None:
    reply = await caller.chat(told(tokens=10), model="o1", temperature=0)
    assert reply.status == 200
    assert reply.headers["x-model-successor"] == "openai-gpt-4o"
    assert reply.json["result"]["model"] == "openai-gpt-4o"
    await caller.settled(books)
    row = await books.fetchrow("SELECT * FROM requests WHERE id = $1", reply.headers["x-request-id"])
    assert row is not None
    assert (row["model"], row["upstream"]) == ("openai-gpt-4o", "gpt-4o-2024-08-06")


async def test_what_replaces_a_model_that_is_gone_serves_by_one_setting(caller: Caller, books: asyncpg.Pool) -> None:
    reply = await caller.chat(told(tokens=10), model="o1-mini")
    assert (reply.status, reply.headers["x-model-successor"]) == (200, "openai-gpt-6.1-terra")
    assert reply.json["result"]["model"] == "openai-gpt-6.1-terra"
    await caller.settled(books)
    row = await books.fetchrow("SELECT * FROM requests WHERE id = $1", reply.headers["x-request-id"])
    assert row is not None
    assert (row["model"], row["upstream"]) == ("openai-gpt-6.1-terra", "gpt-6.1-terra")
    listed = {one["name"]: one["successor"] for one in (await caller.request("GET", "/api/models")).json["result"]}
    assert (listed["openai-o1-mini"], listed["openai-o3-mini"]) == ("openai-gpt-6.1-terra", None)


@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"background": True}], ids=["whole", "stream", "background"])
async def test_a_response_names_the_model_that_served_now_and_later(caller: Caller, fields: dict[str, bool]) -> None:
    body = {"model": "o1", "input": told(tokens=3), **fields}
    reply = await caller.request("POST", "/v1/responses", json=body)
    assert reply.headers["x-model-successor"] == "openai-gpt-4o"
    assert set(re.findall(r'"model":"([^"]*)"', reply.body.decode())) == {"openai-gpt-4o"}
    response = reply.headers["x-request-id"].replace("req_", "resp_")
    shown = await caller.request("GET", f"/v1/responses/{response}")
    assert (shown.status, shown.json["model"]) == (200, "openai-gpt-4o")


async def test_a_repeat_names_the_model_that_served(caller: Caller) -> None:
    body = {"model": "o1", "messages": [{"role": "user", "content": told(tokens=3)}]}
    headers = {"Idempotency-Key": "served by another"}
    for _ in range(2):
        reply = await caller.request("POST", "/v1/chat/completions", json=body, headers=headers)
        assert (reply.headers["x-model-successor"], reply.json["model"]) == ("openai-gpt-4o", "openai-gpt-4o")


async def test_what_costs_more_than_can_be_counted_is_refused_in_words(caller: Caller, books: asyncpg.Pool) -> None:
    dear = {"model": "openai-gpt-4o-mini-rt-preview", "messages": [{"role": "user", "content": told(tokens=3)}]}
    for reply in (
        await caller.request("POST", "/api/endpoint", json=dear),
        await caller.request("POST", "/v1/chat/completions", json=dear),
        await caller.request("POST", "/v1/messages", json=dear | {"max_tokens": 10}),
    ):
        assert (reply.status, "lower max_tokens" in reply.body.decode()) == (400, True)
    lines = [{"custom_id": "dear", **dear}, {"custom_id": "cheap", **dear, "model": "acme-large"}]
    body = "\n".join(json.dumps(line) for line in lines).encode()
    headers = {"Content-Type": "application/x-ndjson"}
    reply = await caller.request("POST", "/api/batches", data=body, headers=headers)
    assert reply.status == 201
    (error,) = reply.json["result"]["errors"]
    assert (error["line"], error["code"]) == (1, "invalid_request")
    assert "lower max_tokens" in error["message"]
    await caller.settled(books)


async def test_a_key_that_one_worker_lacks_makes_the_model_unavailable_rather_than_fail_at_random(
    caller: Caller, cluster: Cluster
) -> None:
    cluster.start("worker-2", ACME_KEY="")

    async def status() -> int | None:
        reply = await caller.chat(told(), model="acme-large")
        return reply.status if reply.status != 200 else None

    assert await eventually_true(status, "the worker without the key is known") == 503
    await cluster.drain("worker-2")
