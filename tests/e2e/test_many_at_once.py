"""Many callers at the same time: streams stay whole, and credit is never overspent."""

from __future__ import annotations

import asyncio

import asyncpg

from shared.ledger.check import check_ledger
from tests.e2e.conftest import NewCaller
from tests.harness.caller import cost_nano, expected, hold_nano, told

STREAMS, TOKENS = 200, 20
REQUESTS = 400


async def test_200_streams_through_two_front_doors_and_three_workers_are_byte_exact(
    new_caller: NewCaller, books: asyncpg.Pool
) -> None:
    caller = await new_caller()
    messages = [told(tokens=TOKENS, unicode=1, pace_ms=3, split=1, key=f"many{number}") for number in range(STREAMS)]
    replies = await asyncio.gather(*(caller.chat(message, stream=True) for message in messages))
    assert all(reply.complete for reply in replies)
    assert [reply.body.decode() for reply in replies] == [expected(message) for message in messages]
    assert await caller.settled(books) == 1_000_000_000 - sum(cost_nano(message, TOKENS) for message in messages)
    assert (await check_ledger(books)).violations == []


async def test_400_parallel_requests_on_credit_for_a_few_never_overspend(
    new_caller: NewCaller, books: asyncpg.Pool
) -> None:
    credit = 40_000
    caller = await new_caller(credit=credit)
    message = told(tokens=10, first_ms=6_000)  # all are decided before the first one is settled
    replies = await asyncio.gather(*(caller.chat(message, max_tokens=10) for _ in range(REQUESTS)))
    statuses = sorted({reply.status for reply in replies})
    paid = [int(reply.json["result"]["price"] * 10**9) for reply in replies if reply.status == 200]
    assert statuses == [200, 402]
    assert {reply.error["code"] for reply in replies if reply.status == 402} == {"insufficient_credit"}
    assert await caller.settled(books) == credit - sum(paid)
    assert paid == [cost_nano(message, 10)] * len(paid)
    assert len(paid) == credit // hold_nano(message, 10)  # all were held before the first was settled


async def test_credit_refused_while_held_is_available_again_afterwards(
    new_caller: NewCaller, books: asyncpg.Pool
) -> None:
    """No phantom refusals: what was only held comes back and can be spent."""
    caller = await new_caller(credit=30_000)
    await asyncio.gather(*(caller.chat(told(tokens=1, first_ms=100), max_tokens=20) for _ in range(50)))
    left = await caller.settled(books)
    message = told(tokens=1)
    while left >= hold_nano(message, 20):
        reply = await caller.chat(message, max_tokens=20)
        assert reply.status == 200
        left = await caller.settled(books)
    assert (await caller.chat(message, max_tokens=20)).status == 402
