"""Files and batches on a real ledger, without a front door and without workers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg
import msgspec

from api.batches.creation import NewBatch, create_batch
from shared.batches.batches import Ask, Batch, pack_ask
from shared.batches.files import File, Line, add_lines, begin_file, finish_file
from shared.batches.queries import BATCHES
from shared.chat import NO_TOOLS, Message, Sampling
from shared.ledger.ledger import Ledger
from shared.ledger.rows import BatchLine, Reservation, Settlement
from shared.settings import Settings
from tests.harness.builders import a_reservation, a_settlement

SETTINGS = Settings(database_url="postgresql://nowhere", redis_url="redis://nowhere")
MODEL = "openai-gpt-4o"
BAD = "bad"


def _asked(model: str) -> bytes:
    return pack_ask(Ask(model, [Message("user", "Hello")], Sampling(), NO_TOOLS, 10))


ASKED = _asked(MODEL)


class Fed(NamedTuple):
    """What `feed` said: the requests that became items, and why there are no more."""

    requests: list[str]
    outcome: str
    needed: int


async def a_file(pool: asyncpg.Pool, account: str, *providers: str, model: str = MODEL) -> File:
    """A line for each provider; `bad` is a line that nobody understood."""
    file = await begin_file(pool, account, "native", "lines", SETTINGS)
    lines = [
        Line(number=number, custom_id=str(number), error_code="invalid_request", error_message="bad")
        if provider == BAD
        else Line(number=number, custom_id=str(number), provider=provider, asked=_asked(model))
        for number, provider in enumerate(providers, start=1)
    ]
    await add_lines(pool, file, lines)
    return await finish_file(pool, file, "key", size=100, lines=len(lines), bad_lines=providers.count(BAD))


async def a_batch(pool: asyncpg.Pool, account: str, *providers: str, key: str = "key", model: str = MODEL) -> Batch:
    file = await a_file(pool, account, *(providers or ("openai",) * 4), model=model)
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


async def feed(
    pool: asyncpg.Pool,
    batch: Batch,
    *items: Reservation,
    after: int = 0,
    provider: str = "openai",
    in_flight_max: int = 100,
    room_kept: int = 0,
    share: float = 1.0,
) -> Fed:
    lines = msgspec.json.encode(items).decode()
    *rows, last = await pool.fetch(BATCHES["feed"], batch.id, provider, after, lines, in_flight_max, room_kept, share)
    return Fed([row["request_id"] for row in rows], last["outcome"], last["needed"])


def the_end_of(item: Reservation, charge: int = 5, **changes: object) -> Settlement:
    """A success with an answer, unless `changes` say otherwise."""
    line = BatchLine(item.batch_day, item.batch_id, item.batch_number)  # type: ignore[arg-type] # an item has them
    kept = {"answer": b"answer", "keep_until": datetime.now(UTC), "batch_line": line}
    return a_settlement(item, charge, **(kept | changes))


async def a_batch_of_one(pool: asyncpg.Pool, ledger: Ledger, account: str, key: str) -> None:
    """Two lines, of which one was fed and has succeeded."""
    batch = await a_batch(pool, account, "openai", "openai", key=key)
    item = an_item(batch, 1)
    await feed(pool, batch, item)
    await ledger.settle(the_end_of(item))
