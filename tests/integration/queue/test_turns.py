"""Accounts take turns, and share a full queue: the promises, and every guard of the scripts that keeps them."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix

from shared.chat import Message
from shared.errors import Overloaded
from shared.job import Chunk
from shared.queue.claims import EPOCHS_PER_ENQUEUE, Claim
from shared.queue.queue import Queue
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job, a_release, a_reservation
from tests.integration.jobs import OPENAI, enqueue, let_lease_lapse, room, until_the_next_millisecond
from tests.integration.queue.mutants import NEVER, Bench, Mutant, Promise, must_be_noticed

DEPTH = 6
LARGE, SMALL, OTHER = "acc_large", "acc_small", "acc_other"


async def _wait(bench: Bench, account: str, jobs: int = 1) -> list[str]:
    """So many jobs of the account wait; their ids."""
    queue = Queue(bench.lua, lease_s=10, keep_run_s=60, depth_max=1_000)
    waiting = [a_job(account_id=account) for _ in range(jobs)]
    for job in waiting:
        await until_the_next_millisecond(bench.client)
        await enqueue(queue, job)
    return [job.id for job in waiting]


async def _next(bench: Bench) -> tuple[str, Claim]:
    """A slot is free: the account whose job it takes, and its claim."""
    await until_the_next_millisecond(bench.client)
    (one,) = await bench.queue.claim("wrk_a", [room()], 1)
    account = await bench.client.hget(keys.run(one.id), "account")  # type: ignore[misc] # typed for both clients
    return (account or b"").decode(), one


async def _served(bench: Bench, slots: int) -> list[str]:
    """Whose jobs take so many slots, one after the other."""
    return [(await _next(bench))[0] for _ in range(slots)]


async def _comes_due(bench: Bench, one: Claim) -> None:
    """It is given back for the next millisecond, and that has come."""
    await bench.queue.give_back(one, due_ms=await _redis_ms(bench) + 2)
    for _ in range(3):
        await until_the_next_millisecond(bench.client)


async def _redis_ms(bench: Bench) -> int:
    seconds, microseconds = await bench.client.time()
    return int(seconds) * 1_000 + int(microseconds) // 1_000


# -- turns


async def an_accounts_own_jobs_come_in_their_order(bench: Bench) -> None:
    large = await _wait(bench, LARGE, 4)
    await _wait(bench, SMALL, 2)
    taken = [await _next(bench) for _ in range(6)]
    assert [account for account, _ in taken] == [LARGE, SMALL, LARGE, SMALL, LARGE, LARGE]
    assert [one.id for account, one in taken if account == LARGE] == large


async def one_claim_of_many_takes_turns_as_many_of_one_do(bench: Bench) -> None:
    await _wait(bench, LARGE, 4)
    small = await _wait(bench, SMALL, 2)
    taken = await bench.queue.claim("wrk_a", [room()], 4)
    assert {one.id for one in taken} >= set(small)


async def whoever_has_fewest_jobs_running_goes_first(bench: Bench) -> None:
    """Also when they ended while it waited."""
    for ends_with_its_request in (False, True):
        await bench.client.flushdb()
        await _wait(bench, LARGE, 8)
        running = [(await _next(bench))[1] for _ in range(4)]
        await _wait(bench, OTHER, 4)
        assert await _served(bench, 3) == [OTHER] * 3
        for one in running[:3]:
            if ends_with_its_request:
                await bench.ended(one, bench.queue)
            else:
                await bench.queue.finish(one)
        assert await _served(bench, 2) == [LARGE] * 2


async def a_job_that_is_given_back_does_not_run(bench: Bench) -> None:
    await _wait(bench, LARGE, 3)
    running = [(await _next(bench))[1] for _ in range(2)]
    await _wait(bench, OTHER, 2)
    await _next(bench)
    for one in running:
        await bench.queue.give_back(one, due_ms=2**42)
    assert await _served(bench, 1) == [LARGE]


async def jobs_of_a_dead_worker_do_not_run(bench: Bench) -> None:
    await _wait(bench, LARGE, 3)
    lost = (await _next(bench))[1]
    await _next(bench)
    await _wait(bench, OTHER, 3)
    await _served(bench, 1)
    await let_lease_lapse(bench.client, lost.id)
    for name in await bench.client.keys(keys.running(OPENAI, LARGE)):
        await bench.client.zadd(name, dict.fromkeys(await bench.client.zrange(name, 0, -1), 1))
    await bench.client.delete(keys.looked(OPENAI))
    assert await _served(bench, 1) == [LARGE]


async def a_job_whose_lease_is_renewed_still_runs(bench: Bench) -> None:
    await _wait(bench, LARGE, 3)
    one = (await _next(bench))[1]
    name = keys.running(OPENAI, LARGE)
    await bench.client.zadd(name, {one.id: 1})
    await bench.client.pexpire(name, 5_000)
    assert await bench.queue.renew([one]) == []
    assert (await bench.client.zscore(name, one.id) or 0) > await _redis_ms(bench)
    assert await bench.client.pttl(name) > 5_000


async def among_equals_the_turn_of_the_longest_ago_is_next(bench: Bench) -> None:
    for account in (LARGE, OTHER):
        await _wait(bench, account, 5)
    served = []
    for _ in range(6):
        account, one = await _next(bench)
        await bench.queue.finish(one)
        served.append(account)
    assert served == [LARGE, OTHER] * 3


async def who_comes_back_at_once_has_had_its_turn(bench: Bench) -> None:
    """A caller who asks again and again, one request at a time, does not keep others from a lone slot."""
    await _wait(bench, LARGE, 5)
    await _wait(bench, SMALL)
    served = []
    for _ in range(6):
        account, one = await _next(bench)
        if account == SMALL:
            await _wait(bench, SMALL)
        await bench.queue.finish(one)
        served.append(account)
    assert served == [LARGE, SMALL] * 3


async def who_had_no_turn_lately_goes_first_among_equals(bench: Bench) -> None:
    for account in ("acc_1", "acc_2", "acc_3"):
        await _wait(bench, account, 3)
    for _ in range(3):
        await bench.queue.finish((await _next(bench))[1])
    await _wait(bench, SMALL)
    assert await _served(bench, 1) == [SMALL]


async def who_had_a_turn_is_forgotten(bench: Bench) -> None:
    await _wait(bench, SMALL)
    await _next(bench)
    assert 0 < await bench.client.pttl(keys.served(OPENAI)) <= 600_000
    await bench.client.zadd(keys.served(OPENAI), {LARGE: 1})
    await _wait(bench, SMALL)
    await _next(bench)
    assert await bench.client.zrange(keys.served(OPENAI), 0, -1) == [SMALL.encode()]


async def what_comes_due_by_itself_has_its_turn(bench: Bench) -> None:
    """Though each slot that is freed has older jobs of a large account to take."""
    await _wait(bench, SMALL)
    deferred = (await _next(bench))[1]
    await _wait(bench, LARGE, 6)
    await _served(bench, 2)
    await _comes_due(bench, deferred)
    assert await _served(bench, 1) == [SMALL]


async def what_was_missed_is_found_when_there_is_room_and_else_within_a_minute(bench: Bench) -> None:
    """Its due time is one at which a claim has looked already: the clock stepped back."""
    await _wait(bench, SMALL)
    missed = (await _next(bench))[1]
    await _wait(bench, LARGE, 3)
    await _served(bench, 1)
    await let_lease_lapse(bench.client, missed.id)
    await bench.client.zadd(OPENAI, {missed.id: 5})
    assert {one.id for one in await bench.queue.claim("wrk_a", [room()], 10)} >= {missed.id}
    assert 0 < await bench.client.pttl(keys.looked(OPENAI)) <= 60_000
    await bench.client.pexpire(keys.looked(OPENAI), 30_000)
    await _wait(bench, LARGE)
    await _next(bench)
    assert 0 < await bench.client.pttl(keys.looked(OPENAI)) <= 30_000


async def what_is_due_in_the_past_is_given_back_for_now(bench: Bench) -> None:
    await _wait(bench, SMALL)
    one = (await _next(bench))[1]
    await _wait(bench, LARGE, 3)
    await _served(bench, 2)
    await until_the_next_millisecond(bench.client)
    await bench.queue.give_back(one, due_ms=5)
    assert await _served(bench, 1) == [SMALL]


async def workers_of_the_previous_release_may_take_what_stands_in_a_line(bench: Bench) -> None:
    """They know the queue alone, so a line may name what is not due any more."""
    taken, left = await _wait(bench, LARGE, 2)
    await bench.client.zadd(OPENAI, {taken: 2**42})
    assert (await _next(bench))[1].id == left
    assert not await bench.client.exists(keys.line(OPENAI, LARGE), keys.turns(OPENAI))


async def front_doors_of_the_previous_release_need_no_line(bench: Bench) -> None:
    await _wait(bench, LARGE, 3)
    await _served(bench, 2)
    job = a_job()
    await until_the_next_millisecond(bench.client)
    await bench.client.set(job_key_prefix + job.id, "payload")
    await bench.client.zadd(OPENAI, {job.id: await _redis_ms(bench)})
    account, one = await _next(bench)
    assert (account, one.id) == ("", job.id)
    await bench.queue.finish(one)
    assert not await bench.client.exists(keys.running(OPENAI, ""))


async def what_is_gone_holds_nobody_up_for_long(bench: Bench) -> None:
    """Lines full of jobs that are gone are looked at in part, and the rest by the next claim."""
    gone = await _wait(bench, LARGE, 1) + [f"req_{number}" for number in range(2_500)]
    await bench.client.zadd(keys.line(OPENAI, LARGE), {job_id: number for number, job_id in enumerate(gone[1:])})
    seen = [await bench.client.zcard(keys.line(OPENAI, LARGE))]
    while not await bench.queue.claim("wrk_a", [room()], 1):
        seen.append(await bench.client.zcard(keys.line(OPENAI, LARGE)))
    assert seen == [2_501, 501]


# -- shares of a full queue


async def _is_refused(bench: Bench, account: str, *, epoch: int = 0) -> bool:
    try:
        await enqueue(bench.queue, a_job(account_id=account), epoch=epoch)
    except Overloaded:
        return True
    return False


async def a_full_queue_refuses_those_who_have_their_share(bench: Bench) -> None:
    await _wait(bench, LARGE, DEPTH)
    assert await _is_refused(bench, LARGE)
    assert [await _is_refused(bench, SMALL) for _ in range(4)] == [False] * 3 + [True]
    assert [await _is_refused(bench, OTHER) for _ in range(3)] == [False] * 2 + [True]
    assert len(await bench.queue.claim("wrk_a", [room()], 100)) == DEPTH + 5


async def a_queue_that_is_not_full_is_anybodys(bench: Bench) -> None:
    await _wait(bench, SMALL)
    assert [await _is_refused(bench, LARGE) for _ in range(DEPTH)] == [False] * (DEPTH - 1) + [True]


async def a_share_is_one_job_at_least(bench: Bench) -> None:
    for number in range(DEPTH + 2):
        await _wait(bench, f"acc_{number}")
    assert not await _is_refused(bench, SMALL)
    assert await _is_refused(bench, SMALL)


async def at_twice_its_depth_a_queue_is_full_for_all(bench: Bench) -> None:
    await _wait(bench, LARGE, 2 * DEPTH - 1)
    assert not await _is_refused(bench, SMALL)
    assert await _is_refused(bench, OTHER)


async def an_account_with_jobs_of_both_sizes_is_one(bench: Bench) -> None:
    """It has one share, for small and large ones together, and others have as much as beside any account."""
    queue = Queue(bench.lua, lease_s=10, keep_run_s=60, depth_max=1_000)
    text = "x" * 100_000
    for number in range(DEPTH):
        message = Message("user", text if number % 2 else "Hello")
        await enqueue(queue, a_job(account_id=LARGE, messages=[message]))
    assert [await _is_refused(bench, SMALL) for _ in range(4)] == [False] * 3 + [True]
    await bench.queue.finish((await _next(bench))[1])
    assert await _is_refused(bench, LARGE)


async def what_was_admitted_is_put_back_into_a_full_queue(bench: Bench) -> None:
    await _wait(bench, LARGE, 2 * DEPTH)
    assert not await _is_refused(bench, LARGE, epoch=EPOCHS_PER_ENQUEUE)


async def what_is_buried_counts_for_no_share(bench: Bench) -> None:
    waiting = await _wait(bench, LARGE, DEPTH)
    for number in range(2):
        (buried,) = await _wait(bench, f"acc_{number}")
        assert await bench.queue.bury(buried, OPENAI)
    await _wait(bench, SMALL, 2)
    for job_id in waiting[:3]:
        assert await bench.queue.bury(job_id, OPENAI)
    await _wait(bench, SMALL)
    assert await _is_refused(bench, SMALL)
    await _wait(bench, OTHER)
    assert await bench.client.zcard(keys.turns(OPENAI)) == 3
    assert await bench.client.zcard(keys.line(OPENAI, LARGE)) == 3


async def what_ended_leaves_nobody_in_a_line(bench: Bench) -> None:
    """Nor running."""
    await _wait(bench, LARGE, 2)
    for _ in range(2):
        one = (await _next(bench))[1]
        await bench.journal(one, ending=bench.queue.ending(one)).append(
            Chunk("all"), a_release(a_reservation(LARGE, id=one.id))
        )
    names = [keys.turns(OPENAI), keys.line(OPENAI, LARGE), keys.running(OPENAI, LARGE)]
    assert not await bench.client.exists(*names)


MUTANTS = [
    Mutant(
        one_claim_of_many_takes_turns_as_many_of_one_do,
        "claim",
        "    stand_for_turn(queue, class, account, now, now)\n",
    ),
    Mutant(an_accounts_own_jobs_come_in_their_order, "claim", "'ZPOPMIN', line_of", "'ZPOPMAX', line_of"),
    *(
        Mutant(whoever_has_fewest_jobs_running_goes_first, script, guard, instead)
        for script, guard, instead in (
            ("claim", "run_until(queue, account, id, now + lease, lease)", ""),
            ("claim", "running * ONE_RUNNING + last_turn", "last_turn"),
            ("finish", "  stop_running(queue, run.account, id)", ""),
            ("append", "  stop_running(queue, run.account, id)", ""),
        )
    ),
    Mutant(a_job_that_is_given_back_does_not_run, "finish", "stop_running(KEYS[1], account, id)"),
    Mutant(jobs_of_a_dead_worker_do_not_run, "claim", "'(' .. now, '+inf'", "'-inf', '+inf'"),
    Mutant(a_job_whose_lease_is_renewed_still_runs, "renew", "redis.call('ZADD', running, lease_end, id)"),
    Mutant(a_job_whose_lease_is_renewed_still_runs, "renew", "redis.call('PEXPIRE', running, lease)"),
    *(
        Mutant(among_equals_the_turn_of_the_longest_ago_is_next, script, guard, instead)
        for script, guard, instead in (
            ("claim", "is_taken and now or rank % ONE_RUNNING", "rank % ONE_RUNNING"),
            ("finish", "/ 1000), rank % ONE_RUNNING)", "/ 1000), 0)"),
            (
                "claim",
                "stand_for_turn(queue, class, account, now, now)",
                "stand_for_turn(queue, class, account, now, 0)",
            ),
        )
    ),
    *(
        Mutant(who_comes_back_at_once_has_had_its_turn, script, guard)
        for script, guard in (
            ("claim", "redis.call('ZADD', 'served:' .. queue, last_turn, account)"),
            ("enqueue", "redis.call('ZSCORE', 'served:' .. queue, account) or"),
        )
    ),
    Mutant(who_had_no_turn_lately_goes_first_among_equals, "enqueue", "or now - REMEMBERED_MS", "or now"),
    Mutant(who_had_a_turn_is_forgotten, "claim", "redis.call('PEXPIRE', 'served:' .. queue, REMEMBERED_MS)"),
    Mutant(who_had_a_turn_is_forgotten, "claim", "redis.call('ZREMRANGEBYSCORE',", "redis.call('ZCOUNT',"),
    Mutant(what_comes_due_by_itself_has_its_turn, "claim", "    fill_lines_with_news(queue)"),
    *(
        Mutant(what_was_missed_is_found_when_there_is_room_and_else_within_a_minute, "claim", guard)
        for guard in ("      fill_lines(queue, '-inf')", ", 'PX', LOOK_AGAIN_MS", ", 'KEEPTTL'")
    ),
    Mutant(
        what_is_due_in_the_past_is_given_back_for_now, "finish", "math.max(tonumber(ARGV[4]), now)", "tonumber(ARGV[4])"
    ),
    *(
        Mutant(workers_of_the_previous_release_may_take_what_stands_in_a_line, "claim", guard, instead)
        for guard, instead in (
            ("not due or tonumber(due) > now", "not due"),
            ("if redis.call('EXISTS', line_of(queue, class, account)) == 0 then", "if false then"),
        )
    ),
    Mutant(front_doors_of_the_previous_release_need_no_line, "claim", "    fill_lines_with_news(queue)"),
    Mutant(what_is_gone_holds_nobody_up_for_long, "claim", "and looked_at < LOOKED_AT_MAX"),
    *(
        Mutant(a_full_queue_refuses_those_who_have_their_share, "enqueue", guard, instead)
        for guard, instead in (
            ("own >= math", "-1 >= math"),
            ("own >= math", "2 ^ 50 >= math"),
            ("depth / accounts", "depth * accounts"),
        )
    ),
    Mutant(an_account_with_jobs_of_both_sizes_is_one, "enqueue", " - #redis.call('ZINTER', 2, small, large)"),
    Mutant(
        an_account_with_jobs_of_both_sizes_is_one, "enqueue", " + redis.call('ZCARD', line_of(queue, LARGE, account))"
    ),
    Mutant(a_queue_that_is_not_full_is_anybodys, "enqueue", "if waiting < depth then", "if false then"),
    Mutant(a_share_is_one_job_at_least, "enqueue", "math.max(1, math.floor", "math.max(0, math.floor"),
    Mutant(at_twice_its_depth_a_queue_is_full_for_all, "enqueue", "waiting >= 2 * depth", NEVER),
    Mutant(
        what_was_admitted_is_put_back_into_a_full_queue, "enqueue", "if tonumber(ARGV[8]) == 0 then", "if true then"
    ),
    Mutant(what_is_buried_counts_for_no_share, "tombstone", "redis.call('ZREM', line, id)"),
    Mutant(what_is_buried_counts_for_no_share, "tombstone", "\nlocal account = run[1] or ''", "\nlocal account = ''"),
    Mutant(what_ended_leaves_nobody_in_a_line, "append", "  stop_running(queue, run.account, id)"),
]
PROMISES = list(dict.fromkeys(mutant.broken for mutant in MUTANTS))


@pytest.fixture
def bench(lua: Scripts, redis_client: ArqRedis) -> Bench:
    return Bench(Queue(lua, lease_s=10, keep_run_s=60, depth_max=DEPTH), lua, redis_client)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_accounts_get_what_is_promised(bench: Bench, promise: Promise) -> None:
    await promise(bench)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.script} without {mutant.guard}")
async def test_a_script_without_this_guard_is_noticed(bench: Bench, mutant: Mutant) -> None:
    await must_be_noticed(bench, mutant)
