"""What limits a batch is looked at again as soon as something of it may have ended, not at the next leisurely look."""

from __future__ import annotations

import msgspec
import pytest
from arq.connections import ArqRedis
from asyncpg import Pool

from shared.batches.batches import Ask, AskedElse, pack_ask
from shared.catalogue.models import load_catalogue
from shared.chat import NO_TOOLS, Message, Sampling
from shared.ledger.ledger import Ledger
from shared.queue.queue import Queue
from shared.settings import Settings
from shared.stores.scripts import Scripts
from tests.harness.builders import a_release, a_reservation
from tests.integration.batches.batching import a_batch, a_batch_of, a_worker_serves
from tests.integration.batches.conftest import MakeFeeder
from tests.integration.conftest import NewAccount
from tests.integration.jobs import OPENAI_BATCH, claim, room
from workers.batches.feed import NOTHING_TO_FEED, BatchFeeder
from workers.upstreams.paces import Paces

RICH = 10**12
BEHIND = "google-gemini-2.5-flash-lite"


@pytest.fixture
def feeder(make_feeder: MakeFeeder) -> BatchFeeder:
    """Two calls of a model at a time."""
    return make_feeder(batch_concurrency_start=2, batch_concurrency_max=2)


async def test_a_batch_at_its_vendors_pace_is_looked_at_again_as_soon_as_one_of_its_lines_may_have_ended(
    feeder: BatchFeeder, pool: Pool, redis_client: ArqRedis, queue: Queue, ledger: Ledger, new_account: NewAccount
) -> None:
    account = await new_account(RICH)
    await a_worker_serves(redis_client, slots=10)
    await a_batch(pool, account, *["openai"] * 4)
    assert [await feeder.feed("openai") for _ in range(3)] == [(2, True), (0, True), (0, True)]
    one, _ = await claim(queue, "wrk_a", room(OPENAI_BATCH))
    await ledger.settle(a_release(a_reservation(account, id=one.id)))
    assert [await feeder.feed("openai") for _ in range(2)] == [(1, True), (0, True)]


async def test_a_batch_that_its_vendor_holds_up_is_looked_at_at_leisure(
    feeder: BatchFeeder, pool: Pool, redis_client: ArqRedis, lua: Scripts, settings: Settings, new_account: NewAccount
) -> None:
    """Of the other vendor, of whose lines none is under way."""
    await a_worker_serves(redis_client, slots=10)
    await a_batch(pool, await new_account(RICH), *["gemini"] * 2)
    await Paces(lua, settings).throttled("openai/openai-gpt-4o", 60)
    assert await feeder.feed("gemini") == NOTHING_TO_FEED


async def test_what_runs_of_another_model_does_not_make_a_batch_impatient_that_its_vendor_holds_up(
    feeder: BatchFeeder, pool: Pool, redis_client: ArqRedis, lua: Scripts, settings: Settings, new_account: NewAccount
) -> None:
    await a_worker_serves(redis_client, slots=10)
    await a_batch(pool, await new_account(RICH), "openai", model="openai-o1")
    assert await feeder.feed("openai") == (1, True)
    await a_batch(pool, await new_account(RICH), *["openai"] * 2, model="openai-gpt-4o-mini")
    await Paces(lua, settings).throttled("openai/openai-gpt-4o-mini", 60)
    assert [await feeder.feed("openai") for _ in range(3)] == [(0, False), (0, False), (0, False)]


async def test_a_batch_without_credit_goes_on_when_one_of_its_lines_has_ended(
    feeder: BatchFeeder, pool: Pool, redis_client: ArqRedis, ledger: Ledger, new_account: NewAccount
) -> None:
    await a_worker_serves(redis_client, slots=10)
    rich = await new_account(RICH)
    await a_batch(pool, rich, "openai", model="openai-o3-mini")
    assert await feeder.feed("openai") == (1, True)
    hold = await pool.fetchval("SELECT held_nano FROM accounts WHERE id = $1", rich)
    poor = await new_account(2 * hold - 1)
    await a_batch(pool, poor, *["openai"] * 2, model="openai-o3-mini")
    assert [await feeder.feed("openai") for _ in range(3)] == [(1, True), (0, True), (0, True)]
    running = await pool.fetchval("SELECT request_id FROM batch_items WHERE account_id = $1", poor)
    await ledger.settle(a_release(a_reservation(poor, id=running)))
    assert await feeder.feed("openai") == (1, True)


@pytest.mark.parametrize("paused", [(), ("openai",)], ids=["throttled", "paused"])
async def test_a_line_whose_first_model_cannot_be_had_is_fed_if_a_later_one_can(
    feeder: BatchFeeder,
    pool: Pool,
    redis_client: ArqRedis,
    lua: Scripts,
    settings: Settings,
    new_account: NewAccount,
    paused: tuple[str, ...],
) -> None:
    await Paces(lua, settings).throttled("openai/openai-gpt-5.4", 0 if paused else 60)
    behind = load_catalogue().find(BEHIND)
    await a_worker_serves(redis_client, 10, *paused, services=[behind.service])
    plain = Ask("openai-gpt-5.4", [Message("user", "Hello")], Sampling(), NO_TOOLS, 10)
    chain = msgspec.structs.replace(plain, others=(AskedElse(BEHIND, Sampling()),))
    await a_batch_of(pool, await new_account(RICH), pack_ask(chain), pack_ask(plain))
    assert [await feeder.feed("openai") for _ in range(2)] == [(1, True), (0, False)]
    await a_worker_serves(redis_client, 10)
