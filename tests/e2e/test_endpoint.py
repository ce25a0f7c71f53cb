"""`POST /api/endpoint` in its three forms, as the contract words them."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from deploy.simulator.answer import prompt_tokens
from tests.e2e.conftest import NewCaller
from tests.harness.caller import MODEL, Caller, cost_nano, expected, told


async def test_json_answer_has_exactly_the_fields_of_the_contract(caller: Caller) -> None:
    message = told(tokens=40, unicode=1)
    reply = await caller.chat(message)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("application/json")
    assert reply.json == {
        "status": 1,
        "result": {
            "response": expected(message),
            "tokens_input": prompt_tokens([message]),
            "tokens_output": 40,
            "price": Decimal(cost_nano(message, 40)) / 10**9,
            "model": MODEL,
            "request": [{"role": "user", "content": message}],
        },
    }


async def test_json_without_stats_leaves_out_tokens_and_price(caller: Caller) -> None:
    reply = await caller.chat(told(), stats=False)
    assert set(reply.json["result"]) == {"response", "model", "request"}


async def test_raw_stream_is_the_text_and_nothing_else(caller: Caller) -> None:
    message = told(tokens=50, unicode=1, split=1, surrogate=1)
    reply = await caller.chat(message, stream=True)
    assert reply.body.decode() == expected(message)
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["X-Accel-Buffering"] == "no"
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.complete


async def test_raw_stream_with_stats_ends_with_one_record(caller: Caller) -> None:
    message = told(tokens=12)
    reply = await caller.chat(message, stream=True, stats=True)
    text, _, record = reply.body.partition(b"\x1e")
    assert text.decode() == expected(message)
    assert record.endswith(b"}\n")
    assert json.loads(record, parse_float=Decimal) == {
        "tokens_input": prompt_tokens([message]),
        "tokens_output": 12,
        "price": Decimal(cost_nano(message, 12)) / 10**9,
    }


@pytest.mark.parametrize("options", [{}, {"stats": False}], ids=["", "without stats"])
async def test_event_stream_numbers_its_events_and_ends_with_done(caller: Caller, options: dict[str, Any]) -> None:
    message = told(tokens=30, pace_ms=5)
    reply = await caller.chat(message, stream=True, headers={"Accept": "text/event-stream"}, **options)
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    blocks = [block for block in reply.body.decode().split("\n\n") if block and not block.startswith(":")]
    events = [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]
    assert [event["id"] for event in events] == [str(number) for number in range(len(events))]
    assert [event["event"] for event in events] == ["chunk"] * (len(events) - 1) + ["done"]
    assert "".join(json.loads(event["data"])["text"] for event in events[:-1]) == expected(message)
    done = json.loads(events[-1]["data"], parse_float=Decimal)
    assert done == {
        "tokens_input": prompt_tokens([message]),
        "tokens_output": 30,
        "price": Decimal(cost_nano(message, 30)) / 10**9,
        "finish_reason": "stop",
    }


async def test_event_stream_is_kept_alive_before_the_first_token(caller: Caller) -> None:
    reply = await caller.chat(told(first_ms=1200), stream=True, headers={"Accept": "text/event-stream"})
    assert reply.body.startswith(b": keep-alive\n\n")
    assert b"event: done" in reply.body


async def test_chunks_arrive_while_the_model_still_writes(caller: Caller) -> None:
    """The vendor stops after ten tokens until we have seen them: nothing may wait for the end."""
    message = told(tokens=20, hold=10, key="while-writing")
    body = {"model": MODEL, "messages": [{"role": "user", "content": message}], "options": {"stream": True}}
    text = expected(message)
    async with caller.session.post(caller.url("/api/endpoint"), json=body, headers=caller.authorization) as response:
        received = b""
        while len(received) < len(text.encode()) // 3:
            received += await asyncio.wait_for(response.content.readany(), 20)
        await caller.release("while-writing")
        received += await response.content.read()
    assert received.decode() == text


async def test_explicit_output_limit_is_held(caller: Caller) -> None:
    reply = await caller.chat(told(tokens=100), max_tokens=8)
    assert reply.json["result"]["tokens_output"] == 8
    assert reply.json["result"]["response"].startswith("[simulated")
    assert reply.headers["x-output-limit"] == "8"


async def test_omitted_output_limit_is_disclosed(caller: Caller) -> None:
    assert (await caller.chat(told())).headers["x-output-limit"] == "4096"


async def test_omitted_output_limit_is_clamped_to_what_the_account_can_afford(new_caller: NewCaller) -> None:
    poor = await new_caller(credit=300_000)  # 500 tokens of output
    reply = await poor.chat(told(tokens=3))
    assert reply.status == 200
    assert 256 <= int(reply.headers["x-output-limit"]) < 500


async def test_below_256_affordable_tokens_credit_is_insufficient(new_caller: NewCaller) -> None:
    poorer = await new_caller(credit=150_000)  # 250 tokens
    reply = await poorer.chat(told())
    assert reply.status == 402
    assert reply.error["code"] == "insufficient_credit"
    assert Decimal(reply.error["available_usd"]) == Decimal("0.00015")
    assert Decimal(reply.error["needed_usd"]) > Decimal("0.00015")


async def test_stop_sequences_and_sampling_reach_the_vendor(caller: Caller) -> None:
    message = told(tokens=30)
    word = expected(message).split()[6]
    reply = await caller.chat(message, stop=[word], temperature=0.5, top_p=1)
    assert reply.json["result"]["response"] == expected(message).partition(word)[0]


async def test_content_may_be_a_list_of_text_parts(caller: Caller) -> None:
    content = [{"type": "text", "text": "one "}, {"type": "text", "text": told(tokens=5)}]
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}]}
    reply = await caller.request("POST", "/api/endpoint", json=body)
    assert reply.json["result"]["tokens_output"] == 5
    assert reply.json["result"]["request"] == body["messages"]


async def test_every_answer_carries_its_own_request_id(caller: Caller) -> None:
    replies = [
        await caller.chat(told()),
        await caller.request("GET", "/nowhere"),
        await caller.request("GET", "/healthz"),
    ]
    ids = [reply.headers["x-request-id"] for reply in replies]
    assert all(one.startswith("req_") for one in ids)
    assert len(set(ids)) == 3


async def test_what_was_spent_and_what_is_left_is_the_credit(caller: Caller, books: asyncpg.Pool) -> None:
    messages = [told(tokens=tokens, key=f"spent{tokens}") for tokens in range(1, 15)]
    replies = await asyncio.gather(*(caller.chat(message) for message in messages))
    spent = sum(int(reply.json["result"]["price"] * 10**9) for reply in replies)
    assert await caller.settled(books) == 1_000_000_000 - spent
    assert Decimal((await caller.wallet())["balance_usd"]) * 10**9 == 1_000_000_000 - spent


async def test_the_request_log_has_prices_tokens_and_no_text(caller: Caller, books: asyncpg.Pool) -> None:
    message = told(tokens=7, cached=3)
    reply = await caller.chat(message)
    await caller.settled(books)
    row = await books.fetchrow("SELECT * FROM requests WHERE id = $1", reply.headers["x-request-id"])
    assert row is not None
    assert (row["state"], row["hold_state"], row["finish_reason"]) == ("succeeded", "settled", "stop")
    assert (row["tokens_output"], row["tokens_cached"], row["usage_estimated"]) == (7, 3, False)
    assert row["vendor_cost_nano"] == row["charged_nano"] == int(reply.json["result"]["price"] * 10**9)
    assert row["messages"] is None
    assert message not in str(dict(row))


@pytest.mark.parametrize("form", ["json", "stream"])
async def test_a_failure_before_the_first_byte_is_free_and_has_a_status(
    caller: Caller, books: asyncpg.Pool, form: str
) -> None:
    reply = await caller.chat(told(status=500), stream=form == "stream")
    assert (reply.status, reply.error["code"]) == (502, "provider_error")
    assert await caller.settled(books) == 1_000_000_000


async def test_a_failure_after_the_first_byte_is_a_record_and_a_broken_transfer(
    caller: Caller, books: asyncpg.Pool
) -> None:
    message = told(tokens=40, pace_ms=2, fault="cut", after=20)
    reply = await caller.chat(message, stream=True)
    text, _, record = reply.body.partition(b"\x1e")
    assert reply.status == 200
    assert not reply.complete
    assert text
    assert expected(message).startswith(text.decode())
    assert record.endswith(b"}\n")
    assert json.loads(record)["error"]["code"] == "provider_error"
    assert 0 < 1_000_000_000 - await caller.settled(books) <= cost_nano(message, 40)


async def test_a_failing_event_stream_ends_with_an_error_event(caller: Caller) -> None:
    message = told(tokens=40, pace_ms=2, fault="early_end", after=20)
    reply = await caller.chat(message, stream=True, headers={"Accept": "text/event-stream"})
    last = reply.body.decode().strip().split("\n\n")[-1]
    assert "event: error" in last
    assert json.loads(last.partition("data: ")[2])["error"]["code"] == "provider_error"
