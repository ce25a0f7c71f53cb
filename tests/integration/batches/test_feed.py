"""Batches on the real ledger: what `feed` takes, what ends a line, and that every guard of it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest

from api.batches.creation import NewBatch, create_batch
from shared.batches.batches import cancel_batch, find_batch
from shared.batches.files import delete_file, find_file
from shared.batches.queries import BATCHES
from shared.errors import Conflict, NotFound, RateLimited, Unavailable
from shared.ids import new_id
from shared.ledger.accounts import credit_account
from shared.ledger.rows import Reservation
from shared.money import NanoUsd
from tests.harness.builders import NANO_PER_TOKEN, a_release
from tests.integration.batches.batching import (
    BAD,
    SETTINGS,
    Fed,
    a_batch,
    a_file,
    all_results,
    an_item,
    feed,
    the_end_of,
    unfit,
)
from tests.integration.books import Wallet, assert_books_balance, limited_key, wallet
from tests.integration.conftest import NewAccount
from tests.integration.ledger.scratch import Mutant, Promise, Scratch, break_with


async def counts(scratch: Scratch, batch_id: str) -> dict[str, Any]:
    names = "state, total, bad, fed, completed, failed, cancelled, expired, charged_nano"
    row = await scratch.pool.fetchrow(f"SELECT {names} FROM batches WHERE id = $1", batch_id)
    assert row is not None
    return dict(row)


async def lines_are_fed_in_order_and_once(scratch: Scratch) -> None:
    batch = await a_batch(scratch.pool, await scratch.account(100))
    items = [an_item(batch, number) for number in range(1, 5)]
    assert await feed(scratch.pool, batch, *items[:2]) == Fed([item.id for item in items[:2]], "done", 0)
    assert (await feed(scratch.pool, batch, *items[:2])).outcome == "not_now"
    assert (await feed(scratch.pool, batch, *items[2:], after=2)).requests == [item.id for item in items[2:]]
    assert await wallet(scratch.pool, batch.account_id) == Wallet(100, 40, 4)
    assert (await counts(scratch, batch.id))["fed"] == 4
    await assert_books_balance(scratch.pool)


async def two_feeders_feed_a_line_once(scratch: Scratch) -> None:
    batch = await a_batch(scratch.pool, await scratch.account(1_000))
    tries = [[an_item(batch, 1), an_item(batch, 2)] for _ in range(4)]
    fed = await asyncio.gather(*(feed(scratch.pool, batch, *items) for items in tries))
    assert sum(len(one.requests) for one in fed) == 2
    assert (await wallet(scratch.pool, batch.account_id)).in_flight == 2


async def nothing_is_fed_beyond_the_credit(scratch: Scratch) -> None:
    batch = await a_batch(scratch.pool, await scratch.account(25))
    items = [an_item(batch, number) for number in range(1, 5)]
    fed = await feed(scratch.pool, batch, *items)
    assert (len(fed.requests), fed.outcome, fed.needed) == (2, "credit", 10)


async def a_line_is_held_at_the_dearest_prices(scratch: Scratch) -> None:
    account = await scratch.account(100)
    batch = await a_batch(scratch.pool, account)
    dear = {"hold_input_price": 2 * NANO_PER_TOKEN, "hold_output_price": 7 * NANO_PER_TOKEN}
    items = [msgspec.structs.replace(an_item(batch, number), output_price=NANO_PER_TOKEN, **dear) for number in (1, 2)]
    cheap = {"hold_input_price": 0, "hold_output_price": 0}
    items.append(msgspec.structs.replace(an_item(batch, 3), output_price=2 * NANO_PER_TOKEN, **cheap))
    fed = await feed(scratch.pool, batch, *items)
    assert fed.requests == [item.id for item in items]
    holds = await scratch.pool.fetch("SELECT hold_nano FROM batch_items ORDER BY number")
    assert [row["hold_nano"] for row in holds] == [27, 27, 12]
    assert await wallet(scratch.pool, account) == Wallet(100, 27 + 27 + 12, 3)
    fed = await feed(
        scratch.pool, batch, msgspec.structs.replace(items[0], id=new_id("req"), batch_number=4), after=3, share=0.92
    )
    assert (fed.outcome, fed.needed) == ("credit", 27)


async def batches_hold_a_share_of_the_balance_only(scratch: Scratch) -> None:
    account = await scratch.account(100)
    one, other = await a_batch(scratch.pool, account), await a_batch(scratch.pool, account)
    assert len((await feed(scratch.pool, one, *(an_item(one, n) for n in (1, 2, 3)), share=0.5)).requests) == 3
    fed = await feed(scratch.pool, other, *(an_item(other, n) for n in (1, 2, 3, 4)), share=0.5)
    assert (len(fed.requests), fed.outcome) == (2, "credit")


async def a_keys_limit_holds_for_its_batches(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    batch = await a_batch(scratch.pool, account, key=await limited_key(scratch.pool, account, 25))
    fed = await feed(scratch.pool, batch, *(an_item(batch, n) for n in (1, 2, 3)))
    assert (len(fed.requests), fed.outcome) == (2, "key_limit")


async def room_is_kept_for_interactive_requests(scratch: Scratch) -> None:
    batch = await a_batch(scratch.pool, await scratch.account(1_000))
    items = [an_item(batch, n) for n in range(1, 5)]
    fed = await feed(scratch.pool, batch, *items, in_flight_max=5, in_flight_kept=3)
    assert (len(fed.requests), fed.outcome) == (2, "in_flight")


async def a_batch_that_is_cancelled_is_not_fed(scratch: Scratch) -> None:
    batch = await a_batch(scratch.pool, await scratch.account(1_000))
    await cancel_batch(scratch.pool, batch.account_id, batch.id)
    assert await feed(scratch.pool, batch, an_item(batch, 1)) == Fed([], "not_now", 0)


async def each_feed_has_its_own_place(scratch: Scratch) -> None:
    batch = await a_batch(scratch.pool, await scratch.account(1_000), "openai", "gemini", "openai")
    await feed(scratch.pool, batch, an_item(batch, 1), an_item(batch, 3))
    assert (await feed(scratch.pool, batch, an_item(batch, 1))).outcome == "not_now"
    assert len((await feed(scratch.pool, batch, an_item(batch, 2), name="gemini")).requests) == 1
    assert (await counts(scratch, batch.id))["fed"] == 3


async def ends(scratch: Scratch) -> tuple[str, list[Reservation]]:
    """Four lines, each with an end of its own."""
    batch = await a_batch(scratch.pool, await scratch.account(1_000), "openai", BAD, *("openai",) * 3)
    items = [an_item(batch, number) for number in (1, 3, 4, 5)]
    await feed(scratch.pool, batch, *items)
    ended = [
        the_end_of(items[0]),
        a_release(items[1], error_code="provider_error", error_message="no"),
        a_release(items[2], state="cancelled", error_code="cancelled"),
        a_release(items[3], hold_state="expired", error_code="expired"),
    ]
    for _ in range(2):
        await scratch.settle(*ended)
    await scratch.pool.execute("UPDATE requests SET finish_reason = 'repaired by hand'")
    return batch.id, items


async def every_end_is_counted_once(scratch: Scratch) -> None:
    batch_id, items = await ends(scratch)
    found = await counts(scratch, batch_id)
    assert [found[name] for name in ("completed", "failed", "cancelled", "expired")] == [1, 2, 1, 1]
    assert (found["fed"], found["total"], found["charged_nano"]) == (4, 5, 5)
    await assert_books_balance(scratch.pool)
    batch = await find_batch(scratch.pool, items[0].account_id, batch_id)
    results = await all_results(scratch.pool, batch)
    assert [result.number for result in results] == [1, 2, 3, 4, 5]
    assert [result.error_code for result in results] == [
        None,
        "invalid_request",
        "provider_error",
        "cancelled",
        "expired",
    ]
    assert [result.answer for result in results] == [b"answer", None, None, None, None]
    assert not await scratch.pool.fetchval("SELECT count(*) FROM answers")


async def other_requests_count_for_no_batch(scratch: Scratch) -> None:
    batch = await a_batch(scratch.pool, await scratch.account(1_000))
    item = an_item(batch, 1)
    await feed(scratch.pool, batch, item)
    await scratch.pool.execute("UPDATE requests SET batch_number = 2 WHERE id = $1", item.id)
    await scratch.settle(the_end_of(item))
    assert (await counts(scratch, batch.id))["completed"] == 0


async def a_line_that_cannot_run_fails_in_its_place(scratch: Scratch) -> None:
    """It needs neither credit nor room, and what stands behind a line without credit waits for that."""
    account = await scratch.account(25)
    batch = await a_batch(scratch.pool, account, *("openai",) * 6, key=await limited_key(scratch.pool, account, 1_000))
    items = [an_item(batch, number) for number in range(1, 7)]
    lines: list[Reservation | dict[str, object]] = [
        unfit(batch, 1),
        items[1],
        unfit(batch, 3),
        items[3],
        items[4],
        unfit(batch, 6),
    ]
    fed = await feed(scratch.pool, batch, *lines, in_flight_max=3)
    assert fed == Fed([items[1].id, items[3].id], "credit", 10)
    found = await counts(scratch, batch.id)
    assert (found["fed"], found["failed"], found["charged_nano"]) == (4, 2, 0)
    assert await wallet(scratch.pool, account) == Wallet(25, 20, 2)
    await scratch.settle(*(the_end_of(item) for item in (items[1], items[3])))
    fed = await feed(scratch.pool, batch, items[4], lines[5], after=4)
    assert fed == Fed([items[4].id], "done", 0)
    await scratch.settle(the_end_of(items[4]))
    await scratch.pool.execute(BATCHES["finalize"])
    batch = await find_batch(scratch.pool, account, batch.id)
    assert (batch.state, batch.completed, batch.failed) == ("finalizing", 3, 3)
    results = await all_results(scratch.pool, batch)
    failed = [(one.number, one.error_code, one.error_message, one.request_id) for one in results if one.error_code]
    assert failed == [(number, "invalid_request", "no", None) for number in (1, 3, 6)]
    await assert_books_balance(scratch.pool)


async def only_what_may_be_fed_has_a_turn(scratch: Scratch) -> None:
    account = await scratch.account(1_000)
    batch = await a_batch(
        scratch.pool, account, "openai", "openai", key=await limited_key(scratch.pool, account, 1_000)
    )

    async def turn(batch_id: str = batch.id) -> object:
        return await scratch.pool.fetchval("SELECT turn_of FROM batch_cursors WHERE batch_id = $1", batch_id)

    assert await turn() == account
    await scratch.pool.execute(BATCHES["pause"], batch.id, "insufficient_credit", 13)
    assert await turn() is None
    await scratch.pool.fetch(BATCHES["resume"], 100)
    assert await turn() == account
    await feed(scratch.pool, batch, an_item(batch, 1))
    assert await turn() == account
    await feed(scratch.pool, batch, an_item(batch, 2), after=1)
    assert await turn() is None
    other = await a_batch(scratch.pool, account, "openai")
    await cancel_batch(scratch.pool, account, other.id)
    assert await turn(other.id) is None


MUTANTS = [
    Mutant(lines_are_fed_in_order_and_once, "feed", " AND c.fed_to = after_number", ""),
    Mutant(lines_are_fed_in_order_and_once, "feed", "SET fed_to = last_number,", "SET fed_to = c.fed_to,"),
    Mutant(lines_are_fed_in_order_and_once, "feed", "SET fed = b.fed + taken", "SET fed = b.fed"),
    Mutant(nothing_is_fed_beyond_the_credit, "feed", "ELSIF holds + line.hold > budget THEN", "ELSIF false THEN"),
    Mutant(nothing_is_fed_beyond_the_credit, "feed", "holds := holds + COALESCE(line.hold, 0);", ""),
    *(
        Mutant(
            a_line_is_held_at_the_dearest_prices,
            "hold_of",
            f"GREATEST((line->>'{kind}_price')::bigint, (line->>'hold_{kind}_price')::bigint)",
            f"(line->>'{of_what}_price')::bigint",
        )
        for kind in ("input", "output")
        for of_what in (kind, f"hold_{kind}")
    ),
    Mutant(a_line_is_held_at_the_dearest_prices, "feed", "COALESCE(hold_of(element), 0)", "0"),
    Mutant(batches_hold_a_share_of_the_balance_only, "feed", "COALESCE(sum(i.hold_nano), 0)::bigint)", "0)"),
    Mutant(
        batches_hold_a_share_of_the_balance_only, "feed", "owner.balance_nano * balance_share", "owner.balance_nano"
    ),
    Mutant(a_keys_limit_holds_for_its_batches, "feed", "ELSIF holds + line.hold > key_left THEN", "ELSIF false THEN"),
    Mutant(
        room_is_kept_for_interactive_requests,
        "feed",
        "in_flight_max - in_flight_kept - owner.in_flight",
        "in_flight_max",
    ),
    Mutant(
        room_is_kept_for_interactive_requests,
        "feed",
        "ELSIF taken - failed_lines >= in_flight_left THEN",
        "ELSIF false THEN",
    ),
    Mutant(a_batch_that_is_cancelled_is_not_fed, "feed", " AND b.state = 'in_progress'", ""),
    Mutant(each_feed_has_its_own_place, "feed", " AND c.provider = the_feed\n    WHERE", "\n    WHERE"),
    Mutant(
        a_line_that_cannot_run_fails_in_its_place, "feed", "taken - failed_lines >= in_flight_left", "taken >= room"
    ),
    Mutant(a_line_that_cannot_run_fails_in_its_place, "feed", ", failed = b.failed + failed_lines", ""),
    Mutant(a_line_that_cannot_run_fails_in_its_place, "feed", "COALESCE(line.hold, 0)", "line.hold"),
    Mutant(only_what_may_be_fed_has_a_turn, "give_turn", " AND b.state = 'in_progress'", ""),
    Mutant(only_what_may_be_fed_has_a_turn, "give_turn", " AND NEW.left_over > 0", ""),
    Mutant(only_what_may_be_fed_has_a_turn, "turns_follow_states", "batch_id = NEW.id", "false"),
    Mutant(every_end_is_counted_once, "count_batches", " AND i.state = 'running'", ""),
    Mutant(every_end_is_counted_once, "count_batches", "completed = b.completed + sums.completed, ", ""),
    Mutant(every_end_is_counted_once, "count_batches", "failed = b.failed + sums.failed, ", ""),
    Mutant(every_end_is_counted_once, "count_batches", "WHEN a.error_code = 'expired' THEN 'expired' ", ""),
    Mutant(every_end_is_counted_once, "count_batches", "WHEN a.state = 'cancelled' THEN 'cancelled'", ""),
    Mutant(every_end_is_counted_once, "settle_and_keep", "WHERE g.batch_id IS NULL AND", "WHERE"),
    Mutant(other_requests_count_for_no_batch, "count_batches", "i.number = e.batch_number AND ", ""),
]
PROMISES = [*dict.fromkeys(mutant.broken for mutant in MUTANTS), two_feeders_feed_a_line_once]


@pytest.fixture
async def scratch(fresh_database_url: str) -> AsyncIterator[Scratch]:
    async with asyncpg.create_pool(fresh_database_url, min_size=1, max_size=4) as pool:
        yield Scratch(pool)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_the_real_ledger_keeps_its_promise(scratch: Scratch, promise: Promise) -> None:
    await promise(scratch)


@pytest.mark.parametrize(
    "mutant", MUTANTS, ids=lambda mutant: f"{mutant.function} without {mutant.guard or mutant.instead}"
)
async def test_a_ledger_without_this_guard_is_noticed(scratch: Scratch, mutant: Mutant) -> None:
    await break_with(scratch, mutant)
    with pytest.raises((AssertionError, asyncpg.PostgresError, pytest.fail.Exception)):
        await mutant.broken(scratch)


async def test_an_account_has_only_so_many_open_batches(scratch: Scratch) -> None:
    account = await scratch.account(100)
    for _ in range(SETTINGS.batches_open_max):
        await a_batch(scratch.pool, account, "openai")
    with pytest.raises(RateLimited):
        await a_batch(scratch.pool, account, "openai")


async def test_a_file_cannot_be_deleted_while_a_batch_needs_it(scratch: Scratch) -> None:
    account = await scratch.account(100)
    file = await a_file(scratch.pool, account, "openai")
    batch = (await create_batch(scratch.pool, NewBatch(file, "key", "/api/endpoint"), SETTINGS)).batch
    with pytest.raises(Conflict):
        await delete_file(scratch.pool, account, file.id, SETTINGS)
    await scratch.pool.execute("UPDATE batches SET state = 'failed', ended_at = now() WHERE id = $1", batch.id)
    await delete_file(scratch.pool, account, file.id, SETTINGS)
    with pytest.raises(NotFound):
        await find_file(scratch.pool, account, file.id)


async def test_a_paused_batch_goes_on_when_its_next_line_can_be_paid(scratch: Scratch) -> None:
    account = await scratch.account(5)
    batch = await a_batch(scratch.pool, account, key=await limited_key(scratch.pool, account, 1_000))
    fed = await feed(scratch.pool, batch, an_item(batch, 1))
    assert (fed.requests, fed.outcome) == ([], "credit")
    await scratch.pool.execute(BATCHES["pause"], batch.id, "insufficient_credit", 13)
    assert not await resumed(scratch)
    await credit_account(scratch.pool, account, NanoUsd(7), ref=None, note=None)
    assert not await resumed(scratch)
    await credit_account(scratch.pool, account, NanoUsd(1), ref=None, note=None)
    assert await resumed(scratch) == [batch.id]


@pytest.mark.parametrize(("key_limit", "goes_on"), [(17, 0), (18, 1)])
async def test_of_a_keys_limit_only_the_lines_hold_must_be_left_and_not_the_balance_that_allows_it(
    scratch: Scratch, key_limit: int, goes_on: int
) -> None:
    """With 90 % of the balance for batches a hold of 18 needs a balance of 20."""
    account = await scratch.account(20)
    batch = await a_batch(scratch.pool, account, key=await limited_key(scratch.pool, account, key_limit))
    await scratch.pool.execute(BATCHES["pause"], batch.id, "insufficient_credit", 20)
    assert await resumed(scratch, percent=90) == [batch.id] * goes_on
    await scratch.pool.execute(BATCHES["pause"], batch.id, "key_limit", 18)
    assert await resumed(scratch, percent=90) == [batch.id] * goes_on


async def resumed(scratch: Scratch, percent: int = 100) -> list[str]:
    return [row["id"] for row in await scratch.pool.fetch(BATCHES["resume"], percent)]


async def test_days_whose_time_is_over_are_dropped_with_their_lines(scratch: Scratch) -> None:
    account = await scratch.account(100)
    await a_batch(scratch.pool, account)
    await scratch.pool.execute(
        "CREATE TABLE file_lines_2020_01_01 PARTITION OF file_lines FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
    )
    assert await scratch.pool.fetchval("SELECT rotate_days(3, 30)") == 1
    assert await scratch.pool.fetchval("SELECT to_regclass('file_lines_2020_01_01')") is None
    assert await scratch.pool.fetchval("SELECT count(*) FROM file_lines") == 4
    assert await scratch.pool.fetchval("SELECT rotate_days(4, 30)") == 3


async def test_a_batch_that_waits_too_long_for_another_of_its_account_is_to_be_sent_again(
    pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(0)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(BATCHES["lock_creation"], account)
        with pytest.raises(Unavailable, match="try again"):
            await a_batch(pool, account)
    assert (await a_batch(pool, account)).account_id == account
