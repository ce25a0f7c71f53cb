"""A model answers to its aliases on every surface, and what is told and kept has its public name."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import anthropic
import asyncpg
import openai
import pytest

from shared.catalogue.models import load_catalogue
from tests.e2e import anthropic_client, openai_client, test_batches, test_openai_batches
from tests.harness.caller import MODEL, Caller, expected, told

ALIAS, VENDORS_ID, PREFIXED = "gpt-4o-mini", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"
CLAUDE = "us.anthropic.claude-3-5-sonnet-20241022-v2:0"


async def kept_model(caller: Caller, books: asyncpg.Pool, request_id: str) -> str:
    await caller.settled(books)
    row: str = await books.fetchval("SELECT model FROM requests WHERE id = $1", request_id)
    shown = (await caller.request("GET", f"/api/requests/{request_id}")).json["result"]
    assert shown["model"] == row
    return row


@pytest.mark.parametrize("name", [ALIAS, VENDORS_ID, PREFIXED])
async def test_openais_client_asks_by_another_name(caller: Caller, books: asyncpg.Pool, name: str) -> None:
    text = told(tokens=3)
    async with openai_client.client_of(caller) as (client, _):
        raw = await client.chat.completions.with_raw_response.create(**openai_client.asking(text, model=name))
        stream = await client.chat.completions.create(**openai_client.asking(text, model=name, stream=True))
        chunks = [chunk async for chunk in stream]
    whole = raw.parse()
    assert (whole.model, whole.choices[0].message.content) == (MODEL, expected(text))
    assert "x-model-successor" not in raw.headers
    assert {chunk.model for chunk in chunks} == {MODEL}
    for request_id in (whole.id, chunks[0].id):
        assert await kept_model(caller, books, request_id) == MODEL


async def test_anthropics_client_asks_by_another_name(caller: Caller, books: asyncpg.Pool) -> None:
    body = anthropic_client.asked(told(tokens=3), model=ALIAS)
    async with anthropic_client.client_of(caller) as client:
        whole = await client.messages.create(**body)
        async with client.messages.stream(**body) as events:
            streamed = await events.get_final_message()
        counted = await client.messages.count_tokens(model=ALIAS, messages=body["messages"])
    assert counted.input_tokens > 0
    for message in (whole, streamed):
        assert message.model == MODEL
        assert await kept_model(caller, books, message.id) == MODEL


async def test_the_native_api_is_asked_by_another_name(caller: Caller, books: asyncpg.Pool) -> None:
    reply = await caller.chat(told(tokens=3), model=PREFIXED)
    assert reply.json["result"]["model"] == MODEL
    assert await kept_model(caller, books, reply.headers["x-request-id"]) == MODEL


async def test_lines_of_a_batch_ask_by_another_name(caller: Caller, books: asyncpg.Pool) -> None:
    sent = await test_batches.sent(caller, [test_batches.line("a", told(tokens=2), model=ALIAS)])
    await test_batches.until(caller, sent["id"])
    (native,) = await test_batches.results(caller, sent["id"])
    assert native["result"]["model"] == MODEL
    for url in ("/v1/chat/completions", "/v1/messages"):
        line = test_openai_batches.line("a", told(tokens=2), url, model=ALIAS, max_tokens=9)
        file = await test_openai_batches.send(caller, [line])
        made = (await test_openai_batches.create(caller, file["id"], url)).json
        batch = await test_openai_batches.until_ended(caller, made["id"])
        (one,) = await test_openai_batches.content(caller, batch["output_file_id"])
        assert one["response"]["body"]["model"] == MODEL
        assert await kept_model(caller, books, one["response"]["request_id"]) == MODEL


async def test_a_repeat_by_the_same_alias_is_the_same_request(caller: Caller) -> None:
    headers = {"Idempotency-Key": "by an alias"}
    first = await caller.chat(told(tokens=2), model=ALIAS, headers=headers)
    again = await caller.chat(told(tokens=2), model=ALIAS, headers=headers)
    assert (again.status, again.headers["Idempotent-Replayed"]) == (200, "true")
    assert "x-model-successor" not in again.headers
    assert again.json == first.json


@pytest.mark.parametrize(
    ("path", "listed_at"),
    [
        ("/api/endpoint", "/api/models"),
        ("/v1/chat/completions", "/v1/models"),
        ("/v1/messages", "/v1/models"),
        ("/v1/messages/count_tokens", "/v1/models"),
    ],
)
async def test_an_unknown_model_is_a_404_with_the_nearest_whatever_else_is_wrong(
    caller: Caller, path: str, listed_at: str
) -> None:
    for faults in ({}, {"budget_tokens": 7, "messages": 5}):
        body = {**openai_client.asking("hi", model="gpt-4o-minni"), "max_tokens": 9, **faults}
        if path == "/api/endpoint" and not faults:
            del body["max_tokens"]
        reply = await caller.request("POST", path, json=body)
        assert reply.status == 404
        assert b"model_not_found" in reply.body
        said = reply.json["error"]["message"]
        assert said.startswith(f"There is no model 'gpt-4o-minni'. The nearest are {MODEL}, ")
        assert said.endswith(f"; GET {listed_at} lists all of them.")


async def test_a_line_with_an_unknown_model_says_so_first(caller: Caller) -> None:
    bad = {**test_batches.line("a", "hi", model="gpt-4o-minni"), "colour": "red"}
    sent = await test_batches.sent(caller, [bad, test_batches.line("b", told())])
    assert (sent["errors"][0]["code"], MODEL in sent["errors"][0]["message"]) == ("model_not_found", True)
    lines = [
        test_openai_batches.line("a", "hi", model="gpt-4o-minni", colour="red"),
        test_openai_batches.line("b", told()),
    ]
    file = await test_openai_batches.send(caller, lines)
    made = (await test_openai_batches.create(caller, file["id"])).json
    assert made["errors"]["data"][0]["code"] == "model_not_found"


async def test_models_are_found_by_any_name_and_listed_by_their_public_ones(caller: Caller) -> None:
    public = "anthropic-claude-3-5-sonnet-v2"
    async with openai_client.client_of(caller) as (client, _):
        assert (await client.models.retrieve(CLAUDE)).id == public
        assert (await client.models.retrieve("anthropic/claude-3.5-sonnet")).id == public
        with pytest.raises(openai.NotFoundError, match="The nearest are"):
            await client.models.retrieve("gpt-4o-minni")
    for path in (CLAUDE, f"bedrock/{CLAUDE}", quote(f"bedrock/{CLAUDE}", safe="")):
        assert (await caller.request("GET", f"/v1/models/{path}")).json["id"] == public
    listed = {one["name"]: one["aliases"] for one in (await caller.request("GET", "/api/models")).json["result"]}
    assert listed[MODEL] == [VENDORS_ID, ALIAS]


async def test_anthropics_client_pages_through_the_models_both_ways(caller: Caller) -> None:
    names = [model.name for model in load_catalogue()]
    async with anthropic_client.client_of(caller) as client:
        assert [model.id async for model in client.models.list(limit=20)] == names
        backwards = await client.models.list(limit=20, before_id=names[-1])
        assert ([model.id for model in backwards.data], backwards.has_more) == (names[-21:-1], True)
        last = await client.models.list(limit=20, after_id=names[-3])
        assert ([model.id for model in last.data], last.has_more) == (names[-2:], False)
        beyond = await client.models.list(after_id=names[-1])
        assert (beyond.data, beyond.first_id, beyond.last_id, beyond.has_more) == ([], None, None, False)
        with pytest.raises(anthropic.BadRequestError, match="exclude each other"):
            await client.models.list(after_id=names[0], before_id=names[1])
        with pytest.raises(anthropic.NotFoundError):
            await client.models.list(after_id="no-such-model")
        one = await client.models.retrieve(CLAUDE)
    assert (one.id, one.lifecycle) == ("anthropic-claude-3-5-sonnet-v2", "retired")
    assert (one.max_input_tokens, one.max_tokens) == (200_000, 8_192)


async def test_codex_gets_its_own_form(caller: Caller) -> None:
    listing: Any = json.loads((await caller.request("GET", "/v1/models?client_version=0.169.0")).body)
    assert [model["slug"] for model in listing["models"]] == [model.name for model in load_catalogue()]
