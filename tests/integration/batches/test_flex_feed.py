"""Lines at the tier flex are fed by themselves: at its price, to its lane, at its pace."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from asyncpg import Pool

from shared.job import arq_deserializer, unpack_job
from shared.ledger.ledger import Ledger
from shared.queue.heartbeat import Heartbeat, announce
from shared.queue.queue import Queue
from shared.settings import Settings
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.harness.builders import a_reservation, a_settlement
from tests.integration.batches.batching import a_batch
from tests.integration.batches.conftest import MakeFeeder
from tests.integration.conftest import NewAccount
from tests.integration.jobs import claim, room
from workers.batches.feed import BatchFeeder
from workers.upstreams.paces import Paces

RICH = 10**12
MODEL = "openai-gpt-5.4-mini"
FLEX, BATCH = keys.queue("openai", "flex"), keys.queue("openai", "batch")


@pytest.fixture
async def feeder(make_feeder: MakeFeeder, redis_client: ArqRedis) -> BatchFeeder:
    """With a worker of ten slots."""
    worker = Heartbeat(id="wrk_a", queues=(BATCH, FLEX), claims=(BATCH, FLEX), services=(), slots=10, running=0)
    await announce(redis_client, worker, 60)
    return make_feeder(batch_window_per_slot=1.0, flex_slots_percent=40)


async def test_lines_at_flex_are_held_at_its_price_and_wait_in_its_lane_and_others_as_ever(
    feeder: BatchFeeder, pool: Pool, queue: Queue, new_account: NewAccount
) -> None:
    account = await new_account(RICH)
    batch = await a_batch(pool, account, "openai:flex", "openai", "openai:flex", model=MODEL)
    assert (await feeder.feed("openai:flex"), await feeder.feed("openai")) == ((2, True), (1, True))
    rows = await pool.fetch("SELECT lane, provider, input_price, hold_nano FROM requests WHERE batch_id = $1", batch.id)
    prices = {(row["lane"], row["provider"]): (row["input_price"], row["hold_nano"]) for row in rows}
    flex, default = prices["flex", "openai"], prices["batch", "openai"]
    assert (flex[0], default[0]) == (375_000_000, 750_000_000)
    assert 0 <= 2 * flex[1] - default[1] <= 1
    claims = await claim(queue, "wrk_a", room(FLEX), room(BATCH))
    assert [one.queue for one in claims] == [FLEX, FLEX, BATCH]
    jobs = [unpack_job(arq_deserializer(one.opening.payload)["a"][0].data) for one in claims if one.opening]
    assert [job.model.service_tier for job in jobs] == ["flex", "flex", "default"]
    assert jobs[0].model.at_default is not None
    assert jobs[0].model.at_default.price == jobs[2].price


async def test_the_window_of_flex_is_its_part_of_the_slots(
    feeder: BatchFeeder, pool: Pool, new_account: NewAccount
) -> None:
    await a_batch(pool, await new_account(RICH), *["openai:flex"] * 9, model=MODEL)
    assert [await feeder.feed("openai:flex") for _ in range(2)] == [(4, True), (0, True)]


async def test_a_vendor_without_capacity_for_flex_holds_up_no_ordinary_line_and_the_other_way(
    feeder: BatchFeeder, pool: Pool, lua: Scripts, settings: Settings, new_account: NewAccount
) -> None:
    account = await new_account(RICH)
    paces = Paces(lua, settings)
    await paces.throttled(f"openai/{MODEL}:flex", 60)
    await a_batch(pool, account, "openai:flex", "openai", model=MODEL)
    assert (await feeder.feed("openai:flex"), await feeder.feed("openai")) == ((0, False), (1, True))
    await paces.throttled("openai/openai-gpt-5.5", 60)
    await a_batch(pool, account, "openai:flex", "openai", model="openai-gpt-5.5")
    assert (await feeder.feed("openai:flex"), await feeder.feed("openai")) == ((1, True), (0, False))


async def test_what_was_saved_is_the_sum_of_its_lines(
    feeder: BatchFeeder, pool: Pool, ledger: Ledger, new_account: NewAccount
) -> None:
    account = await new_account(RICH)
    batch = await a_batch(pool, account, "openai:flex", "openai:flex", "openai", model=MODEL)
    await feeder.feed("openai:flex")
    await feeder.feed("openai")
    rows = await pool.fetch("SELECT id FROM requests WHERE batch_id = $1 ORDER BY batch_number", batch.id)
    for row, saved in zip(rows, (7, 4, None), strict=True):
        ended = a_settlement(a_reservation(account, id=row["id"]), saved_nano=saved)
        assert await ledger.settle(ended) == "settled"
    assert await pool.fetchval("SELECT saved_nano FROM batch_savings WHERE batch_id = $1", batch.id) == 11
