"""The service tier flex through the running service: on every surface, in batches, and in receipts."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from deploy.simulator.answer import prompt_tokens
from tests.e2e.conftest import NewCaller
from tests.e2e.test_batch_cli import Cli
from tests.e2e.test_batches import NDJSON, line, results, sent, until
from tests.harness.caller import MODEL, Caller, Reply, told
from tests.harness.cluster import Cluster

FLEX_MODEL = "openai-gpt-5.4-mini"
INPUT_PRICE, OUTPUT_PRICE = 375_000_000, 2_250_000_000
"""Nano-USD per million tokens at flex; at the default tier twice as much."""
TOKENS = 3


def _cost_nano(message: str) -> int:
    return -(-(prompt_tokens([message]) * INPUT_PRICE + TOKENS * OUTPUT_PRICE) // 1_000_000)


async def _asked(caller: Caller, path: str, message: str, tier: str, model: str = FLEX_MODEL) -> Reply:
    talk = [{"role": "user", "content": message}]
    bodies: dict[str, dict[str, Any]] = {
        "/api/endpoint": {"messages": talk, "options": {"service_tier": tier}},
        "/v1/chat/completions": {"messages": talk, "service_tier": tier},
        "/v1/responses": {"input": message, "service_tier": tier},
        "/v1/messages": {"messages": talk, "max_tokens": 100, "service_tier": tier},
    }
    return await caller.request("POST", path, json={"model": model, **bodies[path]})


SURFACES = ("/api/endpoint", "/v1/chat/completions", "/v1/responses", "/v1/messages")


@pytest.mark.parametrize("path", SURFACES)
async def test_a_request_at_flex_is_charged_its_price_whatever_tier_serves(
    caller: Caller, books: asyncpg.Pool, path: str
) -> None:
    before = await caller.settled(books)
    for served in ("flex", "default"):
        message = told(tokens=TOKENS, served=served)
        reply = await _asked(caller, path, message, "flex")
        assert reply.status == 200, reply.body
        after = await caller.settled(books)
        assert before - after == _cost_nano(message)
        before = after
        if path in {"/v1/chat/completions", "/v1/responses"}:
            assert reply.json["service_tier"] == served
        receipt = (await caller.request("GET", f"/api/requests/{reply.headers['x-request-id']}")).json["result"][
            "receipt"
        ]
        assert (receipt["service_tier"], receipt["service_tier_served"]) == ("flex", served)
        assert abs(Decimal(receipt["saved_usd"]) - Decimal(receipt["charged_usd"])) <= Decimal("0.000000002")
        assert receipt["input_usd_per_mtok"] == "0.375"
    loss = await books.fetchval(
        "SELECT sum(amount_nano) FROM tier_losses l JOIN requests r ON r.id = l.request_id WHERE r.account_id = $1",
        caller.account_id,
    )
    assert abs(loss - _cost_nano(told(tokens=TOKENS, served="default"))) <= 1


@pytest.mark.parametrize("path", SURFACES)
async def test_a_model_without_the_tier_is_refused_by_the_fields_name_before_anything_is_held(
    caller: Caller, books: asyncpg.Pool, path: str
) -> None:
    before = await books.fetchval("SELECT count(*) FROM requests WHERE account_id = $1", caller.account_id)
    reply = await _asked(caller, path, told(), "flex", MODEL)
    assert reply.status == 400
    assert "service_tier" in reply.body.decode()
    assert await books.fetchval("SELECT count(*) FROM requests WHERE account_id = $1", caller.account_id) == before
    assert (await _asked(caller, path, told(tokens=1), "default", MODEL)).status == 200


async def test_other_tiers_are_refused_natively_and_left_out_elsewhere(caller: Caller) -> None:
    assert (await _asked(caller, "/api/endpoint", told(), "priority")).status == 400
    reply = await _asked(caller, "/v1/chat/completions", told(tokens=1), "priority")
    assert (reply.status, reply.headers["x-ignored"]) == (200, "service_tier")
    assert "service_tier" not in reply.json


async def test_the_same_key_with_another_tier_is_another_body(caller: Caller) -> None:
    body = {"model": FLEX_MODEL, "messages": [{"role": "user", "content": told(tokens=1)}]}
    for options, status in (({"service_tier": "flex"}, 200), ({"service_tier": "flex"}, 200), ({}, 422)):
        headers = {"Idempotency-Key": f"tier-{caller.account_id}"}
        reply = await caller.request("POST", "/api/endpoint", json=body | {"options": options}, headers=headers)
        assert reply.status == status, reply.body


async def test_missing_capacity_is_waited_out_and_costs_nothing(caller: Caller, books: asyncpg.Pool) -> None:
    before = await caller.settled(books)
    message = told(tokens=TOKENS, full=3, key=f"full-{caller.account_id}")
    reply = await _asked(caller, "/api/endpoint", message, "flex")
    assert reply.status == 200, reply.body
    assert before - await caller.settled(books) == _cost_nano(message)
    view = (await caller.request("GET", f"/api/requests/{reply.headers['x-request-id']}")).json["result"]
    assert view["attempts"] == 4


async def test_a_batch_at_flex_is_that_for_every_line_that_says_nothing_else(
    caller: Caller, books: asyncpg.Pool
) -> None:
    before = await caller.settled(books)
    message = told(tokens=TOKENS)
    lines = [line(f"id-{number}", message, FLEX_MODEL) for number in range(4)]
    lines += [line("plain", message, FLEX_MODEL, service_tier="default"), line("none", told(tokens=1), MODEL)]
    body = "\n".join(map(json.dumps, lines)).encode()
    reply = await caller.request("POST", "/api/batches?service_tier=flex", data=body, headers=NDJSON)
    assert reply.status == 201, reply.body
    batch = reply.json["result"]
    assert ["service_tier" in one["message"] for one in batch["errors"]] == [True]
    ended = await until(caller, batch["id"])
    assert (ended["state"], ended["counts"]["completed"], ended["counts"]["failed"]) == ("completed", 5, 1)
    assert [one["status"] for one in await results(caller, batch["id"])] == [1, 1, 1, 1, 1, 0]
    charged = before - await caller.settled(books)
    assert abs(charged - 6 * _cost_nano(message)) <= 1
    assert abs(Decimal(ended["saved_usd"]) * 10**9 - 4 * _cost_nano(message)) <= 4
    assert (await caller.request("POST", "/api/batches?service_tier=cheap", data=body, headers=NDJSON)).status == 400


async def test_lines_of_openais_batches_say_their_tier_in_their_bodies(caller: Caller, books: asyncpg.Pool) -> None:
    before = await caller.settled(books)
    message = told(tokens=TOKENS, served="default")
    body = {"model": FLEX_MODEL, "messages": [{"role": "user", "content": message}], "service_tier": "flex"}
    said = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("file", json.dumps(said).encode(), filename="lines.jsonl")
    file = (await caller.request("POST", "/v1/files", data=form)).json
    asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = (await caller.request("POST", "/v1/batches", json=asked)).json
    ended = await until(caller, batch["id"])
    assert ended["counts"]["completed"] == 1
    assert before - await caller.settled(books) == _cost_nano(message)
    shown = (await caller.request("GET", f"/v1/batches/{batch['id']}")).json
    output = (await caller.request("GET", f"/v1/files/{shown['output_file_id']}/content")).json
    assert output["response"]["body"]["service_tier"] == "default"
    assert Decimal(shown["saved_usd"]) > 0


async def test_the_command_estimates_before_and_tells_what_was_saved(new_caller: NewCaller, tmp_path: Path) -> None:
    caller = await new_caller()
    cli = Cli(tmp_path, REBOOTML_URL=caller.urls[0], REBOOTML_API_KEY=caller.key)
    path = tmp_path / "lines.ndjson"
    lines = [line(f"id-{n}", told(tokens=TOKENS), FLEX_MODEL, max_tokens=50) for n in range(3)]
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    batch = await cli.json("batch", "submit", path.name, "--flex", "--watch")
    assert batch["estimate"]["counted"] == 3
    assert float(batch["estimate"]["flex_usd"]) * 2 == pytest.approx(float(batch["estimate"]["default_usd"]), rel=0.01)
    assert 0 < float(batch["charged_usd"]) < float(batch["estimate"]["flex_usd"])
    shown = await cli.json("batch", "show", batch["id"])
    assert float(shown["saved_usd"]) == pytest.approx(float(shown["charged_usd"]), rel=0.01)
    ran = await cli("batch", "submit", path.name, "--flex")
    assert (ran.status, ran.err.startswith("estimate: about")) == (0, True)


async def test_interactive_requests_do_not_wait_for_calls_at_flex(cluster: Cluster, caller: Caller) -> None:
    """More of them than all slots, all held by the vendor."""
    key = f"slots-{caller.account_id}"
    held = told(tokens=TOKENS, hold=0, key=key)
    for _ in range(130):
        body = {"model": FLEX_MODEL, "messages": [{"role": "user", "content": held}]}
        options = {"service_tier": "flex", "max_tokens": 16}
        reply = await caller.request(
            "POST", "/api/endpoint", json=body | {"options": options}, headers={"Prefer": "respond-async"}
        )
        assert reply.status == 202, reply.body
    share = 3 * 40  # of three workers with a hundred slots each
    try:
        await cluster.simulator.call_begins(key, share)
        assert (await caller.chat(told(tokens=1))).status == 200
        assert len(await cluster.simulator.calls(key)) == share
    finally:
        await caller.release(key)


async def test_a_list_of_flex_prices_is_what_is_charged(caller: Caller) -> None:
    models = {one["name"]: one for one in (await caller.request("GET", "/api/models")).json["result"]}
    assert models[FLEX_MODEL]["flex"]["input_usd_per_mtok"] == Decimal("0.375")
    assert models[MODEL]["flex"] is None
    assert await sent(caller, [line("a", told(), FLEX_MODEL, service_tier="flex")])
