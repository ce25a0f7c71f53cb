"""A conversation of ten turns whose beginning the vendor keeps, with each vendor that does: what is charged is worked out by
hand from the company's file and from what the answers say of their tokens, to the nano-dollar.
"""

from __future__ import annotations

import tomllib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from shared.ledger.check import check_ledger
from tests.e2e.anthropic_client import client_of as anthropic_of
from tests.e2e.openai_client import client_of as openai_of
from tests.e2e.overlaid import Overlaid
from tests.harness.caller import Caller, told
from tests.harness.cluster import Cluster

TURNS, OUTPUT = 10, 40
COMPANIES = Path(__file__).parents[2] / "shared" / "catalogue" / "companies"
RULES = "You are a careful assistant of a very large shop, and these are its rules. " * 300
"""About 5,600 tokens, as the simulator counts them: more than any vendor's least."""
MARK = {"type": "ephemeral"}


class Turn(NamedTuple):
    """What one answer says: tokens of its prompt, and of these what was read from the cache and written to it."""

    prompt: int
    read: int
    written: int
    output: int
    text: str


Ask = Callable[[Caller, str, list[dict[str, Any]], str], Awaitable[Turn]]


async def claude(caller: Caller, rules: str, talk: list[dict[str, Any]], form: str) -> Turn:
    """As a coding agent marks it: the instructions, and the newest message."""
    *earlier, last = talk
    marked = {**last, "content": [{"type": "text", "text": last["content"], "cache_control": MARK}]}
    body: dict[str, Any] = {
        "model": "anthropic-claude-sonnet-4-6",
        "max_tokens": OUTPUT,
        "system": [{"type": "text", "text": rules, "cache_control": MARK}],
        "messages": [*earlier, marked],
    }
    client = anthropic_of(caller)
    if form == "stream":
        async with client.messages.stream(**body) as events:
            message = await events.get_final_message()
    else:
        message = await client.messages.create(**body)
        assert message.usage.cache_creation is not None
        assert message.usage.cache_creation.ephemeral_5m_input_tokens == message.usage.cache_creation_input_tokens
    usage = message.usage
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    text = "".join(block.text for block in message.content if block.type == "text")
    return Turn(usage.input_tokens + read + written, read, written, usage.output_tokens, text)


def completion(model: str) -> Ask:
    async def ask(caller: Caller, rules: str, talk: list[dict[str, Any]], form: str) -> Turn:
        body: dict[str, Any] = {
            "model": model,
            "max_completion_tokens": OUTPUT,
            "messages": [{"role": "system", "content": rules}, *talk],
        }
        async with openai_of(caller) as counted:
            completions: Any = counted.client.chat.completions
            if form == "stream":
                options = {"include_usage": True}
                chunks = [
                    chunk async for chunk in await completions.create(**body, stream=True, stream_options=options)
                ]
                text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
                usage = chunks[-1].usage
            else:
                answer = await completions.create(**body)
                text, usage = answer.choices[0].message.content, answer.usage
        details = usage.prompt_tokens_details
        return Turn(
            usage.prompt_tokens, details.cached_tokens, details.cache_write_tokens, usage.completion_tokens, text
        )

    return ask


async def loop_of_tools(caller: Caller, rules: str, talk: list[dict[str, Any]], form: str) -> Turn:
    """With an effort and a tool, so that OpenAI's other API serves it. The rules are marked, and the newest message."""
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    *earlier, last = talk
    marked = {**last, "content": [{"type": "input_text", "text": last["content"], **mark}]}
    asked: Any = {
        "model": "openai-gpt-5.6-terra",
        "max_output_tokens": 2 * OUTPUT,
        "store": False,
        "reasoning": {"effort": "low"},
        "prompt_cache_key": "shop",
        "prompt_cache_options": {"mode": "explicit"},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}],
        "tool_choice": "none",
        "input": [{"role": "system", "content": [{"type": "input_text", "text": rules, **mark}]}, *earlier, marked],
    }
    async with openai_of(caller) as counted:
        if form == "stream":
            async with counted.client.responses.stream(**asked) as events:
                answer: Any = await events.get_final_response()
        else:
            answer = await counted.client.responses.create(**asked)
    usage = answer.usage
    details = usage.input_tokens_details
    return Turn(
        usage.input_tokens, details.cached_tokens, details.cache_write_tokens, usage.output_tokens, answer.output_text
    )


def row_of(company: str, name: str) -> dict[str, Any]:
    """The row as it is written."""
    text = (COMPANIES / f"{company}.toml").read_text(encoding="utf-8")
    return next(row for row in tomllib.loads(text, parse_float=Decimal)["model"] if row["name"] == name)


def nano_usd(row: dict[str, Any], turn: Turn, factor: Decimal) -> int:
    """A dollar for a million tokens is 1,000 nano-dollars for one; the sum is rounded up."""
    rest = turn.prompt - turn.read - turn.written
    usd = rest * row["input"] + turn.read * row["cached"] + turn.output * row["output"]
    usd += turn.written * row.get("cache_write", row["input"])
    nano: int = ceil(usd * factor * 1_000)
    return nano


@pytest.fixture(scope="module")
def cluster(overlaid: Overlaid) -> Cluster:
    """Which has every vendor."""
    return overlaid.cluster


@pytest.fixture(scope="module")
async def books(cluster: Cluster) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(cluster.postgres.url, min_size=1, max_size=2) as pool:
        yield pool


@pytest.mark.parametrize(
    ("company", "name", "ask", "step"),
    [
        ("anthropic", "anthropic-claude-sonnet-4-6", claude, 1),
        ("openai", "openai-gpt-5.6-terra", completion("openai-gpt-5.6-terra"), 1),
        ("openai", "openai-gpt-5.6-terra", loop_of_tools, 1),
        ("openai", "openai-gpt-4o", completion("openai-gpt-4o"), 128),
        ("google", "google-gemini-3.1-pro-preview", completion("google-gemini-3.1-pro-preview"), 128),
        ("deepseek", "deepseek-flash", completion("deepseek-flash"), 64),
    ],
)
async def test_a_cached_conversation_costs_what_its_vendor_takes_for_it(
    caller: Caller,
    books: asyncpg.Pool,
    company: str,
    name: str,
    ask: Ask,
    step: int,
    record_property: Callable[[str, object], None],
) -> None:
    row, rules = row_of(company, name), f"{uuid.uuid4()} {RULES}"
    credit = await caller.settled(books)
    talk: list[dict[str, Any]] = []
    before, by_hand, uncached = 0, 0, 0
    total = Turn(0, 0, 0, 0, "")
    for number in range(TURNS):
        talk.append({"role": "user", "content": told(tokens=OUTPUT, cache=1) + f" Question {number}: and then?"})
        turn = await ask(caller, rules, talk, "stream" if number % 2 else "json")
        talk.append({"role": "assistant", "content": turn.text})
        assert turn.read == before // step * step
        assert turn.written == (turn.prompt - turn.read if "cache_write" in row else 0)
        before = turn.prompt
        total = Turn(*(a + b for a, b in zip(total, turn, strict=True)))  # type: ignore[operator]
        receipt = (await caller.request("GET", "/api/requests?limit=1")).json["result"]["requests"][0]
        factor = await _off_peak(caller, receipt["id"], row)
        by_hand += nano_usd(row, turn, factor)
        uncached += nano_usd(row, turn._replace(read=0, written=0), factor)
    assert credit - await caller.settled(books) == by_hand
    assert by_hand < uncached * 2 // 3
    apis = await books.fetch("SELECT DISTINCT api FROM requests WHERE account_id = $1", caller.account_id)
    assert [one["api"] == "openai-responses" for one in apis] == [ask is loop_of_tools]
    record_property("told", f"{name} {total[:4]} charged {by_hand} uncached {uncached} nano-USD")
    assert (await check_ledger(books)).violations == []


async def _off_peak(caller: Caller, request_id: str, row: dict[str, Any]) -> Decimal:
    """What the row's prices are multiplied with at the hour at which the request was admitted."""
    receipt = (await caller.request("GET", f"/api/requests/{request_id}")).json["result"]["receipt"]
    factor: Decimal = Decimal(receipt["input_usd_per_mtok"]) / row["input"]
    assert factor in {1, row["off_peak"]["factor"] if "off_peak" in row else 1}
    return factor


RATES = {None: 3_000, "5m": 3_750, "1h": 6_000}
"""Nano-USD a token of what anthropic-claude-sonnet-4-6 is asked, as it is held for."""


@pytest.mark.parametrize("ttl", RATES)
async def test_what_is_kept_for_an_hour_is_held_for_told_and_charged_as_such(
    caller: Caller, books: asyncpg.Pool, ttl: str | None
) -> None:
    rules, question = f"{uuid.uuid4()} {RULES}", told(tokens=OUTPUT, cache=1)
    credit = await caller.settled(books)
    mark = {"cache_control": {**MARK, "ttl": ttl}} if ttl else {}
    message = await anthropic_of(caller).messages.create(
        model="anthropic-claude-sonnet-4-6",
        max_tokens=OUTPUT,
        system=[{"type": "text", "text": rules, **mark}],  # type: ignore[typeddict-item]
        messages=[{"role": "user", "content": question}],
    )
    usage, created = message.usage, message.usage.cache_creation
    assert created is not None
    written = {"5m": created.ephemeral_5m_input_tokens, "1h": created.ephemeral_1h_input_tokens}
    assert [time for time, tokens in written.items() if tokens] == ([ttl] if ttl else [])
    assert usage.cache_creation_input_tokens == sum(written.values())
    cost = usage.input_tokens * 3_000 + sum(written.values()) * RATES[ttl] + OUTPUT * 15_000
    assert credit - await caller.settled(books) == cost
    receipt = (await caller.request("GET", f"/api/requests/{message.id}")).json["result"]["receipt"]
    assert (receipt["tokens_cache_written"], receipt["tokens_cache_written_long"]) == (
        sum(written.values()),
        written["1h"],
    )
    bound = len(rules.encode()) + len(question.encode()) + 2 * 8
    assert Decimal(receipt["hold_usd"]) * 10**9 == bound * RATES[ttl] + OUTPUT * 15_000
