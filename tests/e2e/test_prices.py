"""Prices as vendors bill them, to the nano-dollar, through the whole service: written tokens, long requests, days, hours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from deploy.simulator.answer import prompt_tokens
from shared.chat import Chat, Message
from shared.input_tokens import input_bound
from shared.ledger.check import check_ledger
from shared.money import nano_to_usd
from tests.e2e.conftest import NewCaller
from tests.e2e.overlaid import ABOVE, VENDORS, Overlaid
from tests.harness.caller import Caller, Reply, told
from tests.harness.cluster import Cluster
from tests.harness.support import eventually_true

OUTPUT, CACHED, WRITTEN, WRITTEN_LONG = 5, 100, 300, 50
MICRO = 1_000
"""A dollar for a million tokens, in nano-USD a token. The rows' `price_factor` is 1.5, so prices are 1.5 times theirs."""
WRITE = {"openai": (WRITTEN, 0), "bedrock": (WRITTEN, WRITTEN_LONG), "deepseek": (0, 0), "gemini": (0, 0)}
"""What each vendor reports of what it wrote: all of it, and how much of that it keeps longer."""


@pytest.fixture(scope="module")
def cluster(overlaid: Overlaid) -> Cluster:
    return overlaid.cluster


@pytest.fixture(scope="module")
async def books(cluster: Cluster) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=2) as pool:
        yield pool


def _message(tokens: int, **script: Any) -> str:
    """One of which the simulator says that it has so many tokens."""
    text = told(tokens=OUTPUT, cached=CACHED, written=WRITTEN, written_long=WRITTEN_LONG, **script)
    message = text + " " * (4 * (tokens - prompt_tokens([text])))
    assert prompt_tokens([message]) == tokens
    return message


def _cost(provider: str, tokens: int) -> int:
    """Worked out by hand from the row, in nano-USD."""
    written, written_long = WRITE[provider]
    uncached, short = tokens - CACHED - written, written - written_long
    if tokens <= ABOVE:
        tenths = uncached * 30 + CACHED * 1.5 + short * 37.5 + written_long * 75 + OUTPUT * 150
    else:
        tenths = uncached * 60 + CACHED * 3 + short * 82.5 + written_long * 150 + OUTPUT * 225
    return round(tenths * MICRO / 10)


async def _ended(caller: Caller, reply: Reply) -> Any:
    """The request as its owner sees it, when it is settled."""
    path = f"/api/requests/{reply.headers['x-request-id']}"

    async def receipt() -> Any:
        result = (await caller.request("GET", path)).json["result"]
        return result if result["ended_at"] else None

    return await eventually_true(receipt, "it is settled")


@pytest.mark.parametrize("provider", VENDORS)
@pytest.mark.parametrize("tokens", [ABOVE, ABOVE + 1])
@pytest.mark.parametrize("form", ["json", "stream"])
async def test_what_each_vendor_reports_is_charged_as_it_bills_it_also_beyond_the_threshold(
    caller: Caller, books: asyncpg.Pool, provider: str, tokens: int, form: str
) -> None:
    credit, stream = await caller.settled(books), form == "stream"
    reply = await caller.chat(
        _message(tokens), model=f"tiered-{provider}", max_tokens=OUTPUT, stream=stream, stats=True
    )
    assert reply.status == 200, reply.body
    cost, (written, written_long) = _cost(provider, tokens), WRITE[provider]
    stats = json.loads(reply.body.partition(b"\x1e")[2]) if stream else reply.json["result"]
    assert (stats["tokens_input"], stats["tokens_output"]) == (tokens, OUTPUT)
    assert round(float(stats["price"]) * 1e9) == cost
    assert credit - await caller.settled(books) == cost
    receipt = (await _ended(caller, reply))["receipt"]
    assert receipt["charged_usd"] == nano_to_usd(cost)
    assert (receipt["tokens_input"], receipt["tokens_cached"]) == (tokens, CACHED)
    assert (receipt["tokens_cache_written"], receipt["tokens_cache_written_long"]) == (written, written_long)
    assert [receipt[f"{name}_usd_per_mtok"] for name in ("input", "output", "cached_input")] == ["3", "15", "0.15"]
    assert [receipt[f"cache_write{name}_usd_per_mtok"] for name in ("", "_long")] == ["3.75", "7.5"]
    assert receipt["long_context"] == {
        "input_usd_per_mtok": "6",
        "output_usd_per_mtok": "22.5",
        "cached_input_usd_per_mtok": "0.3",
        "cache_write_usd_per_mtok": "8.25",
        "cache_write_long_usd_per_mtok": "15",
        "above_tokens": ABOVE,
    }
    row = await books.fetchrow("SELECT * FROM requests WHERE id = $1", reply.headers["x-request-id"])
    assert row is not None
    assert row["charged_nano"] == cost == round(row["vendor_cost_nano"] * 1.5)
    usage = (await caller.request("GET", "/api/usage")).json["result"]["total"]
    assert (usage["tokens_cached"], usage["tokens_cache_written"]) == (CACHED, written)
    assert (await check_ledger(books)).violations == []


@pytest.mark.parametrize("provider", VENDORS)
async def test_tokens_that_contradict_each_other_are_replaced_by_an_estimate(
    caller: Caller, books: asyncpg.Pool, provider: str
) -> None:
    reply = await caller.chat(_message(ABOVE, usage="contradictory"), model=f"tiered-{provider}", max_tokens=OUTPUT)
    await caller.settled(books)
    receipt = (await _ended(caller, reply))["receipt"]
    assert (receipt["estimated"], receipt["tokens_cached"], receipt["tokens_cache_written"]) == (True, 0, 0)
    assert float(receipt["charged_usd"]) < float(receipt["hold_usd"])


@pytest.mark.parametrize(("more", "status"), [(0, 200), (-1, 402)])
@pytest.mark.parametrize("reach", [ABOVE, ABOVE + 1])
async def test_an_account_needs_what_the_dearest_tokens_would_cost_at_the_price_that_they_can_reach(
    new_caller: NewCaller, books: asyncpg.Pool, more: int, status: int, reach: int
) -> None:
    """8.25 or 3.75 dollars for a million tokens of input, of which none is wished to be kept long, 22.5 or 15 of output."""
    message = told(tokens=OUTPUT, written=10)
    message += "x" * (reach - input_bound(Chat([Message("user", message)]), None))
    assert input_bound(Chat([Message("user", message)]), None) == reach
    hold = reach * 3_750 + OUTPUT * 15_000 if reach == ABOVE else reach * 8_250 + OUTPUT * 22_500
    caller = await new_caller(hold + more)
    reply = await caller.chat(message, model="tiered-bedrock", max_tokens=OUTPUT)
    assert reply.status == status, reply.body
    if status == 402:
        assert reply.json["error"]["needed_usd"] == nano_to_usd(hold)
    else:
        await caller.settled(books)
        assert (await _ended(caller, reply))["hold_usd"] == nano_to_usd(hold)


async def test_an_output_limit_shrinks_to_what_is_left_at_the_price_of_long_requests(new_caller: NewCaller) -> None:
    message = told(tokens=OUTPUT) + "x" * ABOVE
    bound = input_bound(Chat([Message("user", message)]), None)
    caller = await new_caller(bound * 8_250 + 300 * 22_500 + 22_499)
    reply = await caller.chat(message, model="tiered-openai", max_tokens=1_000)
    assert (reply.status, reply.headers["x-output-limit"]) == (200, "300")


@pytest.mark.parametrize(
    ("model", "input_usd", "output_usd"), [("dated", "3", "30"), ("at-peak", "3", "15"), ("off-peak", "1.5", "7.5")]
)
async def test_the_price_of_this_day_and_hour_is_listed_pinned_and_charged(
    caller: Caller, books: asyncpg.Pool, model: str, input_usd: str, output_usd: str
) -> None:
    (listed,) = [one for one in (await caller.request("GET", "/api/models")).json["result"] if one["name"] == model]
    assert [str(listed[f"{name}_usd_per_mtok"]) for name in ("input", "output")] == [input_usd, output_usd]
    assert [change["from"] for change in listed["price_changes"]] == (["2999-01-01"] if model == "dated" else [])
    reply = await caller.chat(told(tokens=OUTPUT), model=model)
    await caller.settled(books)
    ended = await _ended(caller, reply)
    receipt, tokens = ended["receipt"], ended["tokens_input"]
    assert [receipt[f"{name}_usd_per_mtok"] for name in ("input", "output")] == [input_usd, output_usd]
    nano = tokens * float(input_usd) * MICRO + OUTPUT * float(output_usd) * MICRO
    assert ended["charged_usd"] == nano_to_usd(round(nano))


async def test_a_line_of_a_batch_is_charged_in_the_same_way(caller: Caller, books: asyncpg.Pool) -> None:
    credit = await caller.settled(books)
    lines = [
        {
            "custom_id": str(tokens),
            "model": "tiered-bedrock",
            "messages": [{"role": "user", "content": _message(tokens)}],
            "options": {"max_tokens": OUTPUT},
        }
        for tokens in (ABOVE, ABOVE + 1)
    ]
    body = "\n".join(map(json.dumps, lines)).encode()
    reply = await caller.request("POST", "/api/batches", data=body, headers={"Content-Type": "application/x-ndjson"})
    assert reply.status == 201, reply.body
    path = f"/api/batches/{reply.json['result']['id']}"

    async def ended() -> Any:
        batch = (await caller.request("GET", path)).json["result"]
        return batch if batch["state"] == "completed" else None

    batch = await eventually_true(ended, "the batch is completed", 30)
    cost = sum(_cost("bedrock", tokens) for tokens in (ABOVE, ABOVE + 1))
    assert credit - await caller.settled(books) == cost
    assert batch["charged_usd"] == nano_to_usd(cost)
    assert (await check_ledger(books)).violations == []


@pytest.mark.parametrize("form", ["json", "stream"])
async def test_openais_and_anthropics_clients_see_the_parts_where_their_vendors_say_them(
    caller: Caller, form: str
) -> None:
    stream = form == "stream"
    message: Any = [{"role": "user", "content": _message(ABOVE)}]
    base = caller.urls[0]
    async with AsyncOpenAI(base_url=f"{base}/v1", api_key=caller.key) as openai:
        asked: Any = {"model": "tiered-openai", "messages": message, "max_completion_tokens": OUTPUT}
        if stream:
            chunks = await openai.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
            usage = [chunk.usage async for chunk in chunks][-1]
        else:
            usage = (await openai.chat.completions.create(**asked)).usage
        assert (usage.prompt_tokens, usage.completion_tokens) == (ABOVE, OUTPUT)
        details = usage.prompt_tokens_details
        assert (details.cached_tokens, details.cache_write_tokens) == (CACHED, WRITTEN)
    async with AsyncAnthropic(base_url=base, api_key=caller.key) as anthropic:
        asked = {"model": "tiered-bedrock", "messages": message, "max_tokens": OUTPUT}
        if stream:
            events = [event async for event in await anthropic.messages.create(**asked, stream=True)]
            said: Any = next(event.usage for event in events if event.type == "message_delta")
        else:
            said = (await anthropic.messages.create(**asked)).usage
        assert (said.input_tokens, said.output_tokens) == (ABOVE - CACHED - WRITTEN, OUTPUT)
        assert (said.cache_read_input_tokens, said.cache_creation_input_tokens) == (CACHED, WRITTEN)
