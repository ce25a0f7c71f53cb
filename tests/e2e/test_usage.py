"""`GET /api/usage` as a caller sees it: exact sums of what ended, by day, model and key."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from shared.ids import new_id
from shared.ledger.api_keys import KeyRules, create_key
from shared.ledger.ledger import reserving, settling
from shared.money import nano_to_usd
from tests.e2e.conftest import NewCaller
from tests.harness.builders import a_reservation, a_settlement
from tests.harness.caller import MODEL, Caller, cost_nano, told

OTHER_MODEL = "openai-gpt-4o"
NOTHING = {
    "requests": 0,
    "failed": 0,
    "tokens_input": 0,
    "tokens_output": 0,
    "tokens_cached": 0,
    "tokens_cache_written": 0,
    "tokens_reasoning": 0,
    "charged_usd": "0",
}


async def _usage(caller: Caller, **query: str) -> Any:
    reply = await caller.request("GET", "/api/usage", params=query)
    assert reply.status == 200, reply.body
    return reply.json["result"]


async def test_without_a_query_it_is_the_last_thirty_days_by_day(caller: Caller) -> None:
    usage = await _usage(caller)
    today = datetime.now(UTC).date()
    assert usage == {
        "from": str(today - timedelta(days=29)),
        "to": str(today),
        "group_by": ["day"],
        "rows": [],
        "total": NOTHING,
    }


async def test_the_rows_are_what_was_answered_and_the_total_what_the_wallet_lost(
    new_caller: NewCaller, books: asyncpg.Pool
) -> None:
    caller = await new_caller()
    second = Caller(caller.session, caller._cluster, caller.account_id, "")
    second.key = (await create_key(books, caller.account_id, KeyRules(name="second"))).key
    message = told(tokens=7)
    replies = [
        await caller.chat(message),
        await second.chat(message),
        await second.chat(message, model=OTHER_MODEL),
        await caller.chat(told(status=500)),
    ]
    assert [reply.status for reply in replies] == [200, 200, 200, 502]
    lost = 1_000_000_000 - await caller.settled(books)
    usage = await _usage(caller, group_by="key,model,day")
    assert usage["total"]["charged_usd"] == nano_to_usd(lost)
    assert (usage["total"]["requests"], usage["total"]["failed"]) == (4, 1)
    keys = {caller.key.split("_")[1]: "", second.key.split("_")[1]: "second"}
    found = {(row["key_id"], row["model"]): row for row in usage["rows"]}
    mine, theirs = keys
    assert set(found) == {(mine, MODEL), (theirs, MODEL), (theirs, OTHER_MODEL)}
    assert [row["key_name"] for row in usage["rows"]] == [keys[row["key_id"]] for row in usage["rows"]]
    own = found[mine, MODEL]
    assert own["charged_usd"] == nano_to_usd(cost_nano(message, 7))
    assert (own["requests"], own["failed"], own["tokens_output"]) == (2, 1, 7)
    assert own["tokens_input"] == replies[0].json["result"]["tokens_input"]
    order = [(row["key_id"], row["model"], row["day"]) for row in usage["rows"]]
    assert order == sorted(order)


async def test_every_grouping_has_the_same_total_and_only_its_own_fields(caller: Caller, books: asyncpg.Pool) -> None:
    await asyncio.gather(*(caller.chat(told(tokens=2), model=model) for model in (MODEL, OTHER_MODEL)))
    await caller.settled(books)
    total = (await _usage(caller))["total"]
    fields = {"day": {"day"}, "model": {"model"}, "key": {"key_id", "key_name"}}
    for group_by in ("day", "model", "key", "day,model", "model,key", "key,day", "day,model,key"):
        usage = await _usage(caller, group_by=group_by)
        words = group_by.split(",")
        assert (usage["total"], usage["group_by"]) == (total, words)
        assert len(usage["rows"]) == (2 if "model" in words else 1)
        for row in usage["rows"]:
            assert set(row) - set(NOTHING) == set[str]().union(*(fields[word] for word in words))
        assert sum(row["tokens_input"] for row in usage["rows"]) == total["tokens_input"]


async def test_days_outside_the_asked_ones_and_other_accounts_do_not_count(
    new_caller: NewCaller, books: asyncpg.Pool
) -> None:
    caller, other = await new_caller(), await new_caller()
    await _asked_on(books, caller, datetime(2020, 2, 29, 23, 59, 59, tzinfo=UTC))
    assert (await _usage(caller, **{"from": "2020-02-29", "to": "2020-02-29"}))["total"]["requests"] == 1
    assert (await _usage(caller, to="2020-02-29"))["from"] == "2020-01-31"
    for first, last in (("2020-02-01", "2020-02-28"), ("2020-03-01", "2021-03-01")):
        assert (await _usage(caller, **{"from": first, "to": last}))["total"] == NOTHING
    assert (await _usage(other, **{"from": "2020-02-29", "to": "2020-02-29"}))["rows"] == []


async def _asked_on(books: asyncpg.Pool, caller: Caller, moment: datetime) -> None:
    """A request of that moment, which ended since."""
    reservation = a_reservation(caller.account_id, id=new_id("req", int(moment.timestamp() * 1000)))
    await books.fetch(*reserving([reservation], 10, 0))
    await books.fetch(*settling([a_settlement(reservation, 5)]))


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("from=2027-01-02&to=2027-01-01", "from"),
        ("from=2025-01-01&to=2026-01-02", "366 days"),
        ("from=20270101", "from"),
        ("from=2027-W01-1", "from"),
        ("to=2027-02-29", "to"),
        ("to=yesterday", "to"),
        ("to=", "to"),
        ("from=9999-12-31", "from"),
        ("to=2027-01-01T00:00:00", "to"),
        ("group_by=", "group_by"),
        ("group_by=day,", "group_by"),
        ("group_by=hour", "hour"),
        ("group_by=day,day", "day"),
        ("group_by=day, model", "model"),
        ("group_by=Day", "Day"),
        ("groupby=day", "groupby"),
        ("from=2027-01-01&from=2027-01-02", "from"),
        ("group_by=day&group_by=model", "group_by"),
        ("%00=1", "has a NUL"),
    ],
)
async def test_a_query_that_makes_no_sense_is_a_400_that_names_it(caller: Caller, query: str, named: str) -> None:
    reply = await caller.request("GET", f"/api/usage?{query}")
    assert (reply.status, reply.error["code"]) == (400, "invalid_request")
    assert named in reply.error["message"]


@pytest.mark.parametrize("query", ["from=2025-01-01&to=2026-01-01", "to=0001-01-02", "to=9999-12-31"])
async def test_days_at_the_edges_are_answered(caller: Caller, query: str) -> None:
    assert (await caller.request("GET", f"/api/usage?{query}")).status == 200


async def test_it_takes_the_scope_read(new_caller: NewCaller) -> None:
    caller = await new_caller(rules=KeyRules(scopes=("inference", "manage")))
    assert (await caller.request("GET", "/api/usage")).status == 403
