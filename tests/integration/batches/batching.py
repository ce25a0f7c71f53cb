"""Files and batches on a real ledger, without a front door and without workers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg
import msgspec
import redis.asyncio

from api.batches.creation import NewBatch, create_batch
from shared.batches.batches import Ask, Batch, pack_ask
from shared.batches.files import Contents, File, Line, add_lines, begin_file, finish_file
from shared.batches.queries import BATCHES
from shared.batches.quota import Announced
from shared.batches.results import Result, results_of
from shared.chat import NO_TOOLS, Message, Sampling
from shared.errors import InvalidRequest
from shared.ids import new_id
from shared.ledger.ledger import Ledger
from shared.ledger.rows import Reservation
from shared.ledger.settlement import ItemKey, Settlement
from shared.queue.heartbeat import Heartbeat, announce
from shared.settings import Settings
from shared.stores import keys
from tests.harness.builders import a_reservation, a_settlement
from workers.batches.items import UnfitLine, as_fed

SETTINGS = Settings(database_url="postgresql://nowhere", redis_url="redis://nowhere")
MODEL = "openai-gpt-4o"
BAD = "bad"
COUNTED = 5_000
"""What a file counts towards its account's quota."""
WITHOUT_CREDIT = Announced(by_credit=False)
COPY_BATCH = """
INSERT INTO batches (
    id, account_id, key_id, file_id, file_day, day, form, endpoint, state, total, created_at, started_at, expires_at)
SELECT unnest($2::text[]), account_id, key_id, file_id, file_day, day, form, endpoint, state, total, now(), started_at,
    expires_at
FROM batches WHERE id = $1
"""


def an_ask(model: str = MODEL) -> bytes:
    """A line, packed."""
    return pack_ask(Ask(model, [Message("user", "Hello")], Sampling(), NO_TOOLS, 10))


ASKED = an_ask()


class Fed(NamedTuple):
    """What `feed` said: the requests that became items, and why there are no more."""

    requests: list[str]
    outcome: str
    needed: int


async def a_file(pool: asyncpg.Pool, account: str, *feeds: str, model: str = MODEL) -> File:
    """A line for each feed; `bad` is a line that nobody understood."""
    file = await begin_file(pool, account, "native", "lines", SETTINGS, WITHOUT_CREDIT)
    lines = [
        Line(number=number, custom_id=str(number), error_code="invalid_request", error_message="bad")
        if feed == BAD
        else Line(number=number, custom_id=str(number), feed=feed, asked=an_ask(model))
        for number, feed in enumerate(feeds, start=1)
    ]
    await add_lines(pool, file, lines)
    return await finish_file(pool, file, "key", Contents(100, COUNTED, len(lines), feeds.count(BAD)))


async def a_batch(pool: asyncpg.Pool, account: str, *feeds: str, key: str = "key", model: str = MODEL) -> Batch:
    file = await a_file(pool, account, *(feeds or ("openai",) * 4), model=model)
    return (await create_batch(pool, NewBatch(file, key, "/api/endpoint"), SETTINGS)).batch


def an_item(batch: Batch, number: int, hold: int = 10) -> Reservation:
    return a_reservation(
        batch.account_id,
        hold,
        key_id=batch.key_id,
        lane="batch",
        batch_id=batch.id,
        batch_number=number,
        batch_day=batch.day,
        batch_bytes=len(ASKED),
    )


def unfit(batch: Batch, number: int) -> dict[str, object]:
    """A line that cannot be run, as `feed` takes it."""
    row = as_fed(UnfitLine(number, len(ASKED), InvalidRequest("no")), batch.key_id, batch.day)
    assert isinstance(row, dict)
    return row


async def feed(
    pool: asyncpg.Pool,
    batch: Batch,
    *items: Reservation | dict[str, object],
    after: int = 0,
    name: str = "openai",
    in_flight_max: int = 100,
    in_flight_kept: int = 0,
    share: float = 1.0,
) -> Fed:
    lines = msgspec.json.encode(items).decode()
    *rows, last = await pool.fetch(BATCHES["feed"], batch.id, name, after, lines, in_flight_max, in_flight_kept, share)
    return Fed([row["request_id"] for row in rows], last["outcome"], last["needed"])


async def ready_cursors(pool: asyncpg.Pool) -> list[asyncpg.Record]:
    """Of OpenAI's, whatever is fed in its turn."""
    accounts = [row["account_id"] for row in await pool.fetch(BATCHES["turns"], "openai", "", 1_000)]
    rows = await pool.fetch(BATCHES["open_cursors"], "openai", accounts, [""] * len(accounts), 1_000)
    return [row for row in rows if row["ready"]]


async def a_batch_of(pool: asyncpg.Pool, account: str, *asked: bytes) -> Batch:
    """Over packed lines for OpenAI."""
    file = await begin_file(pool, account, "native", "lines", SETTINGS, WITHOUT_CREDIT)
    lines = [Line(number=n, custom_id=str(n), feed="openai", asked=one) for n, one in enumerate(asked, start=1)]
    await add_lines(pool, file, lines)
    file = await finish_file(pool, file, "key", Contents(100, COUNTED, len(lines), 0))
    return (await create_batch(pool, NewBatch(file, "key", "/api/endpoint"), SETTINGS)).batch


async def all_results(pool: asyncpg.Pool, batch: Batch, after: int = 0) -> list[Result]:
    """What has ended of its lines, in their order."""
    return [result async for result in results_of(pool, batch, SETTINGS.results_page_bytes_max, after)]


async def forget_other_batches(pool: asyncpg.Pool) -> None:
    """What other tests have left is not fed, and nothing of it is under way."""
    await pool.execute("DELETE FROM batch_cursors")
    await pool.execute("UPDATE batch_items SET provider = 'nobody' WHERE state = 'running'")


async def many_batches(pool: asyncpg.Pool, account: str, count: int) -> None:
    """So many open batches over one file of four lines, which are sooner written than made."""
    first = await a_batch(pool, account, "openai", "openai", "openai", "openai")
    ids = [new_id("batch") for _ in range(count - 1)]
    await pool.execute(COPY_BATCH, first.id, ids)
    await pool.execute("INSERT INTO batch_cursors SELECT unnest($1::text[]), 'openai', 0, 4", ids)


async def a_worker_serves(client: redis.asyncio.Redis, slots: int, *paused: str, services: Sequence[str] = ()) -> None:
    """A worker that lives for a minute, for all batches but those of `paused` providers."""
    queues = (keys.queue("openai", "batch"), keys.queue("gemini", "batch"))
    worker = Heartbeat(
        id="wrk_a", queues=queues, claims=queues, services=tuple(services), slots=slots, running=0, paused=paused
    )
    await announce(client, worker, 60)


def the_end_of(item: Reservation, charge: int = 5, **changes: object) -> Settlement:
    """A success with an answer, unless `changes` say otherwise."""
    line = ItemKey(item.batch_day, item.batch_id, item.batch_number)  # type: ignore[arg-type] # an item has them
    kept = {"answer": b"answer", "keep_until": datetime.now(UTC), "batch_line": line}
    return a_settlement(item, charge, **(kept | changes))


async def a_batch_of_one(pool: asyncpg.Pool, ledger: Ledger, account: str, key: str) -> None:
    """Two lines, of which one was fed and has succeeded."""
    batch = await a_batch(pool, account, "openai", "openai", key=key)
    item = an_item(batch, 1)
    await feed(pool, batch, item)
    await ledger.settle(the_end_of(item))
