"""Web pages that call the service: what their browser is told by the front door as it runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import PAGE
from tests.e2e.openai_client import asking
from tests.harness.caller import Caller, told

FROM_PAGE = {"Origin": PAGE}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/endpoint", "/api/batches/batch_1"])
async def test_a_preflight_needs_no_key(caller: Caller, path: str) -> None:
    caller.key = ""
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    reply = await caller.request("OPTIONS", path, headers=FROM_PAGE | asks)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["Access-Control-Allow-Origin"] == PAGE
    assert reply.headers["Access-Control-Allow-Headers"] == "authorization, content-type"


@pytest.mark.parametrize(
    ("fields", "key", "status"),
    [({}, None, 200), ({"stream": True}, None, 200), ({"n": "two"}, None, 400), ({}, "rml_wrong", 401)],
)
async def test_answers_streams_and_errors_may_be_read(
    caller: Caller, fields: dict[str, Any], key: str | None, status: int
) -> None:
    caller.key = key or caller.key
    reply = await caller.request(
        "POST", "/v1/chat/completions", json=asking(told(tokens=3)) | fields, headers=FROM_PAGE
    )
    assert reply.status == status
    assert reply.headers["Access-Control-Allow-Origin"] == PAGE
    assert reply.headers["Access-Control-Expose-Headers"] == "*"


async def test_what_is_not_there_may_be_read_too(caller: Caller) -> None:
    reply = await caller.request("POST", "/v1/embeddings", json={}, headers=FROM_PAGE)
    assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (404, PAGE)


async def test_a_page_of_another_origin_reads_nothing(caller: Caller) -> None:
    reply = await caller.request("GET", "/api/models", headers={"Origin": "https://elsewhere.example"})
    assert reply.status == 200
    assert "Access-Control-Allow-Origin" not in reply.headers
    assert reply.headers["Vary"] == "Origin"
