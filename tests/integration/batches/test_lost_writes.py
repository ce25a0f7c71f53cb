"""A Postgres that failed over and lost that a line of a batch had ended: the line is settled again, and not run again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import msgspec
import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import deserialize_job_raw
from asyncpg import Pool
from structlog.testing import capture_logs

from shared.batches.batches import Ask, AskedElse, pack_ask
from shared.catalogue.models import load_catalogue
from shared.chat import NO_TOOLS, Message, Sampling
from shared.errors import Cancelled
from shared.job import Job, arq_deserializer, pack, unpack_job
from shared.ledger.ledger import Ledger
from shared.ledger.pinned_price import pinned
from shared.ledger.rows import Reservation
from shared.ledger.settlement import LostCall, Settlement
from shared.ledger.settler import Settler
from shared.money import LongContext, Price
from shared.queue.queue import Queue
from shared.runtime.tasks import background_tasks
from shared.settings import Settings
from shared.stores import keys
from tests.integration.batches.batching import (
    a_batch,
    a_batch_of,
    a_worker_serves,
    an_item,
    feed,
    the_end_of,
)
from tests.integration.batches.conftest import MakeFeeder
from tests.integration.books import Wallet, wallet
from tests.integration.conftest import NewAccount
from tests.integration.jobs import OPENAI_BATCH, let_lease_lapse, room
from workers.batches.finish import BatchFinisher
from workers.request.billing import Received
from workers.request.past import note_calls
from workers.request.resuming import RecordedCalls

SETTLED_S = 20.0


@pytest.fixture
def ours(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, batch_lost_after_s=0)


@pytest.fixture
async def finisher(
    pool: Pool, redis_client: ArqRedis, ledger: Ledger, queue: Queue, ours: Settings
) -> AsyncIterator[BatchFinisher]:
    """At the end of a test everything is settled."""
    async with background_tasks() as group:
        yield BatchFinisher(
            pool=pool,
            client=redis_client,
            queue=queue,
            settler=Settler(ledger, group, retry_s=0.01),
            catalogue=load_catalogue(),
            settings=ours,
            earlier_calls=RecordedCalls(redis_client, lambda *_: Decimal(2)),
        )


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_line_that_had_been_charged_is_charged_again_and_neither_withdrawn_nor_run_again(
    finisher: BatchFinisher, pool: Pool, redis_client: ArqRedis, new_account: NewAccount, *, cancelled: bool
) -> None:
    account = await new_account(1_000)
    batch = await a_batch(pool, account, "openai")
    settled = an_item(batch, 1)
    await feed(pool, batch, settled)
    await _kept(redis_client, settled)
    if cancelled:
        await pool.execute("UPDATE batches SET state = 'cancelling', ends_as = 'cancelled' WHERE id = $1", batch.id)
    await finisher.look()
    assert await finisher._settler.drained(SETTLED_S)
    assert await wallet(pool, account) == Wallet(1_000 - 5, 0, 0)
    assert not await redis_client.zcard(OPENAI_BATCH)


async def test_lost_lines_are_found_however_many_run(
    finisher: BatchFinisher,
    pool: Pool,
    redis_client: ArqRedis,
    new_account: NewAccount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each look goes on behind the items of the one before, and begins anew after the last."""
    others = await pool.fetchval("SELECT count(*) FROM batch_items WHERE state = 'running'")
    monkeypatch.setattr("workers.batches.finish.LOST_PER_LOOK", others + 2)
    batch = await a_batch(pool, await new_account(1_000), *["openai"] * 3)
    items = [an_item(batch, number) for number in (1, 2, 3)]
    await feed(pool, batch, *items)
    items.sort(key=lambda item: item.id)  # a look takes them in this order; ids of one millisecond come in any

    async def enqueued() -> list[bool]:
        await finisher.look()
        return [await redis_client.zscore(OPENAI_BATCH, item.id) is not None for item in items]

    assert [await enqueued(), await enqueued()] == [[True, True, False], [True, True, True]]
    for item in items:
        await redis_client.delete(job_key_prefix + item.id, keys.run(item.id))
        await redis_client.zrem(OPENAI_BATCH, item.id)
    assert await enqueued() == [True, True, False]
    for item in items:
        finisher._settler.settle_soon(Settlement.uncharged(item.id, item.account_id, Cancelled("The test is over.")))
    assert await finisher._settler.drained(SETTLED_S)


async def test_a_lost_line_that_cannot_be_read_any_more_keeps_no_other_from_being_enqueued_again(
    finisher: BatchFinisher, pool: Pool, redis_client: ArqRedis, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    batch = await a_batch(pool, account, "openai", "openai")
    items = [an_item(batch, number) for number in (1, 2)]
    await feed(pool, batch, *items)
    await pool.execute("UPDATE file_lines SET asked = '\\xc1' WHERE file_id = $1 AND number = 1", batch.file_id)
    await finisher.look()
    assert await redis_client.zrange(OPENAI_BATCH, 0, -1) == [items[1].id.encode()]


async def test_a_lost_line_is_enqueued_again_at_the_price_at_which_it_was_fed(
    finisher: BatchFinisher, pool: Pool, redis_client: ArqRedis, new_account: NewAccount
) -> None:
    price = Price(1, 2, 3, 4, 5, LongContext(6, 7, 8, 9, 10, above=11))
    batch = await a_batch(pool, await new_account(1_000), "openai")
    item = msgspec.structs.replace(an_item(batch, 1), **pinned(price, "0123456789ab", 10))
    await feed(pool, batch, item)
    await finisher.look()
    payload = await redis_client.get(job_key_prefix + item.id)
    _, (sealed,), *_ = deserialize_job_raw(payload, deserializer=arq_deserializer)
    assert unpack_job(sealed.data).price == price


@pytest.mark.parametrize(("ended", "cost_nano"), [("provider_timeout", 7), ("worker_lost", 30_000)])
async def test_a_line_that_is_withdrawn_after_a_call_books_what_the_vendor_bills(
    finisher: BatchFinisher,
    pool: Pool,
    redis_client: ArqRedis,
    new_account: NewAccount,
    queue: Queue,
    ended: str,
    cost_nano: int,
) -> None:
    account = await new_account(1_000)
    batch = await a_batch(pool, account, "openai")
    item = an_item(batch, 1)
    await feed(pool, batch, item)
    await finisher.look()  # which enqueues it
    claims = await queue.claim("wrk_a", [room(OPENAI_BATCH)], 100)
    claim = next(one for one in claims if one.id == item.id)
    if ended == "provider_timeout":
        lost = LostCall(1, "openai", item.model, ended, cost_nano, estimated=True)
        await note_calls(redis_client, item.id, Received(calls=1, lost=[lost]))
        await queue.give_back(claim)
    else:
        assert await queue.renew([claim], {claim.id: "1 openai"}) == []
        await let_lease_lapse(redis_client, item.id, OPENAI_BATCH)
    await pool.execute("UPDATE batches SET state = 'cancelling', ends_as = 'cancelled' WHERE id = $1", batch.id)
    with capture_logs() as logs:
        await finisher.look()
    assert [line["lost_nano"] for line in logs if line["event"] == "vendor call lost"] == [cost_nano]
    assert await finisher._settler.drained(SETTLED_S)
    assert await wallet(pool, account) == Wallet(1_000, 0, 0)
    booked = await pool.fetch("SELECT number, reason, vendor_cost_nano FROM lost_calls WHERE request_id = $1", item.id)
    assert [tuple(one) for one in booked] == [(1, ended, cost_nano)]
    assert await pool.fetchval("SELECT attempts FROM requests WHERE id = $1", item.id) == 1


async def _kept(client: ArqRedis, item: Reservation) -> None:
    """What is left of its end."""
    await client.hset(keys.SETTLED, item.id, pack(the_end_of(item)))  # type: ignore[misc,arg-type] # typed for text
    await client.zadd(keys.SETTLED_AT, {item.id: 1})


FIRST, SECOND, GONE = "openai-gpt-4o", "openai-o1", "deepseek-chat"


@pytest.mark.parametrize("passed", [(), (GONE,)], ids=["", "whose first model nobody had"])
@pytest.mark.parametrize("limit", [None, 60_000])
async def test_a_lost_line_with_a_chain_is_enqueued_again_as_it_was(
    finisher: BatchFinisher,
    pool: Pool,
    redis_client: ArqRedis,
    make_feeder: MakeFeeder,
    new_account: NewAccount,
    passed: tuple[str, ...],
    limit: int | None,
) -> None:
    """With the output limits that each of its models has."""
    account = await new_account(10**12)
    await a_worker_serves(redis_client, slots=10)
    ask = Ask(FIRST, [Message("user", "Hello")], Sampling(), NO_TOOLS, limit)
    others = (AskedElse(SECOND, Sampling()),)
    await a_batch_of(pool, account, pack_ask(msgspec.structs.replace(ask, others=others, passed=passed)))
    assert await make_feeder().feed("openai") == (1, True)
    (name,) = [name async for name in redis_client.scan_iter(f"{job_key_prefix}*")]
    before = await _job_in(redis_client, name)
    assert [one.model.name for one in before.fallbacks] == [SECOND]
    assert before.output_limit < before.fallbacks[0].output_limit or limit is None
    await redis_client.flushall()
    await a_worker_serves(redis_client, slots=10)
    await finisher.look()
    assert await _job_in(redis_client, name) == before


async def _job_in(client: ArqRedis, name: bytes) -> Job:
    _, (sealed,), *_ = deserialize_job_raw(await client.get(name), deserializer=arq_deserializer)
    return unpack_job(sealed.data)
