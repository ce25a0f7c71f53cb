"""The queue's scripts on a real Redis: what is let in, who may run it, and what a lost claim can still do (nothing)."""

from __future__ import annotations

import asyncio

import pytest
from arq.connections import ArqRedis
from arq.constants import abort_jobs_ss, in_progress_key_prefix, job_key_prefix, result_key_prefix, retry_key_prefix

from shared.chat import Message
from shared.errors import Overloaded, RateLimited, Unavailable
from shared.ids import new_id
from shared.job import Chunk, arq_deserializer, unpack_job
from shared.queue.claims import EPOCHS_PER_ENQUEUE
from shared.queue.journal import LeaseLost
from shared.queue.queue import PAYLOAD_BYTES_MAX, Queue
from shared.settings import Settings
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job
from tests.integration.jobs import (
    GEMINI,
    GEMINI_BATCH,
    OPENAI,
    OPENAI_BATCH,
    claim,
    claim_one,
    enqueue,
    let_lease_lapse,
    make_due,
    room,
)
from tests.integration.journals import DirectJournal

LEASE_MS = 10_000


async def _now_ms(client: ArqRedis) -> float:
    seconds, microseconds = await client.time()
    return int(seconds) * 1000 + int(microseconds) / 1000


# -- enqueue


async def test_what_is_enqueued_is_what_a_worker_finds(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    await enqueue(queue, job)
    payload = await redis_client.get(job_key_prefix + job.id) or b""
    stored = arq_deserializer(payload)
    assert (stored["f"], unpack_job(stored["a"][0].data)) == ("run_request", job)
    due_ms = await redis_client.zscore(OPENAI, job.id)
    one = await claim_one(queue)
    assert (one.queue, one.id, one.epoch, one.due_ms) == (OPENAI, job.id, 1, int(due_ms or 0))
    assert one.opening is not None
    assert one.opening.payload == payload


async def test_a_claim_counts_starts_and_knows_of_an_ask_to_abort(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    await enqueue(queue, job)
    first = await claim_one(queue)
    await queue.give_back(first)
    await queue.cancel(job.id)
    second = await claim_one(queue)
    openings = [one.opening and (one.opening.starts, one.opening.aborted) for one in (first, second)]
    assert openings == [(1, False), (2, True)]
    await queue.finish(second)
    assert await redis_client.zscore(abort_jobs_ss, job.id) is None


async def test_payloads_that_are_too_much_for_one_answer_stay_where_they_are(
    queue: Queue, redis_client: ArqRedis
) -> None:
    large = a_job(messages=[Message("user", "x" * PAYLOAD_BYTES_MAX)])
    await enqueue(queue, large)
    small = a_job()
    await enqueue(queue, small)
    claimed = {one.id: one.opening for one in await claim(queue)}  # jobs of one millisecond come in any order
    assert claimed[large.id] is None
    assert claimed[small.id] is not None
    assert await redis_client.get(retry_key_prefix + large.id) is None


async def test_enqueuing_again_changes_nothing(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    await enqueue(queue, job, rpm=10)
    before = await redis_client.get(keys.rate("key"))
    for _ in range(3):
        await enqueue(queue, job, rpm=10)
    assert await redis_client.zcard(OPENAI) == 1
    assert await redis_client.llen(keys.bell(OPENAI)) == 1  # type: ignore[misc]
    assert await redis_client.get(keys.rate("key")) == before
    claimed = await claim_one(queue)
    await enqueue(queue, job)
    assert await queue.renew([claimed]) == []


async def test_everything_of_a_job_expires_by_itself(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    await enqueue(queue, job)
    await claim_one(queue)
    for key in (job_key_prefix + job.id, keys.run(job.id)):
        assert 600_000 < await redis_client.pttl(key) <= 660_000
    assert 0 < await redis_client.pttl(in_progress_key_prefix + job.id) <= LEASE_MS


@pytest.mark.parametrize("rpm", [1, 3, 60])
async def test_a_minutes_worth_may_come_at_once_and_then_a_refusal_says_how_long_to_wait(
    queue: Queue, redis_client: ArqRedis, rpm: int
) -> None:
    left = [(await enqueue(queue, a_job(), rpm=rpm)).remaining for _ in range(rpm)]
    assert left == list(reversed(range(rpm)))
    with pytest.raises(RateLimited) as refused:
        await enqueue(queue, a_job(), rpm=rpm)
    assert refused.value.retry_after_s is not None
    assert 0 < refused.value.retry_after_s <= 60 / rpm
    assert await redis_client.zcard(OPENAI) == rpm


async def test_a_refusal_consumes_nothing_and_after_the_wait_it_is_let_in(queue: Queue, redis_client: ArqRedis) -> None:
    for _ in range(2):
        await enqueue(queue, a_job(), rpm=2)
    state = await redis_client.get(keys.rate("key"))
    for _ in range(5):
        with pytest.raises(RateLimited) as refused:
            await enqueue(queue, a_job(), rpm=2)
    assert await redis_client.get(keys.rate("key")) == state
    assert state is not None
    waited_ms = (refused.value.retry_after_s or 0) * 1000
    await redis_client.set(keys.rate("key"), float(state) - waited_ms)  # as if that time had passed
    await enqueue(queue, a_job(), rpm=2)


async def test_a_rate_limit_fills_up_again_and_its_state_expires(queue: Queue, redis_client: ArqRedis) -> None:
    state = await enqueue(queue, a_job(), rpm=4)
    assert (state.remaining, 14 < state.reset_s <= 15) == (3, True)
    assert 0 < await redis_client.pttl(keys.rate("key")) <= 15_000


async def test_what_is_counted_without_a_job_shares_the_keys_minute(queue: Queue, redis_client: ArqRedis) -> None:
    await enqueue(queue, a_job(), rpm=3)
    state = await queue.count("req_1", key_id="key", rpm=3)
    assert (state.remaining, 39 < state.reset_s <= 40) == (1, True)
    await enqueue(queue, a_job(), rpm=3)
    before = await redis_client.get(keys.rate("key"))
    with pytest.raises(RateLimited) as refused:
        await queue.count("req_2", key_id="key", rpm=3)
    assert 0 < (refused.value.retry_after_s or 0) <= 20
    assert await redis_client.get(keys.rate("key")) == before


async def test_what_is_counted_twice_under_one_id_counts_once(queue: Queue, redis_client: ArqRedis) -> None:
    """A call whose answer was lost is sent again."""
    states = [await queue.count("req_1", key_id="key", rpm=2) for _ in range(4)]
    assert [state.remaining for state in states] == [1] * 4
    assert 0 < await redis_client.pttl(keys.rated("req_1")) <= 60_000


async def test_a_key_without_a_limit_has_no_rate_state(queue: Queue, redis_client: ArqRedis) -> None:
    for _ in range(5):
        await enqueue(queue, a_job())
    assert not await redis_client.exists(keys.rate("key"))


async def test_a_full_queue_refuses_and_a_full_queue_takes_nothing_from_the_rate(
    lua: Scripts, redis_client: ArqRedis
) -> None:
    narrow = Queue(lua, lease_s=10, keep_run_s=60, depth_max=2)
    await enqueue(narrow, a_job())
    await enqueue(narrow, a_job())
    refused = a_job()
    with pytest.raises(Overloaded):
        await enqueue(narrow, refused, rpm=5)
    assert not await redis_client.exists(keys.rate("key"), job_key_prefix + refused.id, keys.run(refused.id))


async def test_large_payloads_go_another_way_than_small_ones(
    lua: Scripts, redis_client: ArqRedis, settings: Settings
) -> None:
    """So that no small one waits on a connection until a large one has crossed it."""
    closed = Scripts(redis_client, settings)
    closed.close()
    small, large = a_job(), a_job(messages=[Message("user", "x" * 100_000)])
    usual = Queue(lua, large=closed, lease_s=10, keep_run_s=60, depth_max=10)
    await enqueue(usual, small)
    with pytest.raises(Unavailable):
        await enqueue(usual, large)
    turned = Queue(closed, large=lua, lease_s=10, keep_run_s=60, depth_max=10)
    await enqueue(turned, large)
    with pytest.raises(Unavailable):
        await enqueue(turned, small)


async def test_only_waiting_jobs_fill_a_queue(lua: Scripts) -> None:
    narrow = Queue(lua, lease_s=10, keep_run_s=60, depth_max=1)
    await enqueue(narrow, a_job())
    await claim_one(narrow)
    await enqueue(narrow, a_job())


async def test_a_bell_rings_once_per_job_and_never_grows_without_bound(lua: Scripts, redis_client: ArqRedis) -> None:
    wide = Queue(lua, lease_s=10, keep_run_s=60, depth_max=1_000)
    await asyncio.gather(*(enqueue(wide, a_job()) for _ in range(3)))
    assert await redis_client.llen(keys.bell(OPENAI)) == 3  # type: ignore[misc]
    await asyncio.gather(*(enqueue(wide, a_job()) for _ in range(300)))
    assert await redis_client.llen(keys.bell(OPENAI)) == 256  # type: ignore[misc]


# -- claim


async def test_a_job_is_claimed_by_one_worker_only(queue: Queue) -> None:
    for _ in range(20):
        await enqueue(queue, a_job())
    claims = await asyncio.gather(*(claim(queue, f"wrk_{n}", jobs_max=5) for n in range(10)))
    assert sorted(len(claimed) for claimed in claims) == [0] * 6 + [5] * 4
    assert len({one.id for claimed in claims for one in claimed}) == 20


async def test_queues_are_emptied_in_their_order_and_jobs_in_theirs(queue: Queue) -> None:
    batch, first, second = a_job(), a_job(id=new_id("req", 1)), a_job(id=new_id("req", 2))
    await enqueue(queue, batch, OPENAI_BATCH)
    await enqueue(queue, first)
    await enqueue(queue, second)
    claimed = await claim(queue, "wrk_a", room(OPENAI), room(OPENAI_BATCH))
    assert [(one.queue, one.id) for one in claimed] == [
        (OPENAI, first.id),
        (OPENAI, second.id),
        (OPENAI_BATCH, batch.id),
    ]


async def test_a_claim_takes_no_more_than_there_is_room_for(queue: Queue) -> None:
    for name in (OPENAI, OPENAI_BATCH, GEMINI, GEMINI_BATCH):
        for _ in range(10):
            await enqueue(queue, a_job(), name)
    rooms = [room(OPENAI, 6, 12), room(GEMINI, 7, 12), room(OPENAI_BATCH, 6, 3), room(GEMINI_BATCH, 7, 3)]
    claimed = [one.queue for one in await claim(queue, "wrk_a", *rooms, jobs_max=14)]
    assert [claimed.count(name) for name in (OPENAI, GEMINI, OPENAI_BATCH, GEMINI_BATCH)] == [6, 6, 0, 1]
    claimed = [one.queue for one in await claim(queue, "wrk_b", *rooms[2:])]
    assert [claimed.count(name) for name in (OPENAI_BATCH, GEMINI_BATCH)] == [3, 0]


async def test_batch_and_flex_of_a_provider_share_what_they_leave_to_interactive_requests(queue: Queue) -> None:
    flex = keys.queue("openai", "flex")
    for name in (OPENAI_BATCH, flex):
        for _ in range(10):
            await enqueue(queue, a_job(), name)
    rooms = [room(OPENAI, 9, 20), room(OPENAI_BATCH, 7, 8), room(flex, 4, 8)]
    claimed = [one.queue for one in await claim(queue, "wrk_a", *rooms)]
    assert [claimed.count(name) for name in (OPENAI_BATCH, flex)] == [7, 0]
    rooms = [room(OPENAI, 9, 20), room(flex, 4, 8), room(OPENAI_BATCH, 7, 8)]
    claimed = [one.queue for one in await claim(queue, "wrk_b", *rooms)]
    assert [claimed.count(name) for name in (flex, OPENAI_BATCH)] == [4, 3]


async def test_a_leased_job_is_nobody_elses(queue: Queue) -> None:
    await enqueue(queue, a_job())
    await claim_one(queue)
    assert await claim(queue, "wrk_b") == []


async def test_a_lapsed_lease_is_taken_over_with_a_higher_epoch_and_every_try_is_counted(
    queue: Queue, redis_client: ArqRedis
) -> None:
    job = a_job()
    await enqueue(queue, job, epoch=2 * EPOCHS_PER_ENQUEUE)
    for tries in (1, 2, 3):
        claimed = await claim_one(queue, f"wrk_{tries}")
        assert (claimed.epoch, claimed.attempt) == (2 * EPOCHS_PER_ENQUEUE + tries, tries)
        await let_lease_lapse(redis_client, job.id)


async def test_a_job_whose_payload_is_gone_is_dropped(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    await enqueue(queue, job)
    await redis_client.delete(job_key_prefix + job.id)
    assert await claim(queue) == []
    assert await redis_client.zcard(OPENAI) == 0


# -- renew


async def test_renewing_keeps_a_lease_for_its_whole_time(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    await enqueue(queue, job)
    claimed = await claim_one(queue)
    await redis_client.zadd(OPENAI, {job.id: await _now_ms(redis_client) + 1_000})
    assert await queue.renew([claimed]) == []
    score = await redis_client.zscore(OPENAI, job.id)
    assert score is not None
    assert score > await _now_ms(redis_client) + LEASE_MS - 5_000
    assert await redis_client.get(in_progress_key_prefix + job.id) == f"{claimed.owner}:1".encode()


async def test_a_lapsed_lease_that_nobody_took_is_taken_back(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    await enqueue(queue, job)
    claimed = await claim_one(queue)
    await let_lease_lapse(redis_client, job.id)
    assert await queue.renew([claimed]) == []
    assert await claim(queue, "wrk_b") == []


async def test_renewing_reports_what_is_lost_and_leaves_it_to_its_new_owner(
    queue: Queue, redis_client: ArqRedis
) -> None:
    mine, taken, finished, buried = (a_job() for _ in range(4))
    for job in (mine, taken, finished, buried):
        await enqueue(queue, job)
    claims = {one.id: one for one in await claim(queue)}
    for job in (taken, buried):
        await let_lease_lapse(redis_client, job.id)
    assert await queue.bury(buried.id, OPENAI)
    (new,) = await claim(queue, "wrk_b")
    await queue.finish(claims[finished.id])
    assert set(await queue.renew(list(claims.values()))) == {taken.id, finished.id, buried.id}
    assert await redis_client.get(in_progress_key_prefix + taken.id) == f"{new.owner}:2".encode()
    assert await queue.renew([new]) == []
    assert await redis_client.zcard(OPENAI) == 2


# -- finish


async def test_a_finished_job_leaves_nothing_but_its_result(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    await enqueue(queue, job)
    claimed = await claim_one(queue)
    await redis_client.set(retry_key_prefix + job.id, 1)
    await redis_client.zadd(abort_jobs_ss, {job.id: 1})
    assert await queue.finish(claimed, result=b"result", result_ms=5_000)
    assert await redis_client.get(result_key_prefix + job.id) == b"result"
    assert 0 < await redis_client.pttl(result_key_prefix + job.id) <= 5_000
    left = {key.decode() async for key in redis_client.scan_iter()}
    assert left == {result_key_prefix + job.id, keys.run(job.id), keys.served(OPENAI), keys.looked(OPENAI)}
    assert all([await redis_client.pttl(name) > 0 for name in left])
    assert 0 < await redis_client.pttl(keys.run(job.id)) <= 60_000


async def test_finishing_without_a_result_stores_none(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    await enqueue(queue, job)
    assert await queue.finish(await claim_one(queue))
    assert not await redis_client.exists(result_key_prefix + job.id)


async def test_the_finish_of_a_lost_claim_has_no_effect(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    await enqueue(queue, job)
    old = await claim_one(queue)
    await let_lease_lapse(redis_client, job.id)
    new = await claim_one(queue, "wrk_b")
    assert not await queue.finish(old, result=b"old", result_ms=5_000)
    assert not await queue.give_back(old)
    assert await redis_client.exists(job_key_prefix + job.id)
    assert not await redis_client.exists(result_key_prefix + job.id)
    assert await queue.renew([new]) == []
    assert await queue.finish(new)


async def test_a_job_that_was_given_back_is_due_at_once_and_rings(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    await enqueue(queue, job)
    claimed = await claim_one(queue)
    await redis_client.delete(keys.bell(OPENAI))
    assert await queue.give_back(claimed)
    assert await redis_client.llen(keys.bell(OPENAI)) == 1  # type: ignore[misc]
    assert (await claim_one(queue, "wrk_b")).epoch == 2


async def test_a_deferred_job_is_due_at_its_time_and_not_before(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    await enqueue(queue, job)
    later = int(await _now_ms(redis_client)) + 30_000
    assert await queue.give_back(await claim_one(queue), due_ms=later)
    assert await redis_client.zscore(OPENAI, job.id) == later
    assert not await redis_client.exists(in_progress_key_prefix + job.id)
    assert await claim(queue, "wrk_b") == []
    await make_due(redis_client, job.id)
    assert (await claim_one(queue, "wrk_b")).id == job.id


# -- bury


async def test_a_buried_request_can_neither_be_claimed_nor_enqueued(queue: Queue, redis_client: ArqRedis) -> None:
    waiting, unknown = a_job(), a_job()
    await enqueue(queue, waiting)
    for job in (waiting, unknown):
        assert await queue.bury(job.id, OPENAI)
        assert await queue.bury(job.id, OPENAI)
        with pytest.raises(Unavailable):
            await enqueue(queue, job)
    assert await claim(queue) == []
    assert not await redis_client.exists(job_key_prefix + waiting.id)


async def test_a_job_that_is_back_in_the_queue_can_be_buried(queue: Queue) -> None:
    job = a_job()
    await enqueue(queue, job)
    await queue.give_back(await claim_one(queue), due_ms=2**42)
    assert await queue.bury(job.id, OPENAI)


async def test_what_a_worker_holds_cannot_be_buried_until_its_lease_lapses(
    queue: Queue, redis_client: ArqRedis
) -> None:
    job = a_job()
    await enqueue(queue, job)
    claimed = await claim_one(queue)
    assert not await queue.bury(job.id, OPENAI)
    assert await queue.renew([claimed]) == []
    await let_lease_lapse(redis_client, job.id)
    assert await queue.bury(job.id, OPENAI)
    assert await queue.renew([claimed]) == [job.id]


async def test_what_is_still_to_be_settled_cannot_be_buried(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    await redis_client.hset(keys.SETTLES, job.id, "record")  # type: ignore[misc]
    assert not await queue.bury(job.id, OPENAI)
    await enqueue(queue, job)
    assert (await claim_one(queue)).id == job.id


async def test_a_buried_request_that_slips_into_a_queue_is_dropped(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    assert await queue.bury(job.id, OPENAI)
    await redis_client.set(job_key_prefix + job.id, b"payload")
    await redis_client.zadd(OPENAI, {job.id: 1})
    assert await claim(queue) == []
    assert not await redis_client.exists(job_key_prefix + job.id)


# -- what a lost claim may write


async def test_a_worker_that_lost_its_lease_can_write_nothing_more(
    queue: Queue, lua: Scripts, redis_client: ArqRedis
) -> None:
    job = a_job()
    await enqueue(queue, job)
    old = await claim_one(queue)
    zombie = DirectJournal(lua, old, live_s=60)
    await zombie.append(Chunk("before"))
    await let_lease_lapse(redis_client, job.id)
    new = await claim_one(queue, "wrk_b")
    with pytest.raises(LeaseLost):
        await zombie.append(Chunk("after"))
    await DirectJournal(lua, new, live_s=60, length=1).append(Chunk("after"))


async def test_scripts_do_the_same_after_the_server_forgot_them(queue: Queue, redis_client: ArqRedis) -> None:
    job = a_job()
    await enqueue(queue, job)
    await redis_client.script_flush()
    claimed = await claim_one(queue)
    await redis_client.script_flush()
    assert await queue.renew([claimed]) == []
    await redis_client.script_flush()
    assert await queue.finish(claimed)
    assert await claim(queue) == []
