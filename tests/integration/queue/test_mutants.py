"""Every guard of the queue's scripts is needed: without it a promise of this file is broken."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from arq.constants import (
    abort_jobs_ss,
    in_progress_key_prefix,
    job_key_prefix,
    result_key_prefix,
    retry_key_prefix,
)

from shared.chat import Message
from shared.errors import Overloaded, RateLimited, Unavailable
from shared.job import Chunk
from shared.queue.journal import LeaseLost, RequestVoid, read_on
from shared.queue.queue import PAYLOAD_BYTES_MAX, Queue
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job, a_release, a_reservation, a_settlement
from tests.harness.journals import read_journal
from tests.integration.jobs import (
    GEMINI,
    OPENAI,
    OPENAI_BATCH,
    PLENTY,
    claim,
    claim_one,
    enqueue,
    let_lease_lapse,
    lose_claim,
    room,
    until_the_next_millisecond,
)
from tests.integration.queue.mutants import NEVER, Bench, Mutant, Promise, must_be_noticed


async def a_job_enqueued_again_counts_once(bench: Bench) -> None:
    job = a_job()
    for _ in range(4):
        await enqueue(bench.queue, job, rpm=1)
    assert await bench.client.llen(keys.bell(OPENAI)) == 1  # type: ignore[misc] # typed for both clients


async def a_job_put_back_while_it_is_there_is_there_once(bench: Bench) -> None:
    job = a_job()
    for epoch in (0, 5_000, 6_000):
        await enqueue(bench.queue, job, epoch=epoch)
    assert await bench.client.llen(keys.bell(OPENAI)) == 1  # type: ignore[misc]
    assert (await claim_one(bench.queue)).epoch == 1


async def a_job_that_has_ended_before_it_is_enqueued_again_is_as_good_as_there(bench: Bench) -> None:
    """Its reply was lost; meanwhile it ran, and the queue and the key are full. Who only listens has not enqueued it."""
    job, listened_for = a_job(), a_job()
    await enqueue(bench.queue, job, rpm=1)
    await bench.ended(await claim_one(bench.queue), bench.queue)
    await bench.queue.listen(listened_for.id, "relay:web")
    for one in (listened_for, a_job(), a_job()):
        await enqueue(bench.queue, one)
    before = await bench.client.get(keys.rate("key"))
    await enqueue(bench.queue, job, rpm=1)
    assert await bench.client.get(keys.rate("key")) == before
    assert await bench.client.zcard(OPENAI) == 3


async def a_buried_request_never_runs(bench: Bench) -> None:
    before, after, slipped_in = a_job(), a_job(), a_job()
    await enqueue(bench.queue, before)
    for job in (before, after, slipped_in):
        assert await bench.queue.bury(job.id, OPENAI)
    with pytest.raises(Unavailable):
        await enqueue(bench.queue, after)
    assert not await bench.client.exists(job_key_prefix + before.id)
    await bench.client.set(job_key_prefix + slipped_in.id, "payload")
    await bench.client.zadd(OPENAI, {slipped_in.id: 1})
    assert await claim(bench.queue) == []


async def a_queue_is_full_at_its_depth(bench: Bench) -> None:
    for _ in range(3):
        await enqueue(bench.queue, a_job())
    with pytest.raises(Overloaded):
        await enqueue(bench.queue, a_job())


async def a_key_has_its_rate(bench: Bench) -> None:
    for _ in range(2):
        await enqueue(bench.queue, a_job(), rpm=2)
    before = await bench.client.get(keys.rate("key"))
    for _ in range(3):
        with pytest.raises(RateLimited):
            await enqueue(bench.queue, a_job(), rpm=2)
    assert await bench.client.get(keys.rate("key")) == before


async def a_batch_is_counted_once_and_within_the_rate(bench: Bench) -> None:
    for _ in range(3):
        assert (await bench.queue.count("req_1", key_id="key", rpm=2)).remaining == 1
    assert (await bench.queue.count("req_2", key_id="key", rpm=2)).remaining == 0
    before = await bench.client.get(keys.rate("key"))
    for number in range(3):
        with pytest.raises(RateLimited):
            await bench.queue.count(f"req_more_{number}", key_id="key", rpm=2)
    assert await bench.client.get(keys.rate("key")) == before
    with pytest.raises(RateLimited):
        await enqueue(bench.queue, a_job(), rpm=2)


async def a_bell_has_an_end(bench: Bench) -> None:
    deep = Queue(bench.lua, lease_s=10, keep_run_s=60, depth_max=1_000)
    for _ in range(300):
        await enqueue(deep, a_job())
    assert await bench.client.llen(keys.bell(OPENAI)) == 256  # type: ignore[misc]


async def a_claimed_job_is_nobody_elses(bench: Bench) -> None:
    one = await bench.claimed()
    assert await claim(bench.queue, "wrk_b") == []
    assert await bench.client.get(in_progress_key_prefix + one.id) == b"wrk_a.1:1"


async def a_claim_stays_within_its_rooms(bench: Bench) -> None:
    for name in (OPENAI, OPENAI_BATCH, GEMINI):
        for _ in range(3):
            await enqueue(bench.queue, a_job(), name)
    rooms = [room(OPENAI, 4, 5), room(GEMINI, 4, 5), room(OPENAI_BATCH, 4, PLENTY)]
    names = [one.queue for one in await claim(bench.queue, "wrk_a", *rooms, jobs_max=8)]
    assert [names.count(room.queue) for room in rooms] == [3, 2, 1]
    assert len(await claim(bench.queue, "wrk_a", *rooms, jobs_max=1)) == 1


async def batch_has_a_smaller_part_of_its_provider(bench: Bench) -> None:
    for _ in range(3):
        await enqueue(bench.queue, a_job(), OPENAI_BATCH)
    claimed = await claim(bench.queue, "wrk_a", room(OPENAI, 3, PLENTY), room(OPENAI_BATCH, 2, PLENTY))
    assert len(claimed) == 2


async def a_job_without_a_payload_is_dropped(bench: Bench) -> None:
    job = a_job()
    await enqueue(bench.queue, job)
    await bench.client.delete(job_key_prefix + job.id)
    assert await claim(bench.queue) == []
    assert not await bench.client.zcard(OPENAI)


async def an_ask_to_abort_comes_with_the_claim(bench: Bench) -> None:
    one = await bench.claimed()
    assert one.opening is not None
    await bench.queue.give_back(one)
    await bench.queue.cancel(one.id)
    again = (await claim_one(bench.queue)).opening
    assert again is not None
    assert (one.opening.starts, one.opening.aborted, again.starts, again.aborted) == (1, False, 2, True)


async def payloads_of_one_answer_have_a_limit(bench: Bench) -> None:
    for _ in range(3):
        await enqueue(bench.queue, a_job(messages=[Message("user", "x" * (PAYLOAD_BYTES_MAX // 2 - 2_000))]))
    assert [one.opening is None for one in await claim(bench.queue)] == [False, False, True]


async def a_deferred_job_waits(bench: Bench) -> None:
    one = await bench.claimed()
    await bench.queue.give_back(one, due_ms=2**42)
    assert await claim(bench.queue) == []


async def every_claim_is_fenced_from_the_one_before(bench: Bench) -> None:
    old, new = await bench.taken_over()
    assert new.epoch > old.epoch
    with pytest.raises(LeaseLost):
        await bench.journal(old).append(Chunk("x"))
    assert not await bench.queue.finish(old, result=b"x", result_ms=1_000)
    assert not await bench.client.exists(result_key_prefix + old.id)
    assert await bench.queue.renew([old]) == [old.id]
    assert await bench.client.get(in_progress_key_prefix + old.id) == b"wrk_b.2:2"


async def a_claim_that_redis_forgot_is_fenced_from_the_next_one(bench: Bench) -> None:
    forgotten = await bench.claimed()
    await lose_claim(bench.client, forgotten)
    new = await claim_one(bench.queue, "wrk_b")
    assert new.epoch == forgotten.epoch
    assert await bench.queue.renew([forgotten]) == [forgotten.id]
    await bench.journal(new).append(Chunk("new"))
    with pytest.raises(LeaseLost):
        await bench.journal(forgotten, length=1).append(Chunk("old"))
    assert not await bench.queue.finish(forgotten)
    assert await read_journal(bench.client, new.id) == [Chunk("new")]
    assert await bench.queue.renew([new]) == []
    assert await bench.queue.finish(new)


async def what_is_committed_is_owed_no_more_and_some_of_it_is_kept(bench: Bench) -> None:
    ids = [f"req_{number}" for number in range(4)]
    await bench.client.hset(keys.SETTLES, mapping=dict.fromkeys(ids, "record"))  # type: ignore[misc]
    names = [keys.SETTLES, keys.SETTLED, keys.SETTLED_AT]
    kept_of = {**dict(zip(ids, ("", "", "short", "-"), strict=True)), "req_never_owed": "release", "req_unknown": ""}
    for one, kept_instead in kept_of.items():
        await bench.lua.call("forget", names, [3, 60_000, 2**40, one, kept_instead])
        await until_the_next_millisecond(bench.client)
    assert not await bench.client.exists(keys.SETTLES)
    kept = await bench.client.hgetall(keys.SETTLED)  # type: ignore[misc]
    assert kept == {ids[1].encode(): b"record", ids[2].encode(): b"short", b"req_never_owed": b"release"}
    assert await bench.client.zrange(keys.SETTLED_AT, 0, -1) == list(kept)
    assert 0 < await bench.client.pttl(keys.SETTLED) <= 60_000
    assert 0 < await bench.client.pttl(keys.SETTLED_AT) <= 60_000


async def what_is_committed_and_kept_has_a_budget_of_bytes(bench: Bench) -> None:
    """Of which the oldest ones go."""
    ids = [f"req_{number:03}" for number in range(200)]
    names = [keys.SETTLES, keys.SETTLED, keys.SETTLED_AT]
    kept = [word for one in ids for word in (one, "x" * 1_000)]
    await bench.lua.call("forget", names, [1_000, 60_000, 2**40, *kept])
    assert await bench.client.hlen(keys.SETTLED) == 200  # type: ignore[misc]
    await until_the_next_millisecond(bench.client)
    left = await bench.lua.call("forget", names, [1_000, 60_000, 100_000, "req_last", "x" * 1_000])
    assert await bench.client.memory_usage(keys.SETTLED, samples=0) <= 110_000
    assert await bench.client.hlen(keys.SETTLED) == left  # type: ignore[misc]
    assert 80 < left < 100
    assert await bench.client.hexists(keys.SETTLED, "req_last")  # type: ignore[misc]


async def what_is_committed_is_owed_no_more_also_when_redis_is_full(bench: Bench) -> None:
    await bench.client.hset(keys.SETTLES, "req_1", "record")  # type: ignore[misc]
    await bench.client.config_set("maxmemory", 1)
    try:
        await bench.lua.call("forget", [keys.SETTLES, keys.SETTLED, keys.SETTLED_AT], [3, 60_000, 2**40, "req_1", ""])
    finally:
        await bench.client.config_set("maxmemory", 0)
    assert not await bench.client.exists(keys.SETTLES)
    assert await bench.client.hvals(keys.SETTLED) == [b"record"]  # type: ignore[misc]


async def a_journal_says_who_began_it(bench: Bench) -> None:
    old, new = await bench.taken_over()
    await bench.journal(new).append(Chunk("x"))
    await let_lease_lapse(bench.client, new.id)
    third = await claim_one(bench.queue, "wrk_c")
    await bench.journal(third, length=1).append(Chunk("y"))
    assert await bench.begun(old.id) == new.owner
    await bench.client.delete(keys.journal(old.id))
    await bench.journal(third).append(Chunk("z"))
    assert await bench.begun(old.id) == third.owner


async def a_claim_of_the_previous_release_fences_an_older_one_of_this(bench: Bench) -> None:
    old = await bench.claimed()
    await let_lease_lapse(bench.client, old.id)
    await bench.client.hincrby(keys.run(old.id), "epoch", 1)  # type: ignore[misc] # which knows no owners
    assert await bench.queue.renew([old]) == [old.id]
    with pytest.raises(LeaseLost):
        await bench.journal(old).append(Chunk("x"))
    assert not await bench.queue.finish(old)


async def what_is_gone_cannot_be_renewed_or_given_back(bench: Bench) -> None:
    one = await bench.claimed()
    await bench.queue.finish(one)
    assert await bench.queue.renew([one]) == [one.id]
    await bench.queue.give_back(one, due_ms=2**42)
    assert not await bench.client.zcard(OPENAI)


async def a_bell_rings_as_long_as_there_is_something_to_take(bench: Bench) -> None:
    for _ in range(3):
        await enqueue(bench.queue, a_job())
    assert len(await bench.queue.claim("wrk_a", [room(OPENAI)], 2)) == 2
    assert await bench.client.llen(keys.bell(OPENAI)) == 3  # type: ignore[misc]
    assert len(await bench.queue.claim("wrk_b", [room(OPENAI)], 2)) == 1
    assert not await bench.client.exists(keys.bell(OPENAI))


async def what_stays_behind_rings_for_another_worker(bench: Bench) -> None:
    for _ in range(3):
        await enqueue(bench.queue, a_job())
    await bench.client.delete(keys.bell(OPENAI))  # the rings have reached workers
    assert len(await bench.queue.claim("wrk_a", [room(OPENAI)], 2)) == 2
    assert await bench.client.llen(keys.bell(OPENAI)) == 1  # type: ignore[misc]
    for _ in range(2):
        await bench.client.delete(keys.bell(OPENAI))
        for _ in range(2):
            assert await claim(bench.queue, "wrk_a", room(GEMINI), room(OPENAI, 0, 0)) == []
            assert await bench.client.llen(keys.bell(OPENAI)) == 1  # type: ignore[misc]


async def a_worker_that_is_woken_hears_it_once(bench: Bench) -> None:
    for _ in range(3):
        await bench.queue.wake("wrk_a")
    assert await bench.client.llen(keys.own_bell("wrk_a")) == 1  # type: ignore[misc]
    assert 0 < await bench.client.pttl(keys.own_bell("wrk_a")) <= 60_000


async def a_cron_job_that_has_been_done_is_not_done_again(bench: Bench) -> None:
    one = await bench.claimed()
    await bench.queue.finish(one, keep_in_progress_ms=60_000)
    await bench.client.set(job_key_prefix + one.id, "payload")  # as arq enqueues it
    await bench.client.zadd(OPENAI, {one.id: 1})
    assert await claim(bench.queue) == []


async def an_append_has_its_place(bench: Bench) -> None:
    one = await bench.claimed()
    for _ in range(2):
        await bench.journal(one).append(Chunk("first"))
    with pytest.raises(LeaseLost):
        await bench.journal(one).append(Chunk("another first"))
    with pytest.raises(LeaseLost):
        await bench.journal(one, length=2).append(Chunk("third"))
    assert await read_journal(bench.client, one.id) == [Chunk("first")]


async def a_last_event_comes_with_its_settle_record(bench: Bench) -> None:
    one = await bench.claimed()
    await bench.journal(one).append(Chunk("x"))
    assert not await bench.client.hlen(keys.SETTLES)  # type: ignore[misc]
    await bench.journal(one, length=1).append(Chunk("y"), a_release(a_reservation("acc_x", id=one.id)))
    assert await bench.client.hlen(keys.SETTLES) == 1  # type: ignore[misc]
    await let_lease_lapse(bench.client, one.id)
    assert not await bench.queue.bury(one.id, OPENAI)


async def what_a_worker_holds_is_not_buried(bench: Bench) -> None:
    one = await bench.claimed()
    assert not await bench.queue.bury(one.id, OPENAI)
    await let_lease_lapse(bench.client, one.id)
    assert await bench.queue.bury(one.id, OPENAI)


async def a_paused_workers_job_is_fenced_once_it_is_buried(bench: Bench) -> None:
    one = await bench.claimed()
    await let_lease_lapse(bench.client, one.id)
    assert await bench.queue.bury(one.id, OPENAI)
    with pytest.raises(LeaseLost):
        await bench.journal(one).append(Chunk("x"))


async def a_void_request_ends_without_a_charge(bench: Bench) -> None:
    one = await bench.claimed()
    assert not await bench.queue.bury(one.id, OPENAI)
    reservation = a_reservation("acc_x", id=one.id)
    with pytest.raises(RequestVoid):
        await bench.journal(one).append(Chunk("x"), a_settlement(reservation, charge=1))
    await bench.journal(one).append(Chunk("x"), a_release(reservation))


async def what_comes_too_late_is_not_enqueued(bench: Bench) -> None:
    hasty = Queue(bench.lua, lease_s=10, keep_run_s=60, depth_max=100, enqueue_within_s=-5)
    await enqueue(hasty, a_job())  # the first answer tells it Redis's clock
    with pytest.raises(Unavailable):
        await enqueue(hasty, a_job())
    assert await bench.client.zcard(OPENAI) == 1


async def hears(bench: Bench, request_id: str) -> list[str]:
    """The channels that are told what is appended."""
    return ((await bench.client.hget(keys.run(request_id), "channel")) or b"").decode().split()  # type: ignore[misc]


async def every_front_door_with_a_reader_is_told(bench: Bench) -> None:
    job, its_own = a_job(), a_job()
    await bench.queue.listen(its_own.id, "relay:web")
    await enqueue(bench.queue, its_own, GEMINI)
    assert await hears(bench, its_own.id) == ["relay:web"]
    await bench.queue.listen(job.id, "relay:early")  # before it is enqueued, and maybe it never is
    assert await bench.client.pttl(keys.run(job.id)) > 0
    for _ in range(2):
        await enqueue(bench.queue, job)
        await bench.queue.listen(job.id, "relay:late")
    assert await hears(bench, job.id) == ["relay:early", "relay:web", "relay:late"]
    (one,) = await claim(bench.queue)
    async with bench.client.pubsub() as early, bench.client.pubsub() as late:
        for pubsub, channel in ((early, "relay:early"), (late, "relay:late")):
            await pubsub.subscribe(channel)
            assert await pubsub.get_message(timeout=5)
        await bench.journal(one).append(Chunk("x"))
        assert all([await pubsub.get_message(timeout=1) for pubsub in (early, late)])


async def readers_everywhere_have_an_end(bench: Bench) -> None:
    job = a_job()
    await enqueue(bench.queue, job)
    for number in range(20):
        await bench.queue.listen(job.id, f"relay:{number}")
    assert await hears(bench, job.id) == [f"relay:{number}" for number in range(4, 20)]


async def a_request_is_abandoned_when_its_last_reader_leaves(bench: Bench) -> None:
    job = a_job()
    await enqueue(bench.queue, job)
    await bench.queue.listen(job.id, "relay:other")
    assert not await bench.queue.leave(job.id, "relay:web")
    assert await bench.client.zscore(abort_jobs_ss, job.id) is None
    assert await bench.queue.leave(job.id, "relay:other")
    assert await bench.client.zscore(abort_jobs_ss, job.id) is not None
    assert not await bench.queue.leave(a_job().id, "relay:web")


async def what_is_to_be_aborted_does_not_wait(bench: Bench) -> None:
    """Deferred before the ask or after it; a job that runs keeps its lease."""
    before = await bench.claimed()
    after = await bench.claimed()
    await bench.queue.give_back(before, due_ms=2**42)
    for one in (before, after):
        await bench.client.delete(keys.bell(OPENAI))
        await bench.queue.cancel(one.id)
        if one is after:
            assert await claim(bench.queue) == []
            await bench.queue.give_back(after, due_ms=2**42)
        assert await bench.client.llen(keys.bell(OPENAI)) == 1  # type: ignore[misc]
        again = await claim_one(bench.queue)
        assert again.id == one.id
        assert again.opening is not None
        assert again.opening.aborted


async def what_is_due_keeps_its_place_when_it_is_to_be_aborted(bench: Bench) -> None:
    one = await bench.claimed()
    await let_lease_lapse(bench.client, one.id)
    before = await bench.client.zscore(OPENAI, one.id)
    for _ in range(300):
        await bench.queue.cancel(one.id)
    assert await bench.client.zscore(OPENAI, one.id) == before
    await bench.queue.finish(await claim_one(bench.queue))
    await bench.queue.cancel(one.id)
    assert not await bench.client.zcard(OPENAI)


async def who_reads_the_journal_listens_again_when_redis_forgot_that(bench: Bench) -> None:
    job = a_job()
    await enqueue(bench.queue, job)

    async def read(channel: str) -> None:
        await read_on(bench.lua, job.id, 0, events_max=1, bytes_max=1, channel=channel)

    for channel in ("relay:web", "relay:forgotten", "relay:forgotten", ""):
        await read(channel)
    assert await bench.client.hget(keys.run(job.id), "channel") == b"relay:web relay:forgotten"  # type: ignore[misc]
    assert not await bench.queue.leave(job.id, "relay:web")
    for number in range(20):
        await read(f"relay:{number}")
    assert len(await hears(bench, job.id)) == 16
    await read_on(bench.lua, a_job().id, 0, events_max=1, bytes_max=1, channel="relay:web")
    assert len(await bench.client.keys("run:*")) == 1


async def what_redis_lost_is_run_again_under_a_new_epoch_unless_it_left_a_journal(bench: Bench) -> None:
    job, begun = a_job(), a_job()
    await enqueue(bench.queue, job, epoch=5_000)
    assert (await claim_one(bench.queue)).epoch == 5_001
    await enqueue(bench.queue, begun)
    one = await claim_one(bench.queue)
    await bench.journal(one).append(Chunk("x"))
    await bench.queue.finish(one)
    await enqueue(bench.queue, begun, epoch=5_000)
    assert await claim(bench.queue) == []


async def with_its_requests_last_event_a_job_is_done(bench: Bench) -> None:
    one = await bench.claimed()
    await bench.queue.cancel(one.id)
    await bench.journal(one).append(Chunk("x"))
    assert await bench.client.zcard(OPENAI) == 1
    await bench.journal(one, length=1, ending=bench.queue.ending(one)).append(
        Chunk("y"), a_release(a_reservation("acc_x", id=one.id))
    )
    of_arq = [prefix + one.id for prefix in (job_key_prefix, in_progress_key_prefix, retry_key_prefix)]
    assert not await bench.client.exists(*of_arq)
    assert not await bench.client.zcard(OPENAI)
    assert not await bench.client.zcard(abort_jobs_ss)
    assert 0 < await bench.client.pttl(keys.run(one.id)) <= 60_000
    assert await bench.queue.renew([one]) == [one.id]


async def an_end_that_is_fenced_leaves_the_job(bench: Bench) -> None:
    old, new = await bench.taken_over()
    with pytest.raises(LeaseLost):
        await bench.ended(old, bench.queue)
    assert await bench.queue.renew([new]) == []
    assert await bench.client.exists(job_key_prefix + new.id)


MUTANTS = [
    Mutant(a_job_enqueued_again_counts_once, "enqueue", "has_run or redis.call('EXISTS', KEYS[2]) == 1", NEVER),
    Mutant(a_job_put_back_while_it_is_there_is_there_once, "enqueue", "or redis.call('EXISTS', KEYS[2]) == 1"),
    *(
        Mutant(a_job_that_has_ended_before_it_is_enqueued_again_is_as_good_as_there, "enqueue", guard, instead)
        for guard, instead in (
            ("redis.call('HEXISTS', KEYS[3], 'deadline') == 1", NEVER),
            ("redis.call('HEXISTS', KEYS[3], 'deadline') == 1", "redis.call('EXISTS', KEYS[3]) == 1"),
        )
    ),
    Mutant(a_buried_request_never_runs, "enqueue", "redis.call('HEXISTS', KEYS[3], 'dead') == 1", NEVER),
    Mutant(what_comes_too_late_is_not_enqueued, "enqueue", "now > tonumber(ARGV[9])", NEVER),
    Mutant(a_void_request_ends_without_a_charge, "append", "run[4] and charges == 'charged'", NEVER),
    Mutant(a_void_request_ends_without_a_charge, "append", "and charges == 'charged'"),
    Mutant(a_void_request_ends_without_a_charge, "tombstone", "redis.call('HSET', KEYS[3], 'void', '1')"),
    Mutant(a_paused_workers_job_is_fenced_once_it_is_buried, "tombstone", "redis.call('HINCRBY', KEYS[3], 'epoch', 1)"),
    Mutant(a_queue_is_full_at_its_depth, "enqueue", "redis.call('ZCOUNT', queue, '-inf', now)", "-1"),
    Mutant(a_key_has_its_rate, "enqueue", "arrival - now > MINUTE_MS + 0.001", NEVER),
    Mutant(a_key_has_its_rate, "enqueue", "known or known + interval", "known or known + interval / 2"),
    Mutant(a_key_has_its_rate, "enqueue", "    if arrival", "    redis.call('SET', key, arrival)\n    if arrival"),
    Mutant(a_batch_is_counted_once_and_within_the_rate, "rate", "arrival - now > MINUTE_MS + 0.001", NEVER),
    Mutant(a_batch_is_counted_once_and_within_the_rate, "rate", "redis.call('EXISTS', KEYS[2]) == 1", NEVER),
    Mutant(a_batch_is_counted_once_and_within_the_rate, "rate", "redis.call('SET', KEYS[2], '1', 'PX', MINUTE_MS)"),
    Mutant(
        a_batch_is_counted_once_and_within_the_rate,
        "rate",
        "redis.call('SET', key, string.format('%.3f', arrival), 'PX', reset)",
    ),
    Mutant(a_bell_has_an_end, "enqueue", "redis.call('LTRIM', KEYS[4], 0, 255)"),
    Mutant(a_claimed_job_is_nobody_elses, "claim", "redis.call('ZADD', queue, now + lease, id)"),
    Mutant(a_claimed_job_is_nobody_elses, "claim", "redis.call('SET', mark, ARGV[1] .. ':' .. epoch, 'PX', lease)"),
    Mutant(a_claim_stays_within_its_rooms, "claim", "room[provider] = room[provider] - taken"),
    Mutant(a_claim_stays_within_its_rooms, "claim", "room[lane] = room[lane] - taken"),
    Mutant(a_claim_stays_within_its_rooms, "claim", "left = left - taken"),
    Mutant(
        a_claim_stays_within_its_rooms,
        "claim",
        "math.min(left, room[provider], room[lane], most)",
        "left",
    ),
    Mutant(batch_has_a_smaller_part_of_its_provider, "claim", "room[lane], most)", "room[lane])"),
    Mutant(an_ask_to_abort_comes_with_the_claim, "claim", "redis.call('ZSCORE', 'arq:abort', id)", "nil"),
    Mutant(an_ask_to_abort_comes_with_the_claim, "claim", "redis.call('INCR', 'arq:retry:' .. id)", "1"),
    Mutant(payloads_of_one_answer_have_a_limit, "claim", "bytes = bytes - size"),
    Mutant(a_job_without_a_payload_is_dropped, "claim", "if size == 0 or", "if"),
    Mutant(a_buried_request_never_runs, "claim", "redis.call('HEXISTS', run, 'dead') == 1", NEVER),
    Mutant(a_cron_job_that_has_been_done_is_not_done_again, "claim", "redis.call('GET', mark) == 'done'", NEVER),
    Mutant(a_bell_rings_as_long_as_there_is_something_to_take, "claim", "if not waiting then", "if false then"),
    Mutant(a_bell_rings_as_long_as_there_is_something_to_take, "claim", "if not waiting then", "if true then"),
    Mutant(what_stays_behind_rings_for_another_worker, "claim", "redis.call('EXISTS', bell) == 0", NEVER),
    Mutant(what_stays_behind_rings_for_another_worker, "claim", "redis.call('EXISTS', bell) == 0", "true"),
    Mutant(a_worker_that_is_woken_hears_it_once, "wake", "redis.call('EXISTS', KEYS[1]) == 0", "true"),
    Mutant(a_worker_that_is_woken_hears_it_once, "wake", "redis.call('PEXPIRE', KEYS[1], ARGV[1])"),
    Mutant(a_deferred_job_waits, "finish", "'XX', due, id", "'XX', now, id"),
    Mutant(every_claim_is_fenced_from_the_one_before, "claim", "run, 'epoch', 1)", "run, 'epoch', 0)"),
    *(
        Mutant(a_claim_that_redis_forgot_is_fenced_from_the_next_one, script, guard, instead)
        for script, guard, instead in (
            ("claim", "'owner', ARGV[1], ", ""),
            ("renew", "run[2] == owner", "true"),
            ("finish", "run[2] ~= ARGV[8]", NEVER),
            ("append", "run[2] ~= owner", NEVER),
        )
    ),
    *(
        Mutant(a_claim_of_the_previous_release_fences_an_older_one_of_this, script, guard, instead)
        for script, guard, instead in (
            ("renew", "run[1] == epoch", "true"),
            ("finish", "run[1] ~= ARGV[2]", NEVER),
            ("append", "run[1] ~= epoch", NEVER),
        )
    ),
    Mutant(what_is_gone_cannot_be_renewed_or_given_back, "renew", "redis.call('ZSCORE', queue, id)", "true"),
    Mutant(what_is_gone_cannot_be_renewed_or_given_back, "finish", "KEYS[1], 'XX', due", "KEYS[1], due"),
    *(
        Mutant(what_is_committed_is_owed_no_more_and_some_of_it_is_kept, "forget", guard, instead)
        for guard, instead in (
            ("redis.call('HDEL', KEYS[1], id)", ""),
            ("kept ~= '-'", "true"),
            (" or '-'", " or 'nothing'"),
            ("if kept == ''", "if true"),
            ("if count > most then", "if false then"),
            ("redis.call('HDEL', KEYS[2], oldest[i])", ""),
            ("redis.call('PEXPIRE', KEYS[2], ARGV[2])", ""),
            ("redis.call('PEXPIRE', KEYS[3], ARGV[2])", ""),
        )
    ),
    Mutant(
        what_is_committed_and_kept_has_a_budget_of_bytes, "forget", "if bytes > tonumber(ARGV[3]) then", "if false then"
    ),
    Mutant(
        what_is_committed_is_owed_no_more_also_when_redis_is_full,
        "forget",
        "redis.call('HDEL', KEYS[1], id)",
        "redis.call('ZADD', KEYS[3], now, id)\n  redis.call('HDEL', KEYS[1], id)",
    ),
    Mutant(a_journal_says_who_began_it, "append", "redis.call('HSET', run_key, 'begun', begun, 'upstream', upstream)"),
    Mutant(a_journal_says_who_began_it, "append", "if place == 0 then", "if true then"),
    Mutant(an_append_has_its_place, "append", "if length ~= place then", "if false then"),
    Mutant(an_append_has_its_place, "append", "length > place and", "false and"),
    Mutant(an_append_has_its_place, "append", "redis.call('LINDEX', journal, place) == event", "true"),
    Mutant(a_last_event_comes_with_its_settle_record, "append", "redis.call('HSET', KEYS[1], id, record)"),
    Mutant(a_last_event_comes_with_its_settle_record, "append", "if record ~= '' then", "if true then"),
    Mutant(
        a_last_event_comes_with_its_settle_record, "tombstone", "redis.call('HEXISTS', KEYS[4], ARGV[1]) == 1", NEVER
    ),
    Mutant(what_a_worker_holds_is_not_buried, "tombstone", "if leased or", "if"),
    Mutant(a_buried_request_never_runs, "tombstone", "redis.call('HSET', KEYS[3], 'dead', '1')"),
    Mutant(a_buried_request_never_runs, "tombstone", "redis.call('DEL', KEYS[2])"),
    Mutant(every_front_door_with_a_reader_is_told, "listen", "redis.call('PEXPIRE', KEYS[1], ARGV[3])"),
    Mutant(every_front_door_with_a_reader_is_told, "listen", "if channel ~= ARGV[1] then", "if true then"),
    Mutant(every_front_door_with_a_reader_is_told, "enqueue", "channels .. ' ' .. ARGV[5]", "ARGV[5]"),
    Mutant(every_front_door_with_a_reader_is_told, "enqueue", "if not string.find", "if true or not string.find"),
    *(
        Mutant(who_reads_the_journal_listens_again_when_redis_forgot_that, "read", guard, instead)
        for guard, instead in (
            ("if ARGV[5] ~= '' and run[2] and not", "if run[2] and not"),
            ("not string.find(' ' .. run[2] .. ' ', ' ' .. ARGV[5] .. ' ', 1, true)", "true"),
            ("others < tonumber(ARGV[6])", "true"),
            ("others == 0 and ARGV[5] or run[2] .. ' ' .. ARGV[5]", "ARGV[5]"),
        )
    ),
    Mutant(readers_everywhere_have_an_end, "listen", "#channels > tonumber(ARGV[2])", NEVER),
    Mutant(a_request_is_abandoned_when_its_last_reader_leaves, "abort", "if channel ~= ARGV[3] then", "if true then"),
    Mutant(a_request_is_abandoned_when_its_last_reader_leaves, "abort", "if #channels > 0 then", "if false then"),
    Mutant(a_request_is_abandoned_when_its_last_reader_leaves, "abort", "redis.call('ZADD', KEYS[2], now, ARGV[1])"),
    Mutant(a_request_is_abandoned_when_its_last_reader_leaves, "abort", "if not known then", "if false then"),
    *(
        Mutant(what_is_to_be_aborted_does_not_wait, script, guard, instead)
        for script, guard, instead in (
            ("claim", ", 'queue', queue)", ")"),
            ("abort", "not leased and", ""),
            ("abort", "redis.call('LPUSH', 'bell:' .. queue, ARGV[1])", ""),
            ("finish", "or redis.call('ZSCORE', KEYS[5], id)", ""),
        )
    ),
    *(
        Mutant(what_is_due_keeps_its_place_when_it_is_to_be_aborted, "abort", guard, "")
        for guard in ("'XX', ", "'LT', ")
    ),
    Mutant(
        what_redis_lost_is_run_again_under_a_new_epoch_unless_it_left_a_journal,
        "enqueue",
        "redis.call('EXISTS', KEYS[6]) == 1",
        NEVER,
    ),
    Mutant(
        what_redis_lost_is_run_again_under_a_new_epoch_unless_it_left_a_journal,
        "enqueue",
        "redis.call('HSET', KEYS[3], 'epoch', ARGV[8])",
    ),
    *(
        Mutant(with_its_requests_last_event_a_job_is_done, "append", guard, instead)
        for guard, instead in (
            ("'arq:job:' .. id, 'arq:retry:'", "'arq:retry:'"),
            ("redis.call('DEL', 'arq:in-progress:' .. id)", ""),
            (", 'arq:retry:' .. id", ""),
            ("redis.call('ZREM', 'arq:abort', id)", ""),
            ("leave_queue(queue, id, run.account, run.bytes, run.large)", ""),
            ("redis.call('PEXPIRE', run_key, keep_ms)", ""),
            ("if ending ~= '' then", "if false then"),
        )
    ),
    Mutant(an_end_that_is_fenced_leaves_the_job, "append", "run[1] ~= epoch or run[2] ~= owner", NEVER),
]
PROMISES = list(dict.fromkeys(mutant.broken for mutant in MUTANTS))


@pytest.fixture
def bench(lua: Scripts, redis_client: ArqRedis) -> Bench:
    return Bench(Queue(lua, lease_s=10, keep_run_s=60, depth_max=3), lua, redis_client)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_the_real_scripts_keep_their_promise(bench: Bench, promise: Promise) -> None:
    await promise(bench)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.script} without {mutant.guard}")
async def test_a_script_without_this_guard_is_noticed(bench: Bench, mutant: Mutant) -> None:
    await must_be_noticed(bench, mutant)
