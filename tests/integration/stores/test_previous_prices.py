"""The release that knew three prices for a model goes on beside ours, and what it has charged stays right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import NamedTuple

import asyncpg
import msgspec
import pytest

from shared.ids import new_id
from shared.ledger.check import check_ledger
from shared.ledger.pinned_price import PinnedPrice, pinned, price_of
from shared.ledger.rows import Reservation
from shared.ledger.settlement import Settlement
from shared.money import LongContext, Price
from shared.stores import migrations as migrations_module
from shared.stores.migrations import migrate, migrations
from tests.harness.builders import NANO_PER_TOKEN, a_reservation, a_settlement
from tests.integration.batches.batching import a_batch, an_item, feed
from tests.integration.books import Wallet, old_account, wallet

PREVIOUS = 14
"""The last migration of that release."""
RESERVE = "SELECT outcome, granted_limit, granted_hold FROM reserve($1::jsonb, $2)"
SETTLE = "SELECT outcome, charged FROM settle($1::jsonb)"
UNKNOWN = {
    *PinnedPrice.__struct_fields__[4:],
    *("hold_input_price", "hold_output_price", "tokens_cache_written", "tokens_cache_written_long"),
    *("answer", "keep_until", "batch_line"),
}
"""What it does not send."""
EVERY_FORM = Price(1, 2, 1, 3, 4, LongContext(5, 6, 7, 8, 9, above=50)).times(Decimal(NANO_PER_TOKEN))
FILES = """
SELECT relname, pg_relation_filenode(oid) FROM pg_class
WHERE relname ~ '^(requests|usage_by_day)' AND relkind = 'r' ORDER BY relname
"""


class Before(NamedTuple):
    """A database as that release left it, and an account with two thousand nano-USD."""

    url: str
    pool: asyncpg.Pool
    account: str

    async def reserve(self, reservation: Reservation) -> tuple[object, ...]:
        return tuple(await self.pool.fetchrow(RESERVE, _as_sent(reservation), 100) or ())

    async def settle(self, settlement: Settlement) -> tuple[object, ...]:
        return tuple(await self.pool.fetchrow(SETTLE, _as_sent(settlement)) or ())


def _as_sent(row: msgspec.Struct) -> str:
    fields = {name: value for name, value in msgspec.to_builtins(row).items() if name not in UNKNOWN}
    return msgspec.json.encode([fields]).decode()


@pytest.fixture
async def before(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Before]:
    with monkeypatch.context() as patched:
        patched.setattr(migrations_module, "migrations", lambda: migrations()[:PREVIOUS])
        patched.setattr(migrations_module, "function_files", list)
        await migrate(empty_database_url)
    async with asyncpg.create_pool(empty_database_url, min_size=2, max_size=4) as pool:
        yield Before(empty_database_url, pool, await old_account(pool, 2_000))


async def test_what_it_has_charged_stays_right_and_nothing_is_rewritten(before: Before) -> None:
    parts = {"tokens_cached": 4, "tokens_output": 3}
    reservation = a_reservation(before.account, 50, output_price=2 * NANO_PER_TOKEN, output_limit=9, output_floor=9)
    assert await before.reserve(reservation) == ("admitted", 9, 68)
    assert await before.settle(a_settlement(reservation, 26, tokens_input=20, **parts)) == ("settled", 26)
    files = await before.pool.fetch(FILES)
    assert await migrate(before.url)
    assert await before.pool.fetch(FILES) == files
    row = await before.pool.fetchrow("SELECT * FROM requests WHERE id = $1", reservation.id)
    assert row is not None
    assert price_of(row) == Price(NANO_PER_TOKEN, 2 * NANO_PER_TOKEN)
    assert (row["charged_nano"], row["tokens_cache_written"]) == (26, None)
    assert await before.pool.fetchval("SELECT sum(tokens_cache_written) FROM usage_by_day") == 0
    assert (await check_ledger(before.pool)).violations == []


async def test_its_front_doors_and_workers_go_on_beside_ours(before: Before) -> None:
    """Who admits a request says what it costs; who settles it charges as far as he knows prices."""
    await migrate(before.url)
    theirs, ours = [a_reservation(before.account, 100, **pinned(EVERY_FORM, "0123456789ab", 100)) for _ in range(2)]
    assert await before.reserve(theirs) == ("admitted", 1, 102)
    full = msgspec.json.encode([ours]).decode()
    assert tuple(await before.pool.fetchrow(RESERVE, full, 100) or ()) == ("admitted", 1, 906)
    parts = {"tokens_input": 60, "tokens_output": 1}
    ends = [a_settlement(theirs, 62, tokens_cache_written=10, **parts), a_settlement(ours, 62, **parts)]
    sent = msgspec.json.encode(ends[:1]).decode()
    assert tuple(await before.pool.fetchrow(SETTLE, sent) or ()) == ("settled", 62)
    assert await before.settle(ends[1]) == ("settled", 62)
    assert await wallet(before.pool, before.account) == Wallet(2_000 - 124, 0, 0)
    assert await before.pool.fetchval("SELECT sum(tokens_cache_written) FROM usage_by_day") == 10
    assert (await check_ledger(before.pool)).violations == []


async def test_lines_that_its_workers_feed_are_held_at_the_prices_that_it_knows(before: Before) -> None:
    await migrate(before.url)
    batch = await a_batch(before.pool, before.account)
    item = msgspec.to_builtins(an_item(batch, 1, hold=7))
    fed = await feed(before.pool, batch, {name: value for name, value in item.items() if name not in UNKNOWN})
    assert (len(fed.requests), fed.outcome) == (1, "done")
    assert await before.pool.fetchval("SELECT hold_nano FROM batch_items") == 7
    ours = an_item(batch, 2, hold=7)
    ours = msgspec.structs.replace(ours, id=new_id("req"), hold_input_price=2 * NANO_PER_TOKEN)
    assert (await feed(before.pool, batch, ours, after=1)).requests == [ours.id]
    assert await wallet(before.pool, before.account) == Wallet(2_000, 7 + 14, 2)
