"""A worker gets the large jobs that it has memory for: the promises, and every guard of the scripts that keeps them."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix

from shared.chat import Message
from shared.job import Job
from shared.lanes import QueueName
from shared.queue.byte_limits import ByteLimits
from shared.queue.claims import Claims, Memory, Room
from shared.queue.queue import Queue
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job
from tests.integration.jobs import (
    GEMINI,
    OPENAI,
    OPENAI_BATCH,
    PLENTY,
    enqueue,
    let_lease_lapse,
    make_due,
    room,
    until_the_next_millisecond,
)
from tests.integration.queue.mutants import Bench, Mutant, Promise, must_be_noticed

LIMITS = ByteLimits(small=4_000)
LARGE, SMALL, OTHER = "acc_large", "acc_small", "acc_other"
NONE = Memory(0, alone=False)
SIX = Memory(6 * 11_500, alone=False)
"""Memory for six payloads of ten thousand characters."""


def _large(account: str = LARGE, times: float = 1) -> Job:
    return a_job(account_id=account, messages=[Message("user", "x" * int(10_000 * times))])


async def _wait(bench: Bench, *jobs: Job, queue: QueueName = OPENAI) -> list[str]:
    """Jobs of the same millisecond would have no order."""
    for job in jobs:
        await until_the_next_millisecond(bench.client)
        await enqueue(bench.queue, job, queue)
    return [job.id for job in jobs]


async def _claim(bench: Bench, memory: Memory, *rooms: Room, worker: str = "wrk_a", jobs_max: int = PLENTY) -> Claims:
    await until_the_next_millisecond(bench.client)
    return await bench.queue.claim(worker, rooms or [room()], jobs_max, memory)


def _ids(claims: Claims) -> list[str]:
    return [one.id for one in claims]


async def _rings(bench: Bench, name: str) -> int:
    return int(await bench.client.llen(name))  # type: ignore[misc] # typed for both clients


async def a_worker_gets_the_large_jobs_that_fit(bench: Bench) -> None:
    """As many bytes as the copies take that it makes of them; how many it got stands in each claim."""
    waiting = await _wait(bench, *(_large() for _ in range(5)))
    assert _ids(await _claim(bench, SIX, room()._replace(copies=4))) == waiting[:1]
    two = await _claim(bench, SIX, room()._replace(copies=3))
    assert _ids(two) == waiting[1:3]
    assert two.held_up == OPENAI
    assert [one.large for one in two] == [await bench.client.strlen(job_key_prefix + one.id) for one in two]
    assert _ids(await _claim(bench, SIX, room()._replace(copies=1))) == waiting[3:]


async def what_takes_more_memory_than_its_bytes_counts_that(bench: Bench) -> None:
    """Though it is short as it travels."""
    first, second = await _wait(bench, *(a_job(account_id=LARGE, footprint=40_000) for _ in range(2)))
    got = await _claim(bench, SIX)
    assert ([(one.id, one.large) for one in got], got.held_up) == ([(first, 40_000)], OPENAI)
    assert _ids(await _claim(bench, SIX)) == [second]


async def a_worker_that_runs_none_gets_one_of_any_size(bench: Bench) -> None:
    waiting = await _wait(bench, _large(times=9), _large(), _large())
    got = await _claim(bench, Memory(100, alone=True))
    assert _ids(got) == waiting[:1]
    assert got.held_up == OPENAI
    assert _ids(await _claim(bench, NONE)) == []


async def what_has_lost_its_payload_needs_no_memory(bench: Bench) -> None:
    """Also where there is none left."""
    large, lost = await _wait(bench, _large(times=9), _large())
    await bench.client.delete(job_key_prefix + lost)
    got = await _claim(bench, Memory(100, alone=True))
    assert (_ids(got), got.held_up) == ([large], None)


async def small_jobs_pass_large_ones_that_do_not_fit(bench: Bench) -> None:
    """Those of others, and of the same account."""
    await _wait(bench, _large(), _large(OTHER))
    small = await _wait(bench, a_job(account_id=LARGE), a_job(account_id=SMALL))
    got = await _claim(bench, NONE)
    assert sorted(_ids(got)) == sorted(small)
    assert [one.large for one in got] == [0, 0]


async def a_large_job_that_was_held_up_is_passed_by_no_other(bench: Bench) -> None:
    """Though it would fit, its account's turn is first, and the claim is another worker's. Where it fits itself, it waits for
    no turn either.
    """
    (first,) = await _wait(bench, _large(times=5))
    assert (await _claim(bench, NONE)).held_up == OPENAI
    running = await _wait(bench, a_job(account_id=LARGE))
    assert _ids(await _claim(bench, NONE)) == running
    other, small = await _wait(bench, _large(OTHER), a_job(account_id=SMALL))
    assert _ids(await _claim(bench, Memory(12_000, alone=False), worker="wrk_b")) == [small]
    await _wait(bench, a_job(account_id="acc_another"))
    assert _ids(await _claim(bench, Memory(2**40, alone=False), worker="wrk_b", jobs_max=1)) == [first]
    assert other in _ids(await _claim(bench, Memory(12_000, alone=False)))


async def a_worker_that_was_held_up_takes_no_large_job_of_a_later_queue(bench: Bench) -> None:
    """Or it would never have the memory."""
    await _wait(bench, _large(times=9))
    await enqueue(bench.queue, other := _large(OTHER), GEMINI)
    await enqueue(bench.queue, small := a_job(account_id=SMALL), GEMINI)
    assert _ids(await _claim(bench, SIX, room(), room(GEMINI))) == [small.id]
    assert _ids(await _claim(bench, SIX, room(GEMINI), room())) == [other.id]


async def batch_lines_need_memory_too(bench: Bench) -> None:
    await _wait(bench, _large(), _large(times=9), queue=OPENAI_BATCH)
    got = await _claim(bench, SIX, room(), room(OPENAI_BATCH))
    assert len(got) == 1
    assert got.held_up == OPENAI_BATCH


async def an_accounts_own_come_in_their_order(bench: Bench) -> None:
    """Small and large ones."""
    jobs = [a_job(account_id=LARGE), _large(), a_job(account_id=LARGE), _large()]
    waiting = await _wait(bench, *jobs)
    assert [_ids(await _claim(bench, SIX, jobs_max=1))[0] for _ in range(4)] == waiting


async def large_jobs_and_small_ones_take_turns(bench: Bench) -> None:
    """By account: what runs of either counts, and who had a turn of either has had it."""
    large = await _wait(bench, *(_large() for _ in range(3)))
    small = await _wait(bench, *(a_job(account_id=SMALL) for _ in range(3)))
    got = [_ids(await _claim(bench, SIX, jobs_max=1))[0] for _ in range(6)]
    assert got == [job_id for pair in zip(large, small, strict=True) for job_id in pair]


async def who_has_both_has_one_turn_for_both(bench: Bench) -> None:
    both = await _wait(bench, _large(), a_job(account_id=LARGE), _large(), a_job(account_id=LARGE))
    small = await _wait(bench, *(a_job(account_id=SMALL) for _ in range(4)))
    got = [(await _claim(bench, SIX, jobs_max=1))[0] for _ in range(5)]
    assert [one.id for one in got] == [both[0], small[0], both[1], small[1], both[2]]
    for one in got[:3:2]:
        await bench.queue.finish(one)
    assert _ids(await _claim(bench, SIX, jobs_max=1)) == [both[3]]


async def who_had_a_turn_with_a_small_job_has_had_it(bench: Bench) -> None:
    """When it comes with a large one while it still waits with small ones."""
    await _wait(bench, *(a_job(account_id=LARGE) for _ in range(3)))
    got = await _claim(bench, SIX, jobs_max=1)
    await bench.queue.finish(got[0])
    await _wait(bench, _large())
    (other,) = await _wait(bench, _large(OTHER))
    assert _ids(await _claim(bench, SIX, jobs_max=1)) == [other]


async def what_held_workers_up_wakes_them_when_it_is_out_of_their_way(bench: Bench) -> None:
    """Taken by another worker, or buried; the one that takes it needs no ring."""
    for is_buried in (False, True):
        await bench.client.flushdb()
        (first,) = await _wait(bench, _large(times=9))
        for worker in ("wrk_a", "wrk_b"):
            assert (await _claim(bench, SIX, worker=worker)).held_up == OPENAI
        assert await bench.client.get(keys.first(OPENAI)) == first.encode()
        assert 0 < await bench.client.pttl(keys.held_up(OPENAI)) <= 60_000
        assert not await bench.client.exists(keys.own_bell("wrk_a"), keys.own_bell("wrk_b"))
        if is_buried:
            assert await bench.queue.bury(first, OPENAI)
        else:
            assert len(await _claim(bench, Memory(0, alone=True), worker="wrk_b", jobs_max=1)) == 1
        woken = [await bench.client.lrange(keys.own_bell(worker), 0, -1) for worker in ("wrk_a", "wrk_b")]  # type: ignore[misc]
        assert woken == [[OPENAI.encode()], [OPENAI.encode()] if is_buried else []]
        assert 0 < await bench.client.pttl(keys.own_bell("wrk_a")) <= 60_000
        assert not await bench.client.exists(keys.first(OPENAI), keys.held_up(OPENAI))


async def a_ring_that_names_a_queue_outlives_one_that_only_wakes(bench: Bench) -> None:
    await bench.client.lpush(keys.own_bell("wrk_a"), OPENAI)  # type: ignore[misc]
    for _ in range(2):
        await bench.queue.wake("wrk_a")
    assert await bench.client.lrange(keys.own_bell("wrk_a"), 0, -1) == [OPENAI.encode()]  # type: ignore[misc]


async def what_held_workers_up_and_was_lost_holds_nobody_up(bench: Bench) -> None:
    """A worker of the previous release took it, or its payload is gone."""
    first, other, third = await _wait(bench, _large(times=9), _large(OTHER), _large("acc_third"))
    assert (await _claim(bench, SIX)).held_up == OPENAI
    await bench.client.zadd(OPENAI, {first: 2**42})
    assert _ids(await _claim(bench, SIX, jobs_max=1)) == [other]
    await make_due(bench.client, first)
    await bench.client.delete(keys.looked(OPENAI))
    assert (await _claim(bench, NONE)).held_up == OPENAI
    await bench.client.delete(job_key_prefix + third, job_key_prefix + first)
    assert await _claim(bench, NONE) == []
    assert await bench.client.zrange(OPENAI, 0, -1) == [other.encode()]


async def what_stays_behind_for_memory_rings_for_a_worker_that_has_some(bench: Bench) -> None:
    """And not for those that have none, who hear of small ones only."""
    await _wait(bench, _large())
    assert await _rings(bench, keys.bell(OPENAI)) == 1  # whoever has a slot looks
    for _ in range(2):
        assert await _claim(bench, NONE) == []
        assert await _rings(bench, keys.bell(OPENAI)) == 0
        assert await _rings(bench, keys.large_bell(OPENAI)) == 1
    assert await _claim(bench, NONE, room(OPENAI, 0, 0)) == []
    assert await _rings(bench, keys.bell(OPENAI)) == 1  # something small may have come since
    await _wait(bench, *(a_job(account_id=SMALL) for _ in range(2)))
    assert len(await _claim(bench, NONE, jobs_max=1)) == 1
    assert await _rings(bench, keys.bell(OPENAI)) == 3
    await bench.client.delete(keys.bell(OPENAI), keys.large_bell(OPENAI))
    assert await _claim(bench, NONE, room(OPENAI, 0, 0)) == []
    assert (await _rings(bench, keys.bell(OPENAI)), await _rings(bench, keys.large_bell(OPENAI))) == (1, 1)
    assert len(await _claim(bench, SIX, jobs_max=1)) == 1
    assert (await _rings(bench, keys.bell(OPENAI)), await _rings(bench, keys.large_bell(OPENAI))) == (1, 0)
    await _wait(bench, _large())
    await _claim(bench, NONE)
    assert await _rings(bench, keys.large_bell(OPENAI)) == 1
    assert len(await _claim(bench, SIX)) == 1
    assert not await bench.client.exists(keys.bell(OPENAI), keys.large_bell(OPENAI))


async def what_is_held_up_costs_no_look_at_all_that_is_due(bench: Bench) -> None:
    """Where a slot is left because of it: what is missing in the lines is found within the minute."""
    first, missing = await _wait(bench, _large(times=9), a_job(account_id=SMALL))
    assert _ids(await _claim(bench, NONE)) == [missing]
    await let_lease_lapse(bench.client, missing)
    await bench.client.zadd(OPENAI, {missing: 5})
    assert await _claim(bench, NONE) == []
    await bench.client.delete(keys.looked(OPENAI))
    assert _ids(await _claim(bench, NONE)) == [missing]
    assert await bench.client.zscore(OPENAI, first)


MUTANTS = [
    *(
        Mutant(a_worker_gets_the_large_jobs_that_fit, "claim", guard, instead)
        for guard, instead in (
            ("counts * copies > memory", "counts > memory"),
            ("memory = memory - counts * copies", ""),
            ("class == LARGE and counts or 0 }", "0 }"),
        )
    ),
    *(
        Mutant(what_takes_more_memory_than_its_bytes_counts_that, script, guard, instead)
        for script, guard, instead in (
            ("enqueue", "math.max(#ARGV[2], tonumber(ARGV[14]))", "#ARGV[2]"),
            ("claim", "math.max(size, tonumber(redis.call('HGET', 'run:' .. id, 'bytes') or 0))", "size"),
        )
    ),
    *(
        Mutant(a_worker_that_runs_none_gets_one_of_any_size, "claim", guard, "")
        for guard in ("not alone and ", "      alone = false\n")
    ),
    Mutant(small_jobs_pass_large_ones_that_do_not_fit, "claim", "with_large and not held_up", "with_large"),
    Mutant(small_jobs_pass_large_ones_that_do_not_fit, "enqueue", "size > small_max and LARGE or SMALL", "LARGE"),
    *(
        Mutant(a_large_job_that_was_held_up_is_passed_by_no_other, script, guard, instead)
        for script, guard, instead in (
            ("claim", "  redis.call('SET', 'first:' .. queue, id, 'PX', REMEMBERED_MS)", ""),
            ("claim", "      hold_up(queue, id, worker)", ""),
            ("claim", "if id or sooner < 0 then", "if sooner < 0 then"),
        )
    ),
    Mutant(a_worker_that_was_held_up_takes_no_large_job_of_a_later_queue, "claim", "local held_up = false\n", ""),
    Mutant(batch_lines_need_memory_too, "claim", "      claimed[2] = queue", ""),
    Mutant(
        an_accounts_own_come_in_their_order,
        "claim",
        "sooner = (due_of_large or 0) - (due_of_small or 0)",
        "sooner = 1",
    ),
    Mutant(
        an_accounts_own_come_in_their_order,
        "claim",
        "sooner = (due_of_large or 0) - (due_of_small or 0)",
        "sooner = -1",
    ),
    Mutant(large_jobs_and_small_ones_take_turns, "claim", "tonumber(its_rank) - tonumber(rank)", "-1"),
    Mutant(
        who_has_both_has_one_turn_for_both,
        "claim",
        "    stand_for_turn(queue, other_than(class), account, now, now)",
    ),
    Mutant(who_has_both_has_one_turn_for_both, "finish", "ipairs({ SMALL, LARGE }) do", "ipairs({ LARGE }) do"),
    Mutant(
        who_had_a_turn_with_a_small_job_has_had_it, "enqueue", "rank and rank % ONE_RUNNING or redis.call", "redis.call"
    ),
    *(
        Mutant(what_held_workers_up_wakes_them_when_it_is_out_of_their_way, script, guard, instead)
        for script, guard, instead in (
            ("tombstone", "let_pass(queue, ARGV[1])", ""),
            ("claim", "    let_pass(queue, id, worker)\n  end\n  return is_taken", "  end\n  return is_taken"),
            ("claim", "if waiting ~= worker then", "if true then"),
            ("claim", "redis.call('DEL', 'held_up:' .. queue)", ""),
            ("claim", "redis.call('PEXPIRE', 'held_up:' .. queue, HELD_UP_MS)", ""),
            ("claim", "redis.call('PEXPIRE', 'bell:' .. waiting, HELD_UP_MS)", ""),
            ("claim", "redis.call('SADD', 'held_up:' .. queue, worker)", ""),
        )
    ),
    Mutant(
        a_ring_that_names_a_queue_outlives_one_that_only_wakes, "wake", "redis.call('EXISTS', KEYS[1]) == 0", "true"
    ),
    Mutant(what_has_lost_its_payload_needs_no_memory, "claim", "and size > 0 and", "and"),
    Mutant(what_held_workers_up_and_was_lost_holds_nobody_up, "claim", "if due and class", "if class"),
    *(
        Mutant(what_stays_behind_for_memory_rings_for_a_worker_that_has_some, "claim", guard, instead)
        for guard, instead in (
            ("if large and has_looked and redis", "if false and redis"),
            ("if large and has_looked and redis", "if large and redis"),
            (" and redis.call('EXISTS', 'turns:' .. queue .. SMALL) == 0 then", " then"),
            ("    ring(large_bell, waiting)", ""),
            ("    redis.call('DEL', large_bell)", ""),
            ("redis.call('DEL', bell, large_bell)", "redis.call('DEL', bell)"),
        )
    ),
    Mutant(
        what_is_held_up_costs_no_look_at_all_that_is_due,
        "claim",
        "waiting and taken < want and not held_up",
        "waiting and taken < want",
    ),
]
PROMISES = list(dict.fromkeys(mutant.broken for mutant in MUTANTS))


@pytest.fixture
def bench(lua: Scripts, redis_client: ArqRedis) -> Bench:
    return Bench(Queue(lua, lease_s=10, keep_run_s=60, depth_max=100, byte_limits=LIMITS), lua, redis_client)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_workers_get_what_they_have_memory_for(bench: Bench, promise: Promise) -> None:
    await promise(bench)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.script} without {mutant.guard}")
async def test_a_script_without_this_guard_is_noticed(bench: Bench, mutant: Mutant) -> None:
    await must_be_noticed(bench, mutant)
