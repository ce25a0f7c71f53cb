"""How many slots of workers there is work for, on a real queue and ledger, with no worker anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable

import asyncpg
import msgspec
import pytest
from arq.connections import ArqRedis

from shared.catalogue.models import load_catalogue
from shared.catalogue.upstreams import pace_name
from shared.operators.switches import pause_provider
from shared.queue import demand as module
from shared.queue.demand import QUEUES, Demand, QueueDepth, Scale
from shared.settings import Settings
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.integration.batches.batching import a_batch, an_item, feed, forget_other_batches
from tests.integration.conftest import NewAccount

INTERACTIVE, BATCH = keys.queue("openai", "interactive"), keys.queue("openai", "batch")
NewDemand = Callable[..., Demand]


@pytest.fixture
async def new_demand(pool: asyncpg.Pool, lua: Scripts, settings: Settings) -> NewDemand:
    """Demand with other settings than the usual ones, as long as no test has left batches."""
    await forget_other_batches(pool)
    catalogue = load_catalogue(None, settings.price_factor)
    return lambda **changes: Demand(pool, lua, catalogue, msgspec.structs.replace(settings, **changes))


async def jobs(client: ArqRedis, queue: str, *due_in_s: float) -> None:
    now = time.time()
    await client.zadd(queue, {f"{queue}-{number}": (now + s) * 1000 for number, s in enumerate(due_in_s)})


async def test_due_and_running_jobs_want_slots_and_deferred_ones_do_not(
    new_demand: NewDemand, redis_client: ArqRedis
) -> None:
    await jobs(redis_client, INTERACTIVE, -100, -2, -1, 5, 6, 300)
    await jobs(redis_client, keys.queue("gemini", "flex"), -1)
    scale = await new_demand(lease_s=10).scale()
    depth = scale.queues["openai:interactive"]
    assert (depth.due, depth.leased, depth.deferred) == (3, 2, 1)
    assert 100 <= depth.oldest_s < 200
    assert {name: slots for name, slots in scale.slots_wanted.items() if slots} == {
        "*": 6,
        "openai": 5,
        "openai:interactive": 5,
        "gemini": 1,
        "gemini:flex": 1,
    }


async def test_every_queue_is_told_also_while_it_is_empty(new_demand: NewDemand) -> None:
    scale = await new_demand().scale()
    assert set(scale.queues) == {queue.removeprefix("q:") for queue in QUEUES}
    assert set(scale.queues.values()) == {QueueDepth(0, 0, 0, 0.0)}
    assert set(scale.slots_wanted.values()) == {0}


async def test_lines_of_batches_want_slots_before_any_worker_has_fed_them(
    new_demand: NewDemand, redis_client: ArqRedis, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    account = await new_account(1_000)
    await a_batch(pool, account, "openai", "openai", "openai", "gemini")
    assert (await wanted(new_demand()))["openai:batch"] == 3
    assert (await wanted(new_demand(batch_concurrency_start=2)))["openai:batch"] == 2
    assert (await wanted(new_demand(batch_window_max=1)))["openai:batch"] == 1
    await jobs(redis_client, BATCH, -1, 5)  # of what the vendor takes they have a part
    seen = await wanted(new_demand(batch_concurrency_start=4))
    assert (seen["openai:batch"], seen["gemini:batch"], seen["openai"], seen["*"]) == (4, 1, 4, 5)
    assert (await wanted(new_demand(batch_concurrency_start=1)))["openai:batch"] == 2


async def test_lines_want_no_more_slots_than_the_vendor_takes_of_the_models_that_run(
    new_demand: NewDemand, redis_client: ArqRedis, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    batch = await a_batch(pool, await new_account(1_000), *["openai"] * 9)
    item = msgspec.structs.replace(an_item(batch, 1), model="openai-gpt-4o-mini")
    assert (await feed(pool, batch, item)).requests
    await redis_client.hset(keys.pace(pace_name("openai", item.model, "default")), "limit", "5.7")  # type: ignore[misc]
    await jobs(redis_client, BATCH, 5)
    assert (await wanted(new_demand()))["openai:batch"] == 5


async def test_a_stopped_batch_wants_nothing(
    new_demand: NewDemand, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    batch = await a_batch(pool, await new_account(1_000))
    await pool.execute(
        "UPDATE batches SET state = 'paused', paused_for = 'insufficient_credit' WHERE id = $1", batch.id
    )
    assert (await wanted(new_demand()))["*"] == 0


async def test_a_paused_vendor_wants_slots_for_what_runs_only(
    new_demand: NewDemand, redis_client: ArqRedis, pool: asyncpg.Pool, new_account: NewAccount
) -> None:
    await a_batch(pool, await new_account(1_000))
    await jobs(redis_client, INTERACTIVE, -2, -1, 5)
    await pause_provider(pool, "openai", paused=True)
    try:
        assert (await wanted(new_demand()))["openai"] == 1
    finally:
        await pause_provider(pool, "openai", paused=False)
    assert (await wanted(new_demand()))["openai"] == 3 + 4


async def test_one_look_serves_all_who_ask_within_a_second(
    new_demand: NewDemand, redis_client: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_S", 3_600.0)
    demand = new_demand()
    first = await demand.scale()
    await jobs(redis_client, INTERACTIVE, -1)
    assert await demand.scale() is first
    monkeypatch.setattr(module, "KEPT_S", 0.0)
    assert isinstance(second := await demand.scale(), Scale)
    assert second.slots_wanted["*"] == 1


async def wanted(demand: Demand) -> dict[str, int]:
    return (await demand.scale()).slots_wanted
