"""A queue's payloads have a budget in bytes, shared by accounts: promises, and every guard of the scripts that keeps them."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix

from shared.chat import Message
from shared.errors import Overloaded
from shared.job import Job
from shared.queue.admission import QueueFullOfBytes
from shared.queue.byte_limits import ByteLimits
from shared.queue.claims import EPOCHS_PER_ENQUEUE
from shared.queue.queue import Queue
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job
from tests.integration.jobs import OPENAI, claim, claim_one, enqueue, let_lease_lapse
from tests.integration.queue.mutants import Bench, Mutant, Promise, must_be_noticed

LARGE_BYTES = 10_000
LIMITS = ByteLimits(queue=100_000, reserve=12_000, small=4_000, newcomers=20_000)
"""Nine large payloads, twice that in all, and beside them a dozen small ones."""
LARGE, SMALL, OTHER = "acc_large", "acc_small", "acc_other"


def _a_large_job(account: str = LARGE, size: int = LARGE_BYTES) -> Job:
    return a_job(account_id=account, messages=[Message("user", "x" * size)])


async def _is_refused(bench: Bench, job: Job, *, epoch: int = 0) -> bool:
    try:
        await enqueue(bench.queue, job, epoch=epoch)
    except QueueFullOfBytes:
        return True
    return False


async def _fill(bench: Bench, account: str = LARGE) -> list[Job]:
    """Large jobs of the account until it is refused; those that wait."""
    waiting: list[Job] = []
    while not await _is_refused(bench, job := _a_large_job(account)):
        waiting.append(job)
    return waiting


async def _counted(bench: Bench) -> dict[str, int]:
    """By account, and all of them together."""
    found = await bench.client.hgetall(keys.payload_bytes(OPENAI))  # type: ignore[misc] # typed for both clients
    counted = {name.decode(): int(size) for name, size in found.items() if name != b":counted"}
    small, large = counted.pop(":0", 0), counted.pop(":1", 0)
    return {**counted, "small": small, "all": small + large} if counted else {}


async def _payloads(bench: Bench, *jobs: Job) -> int:
    return sum([await bench.client.strlen(job_key_prefix + job.id) for job in jobs])


# -- shares of a full queue


async def a_queue_full_of_bytes_refuses_those_who_have_their_share(bench: Bench) -> None:
    """It takes from an account below its share, by one job too many."""
    waiting = await _fill(bench)
    assert await _payloads(bench, *waiting[:-1]) < LIMITS.queue < await _payloads(bench, *waiting)
    of_other = await _fill(bench, OTHER)
    assert await _payloads(bench, *of_other[:-1]) < LIMITS.queue / 2 < await _payloads(bench, *of_other)
    assert (await _counted(bench))["all"] <= 2 * LIMITS.queue - LIMITS.newcomers
    assert len(await _fill(bench, SMALL)) == 1
    assert len(await claim(bench.queue)) == len(waiting) + len(of_other) + 1


async def newcomers_find_room_while_others_are_refused(bench: Bench) -> None:
    """One large request of each account that has nothing large in the queue, also beside small ones of its own, up to twice
    the queue's bytes, however many such accounts there are.
    """
    hogs = {account: await _fill(bench, account) for account in (LARGE, OTHER)}
    admitted: list[Job] = []
    for number in range(100):
        account = f"acc_new_{number}"
        if number < 3:
            await enqueue(bench.queue, a_job(account_id=account))
        if not await _is_refused(bench, job := _a_large_job(account)):
            admitted.append(job)
            assert await _is_refused(bench, _a_large_job(account))
        assert [await _is_refused(bench, _a_large_job(hog)) for hog in hogs] == [True, True]
    assert [job.account_id for job in admitted] == [f"acc_new_{number}" for number in range(len(admitted))]
    assert len(admitted) > 1
    assert await _large(bench) <= 2 * LIMITS.queue < await _large(bench) + await _payloads(bench, admitted[0])


async def who_is_served_makes_room_for_the_next_newcomer(bench: Bench) -> None:
    """And may come again itself."""
    for account in (LARGE, OTHER, "acc_1", "acc_2", "acc_3"):
        await _fill(bench, account)
    assert await _is_refused(bench, _a_large_job("acc_4"))
    of_one = await _ids_of(bench, "acc_2")
    (served,) = (one for one in await claim(bench.queue) if one.id in of_one)
    await bench.queue.finish(served)
    assert not await _is_refused(bench, _a_large_job("acc_2"))
    assert await _is_refused(bench, _a_large_job("acc_4"))


async def _ids_of(bench: Bench, account: str) -> set[str]:
    ids = [name.decode() for name in await bench.client.zrange(OPENAI, 0, -1)]
    owners = [await bench.client.hget(keys.run(one), "account") for one in ids]  # type: ignore[misc]
    return {one for one, owner in zip(ids, owners, strict=True) if owner == account.encode()}


async def _large(bench: Bench) -> int:
    counted = await _counted(bench)
    return counted["all"] - counted["small"]


async def small_requests_have_a_reserve(bench: Bench) -> None:
    for account in (LARGE, OTHER, "acc_3", "acc_4"):
        await _fill(bench, account)
    small = [a_job(account_id=account) for account in (SMALL, SMALL, LARGE, OTHER)]
    assert [await _is_refused(bench, job) for job in small] == [False] * 4


async def the_reserve_is_no_large_ones(bench: Bench) -> None:
    """And small ones leave the queue to large ones as long as they fit into it."""
    while (await _counted(bench)).get("small", 0) < LIMITS.reserve - 2_000:
        assert not await _is_refused(bench, a_job(account_id=SMALL))
    waiting = await _fill(bench)
    assert LIMITS.queue - LARGE_BYTES < await _payloads(bench, *waiting) < LIMITS.queue


async def small_requests_have_an_end_too(bench: Bench) -> None:
    await _fill(bench)
    taken = 0
    while not await _is_refused(bench, a_job(account_id=LARGE)):
        taken += 1
    assert 4 < taken < 16


async def what_runs_counts_as_well(bench: Bench) -> None:
    await _fill(bench)
    running = await claim(bench.queue)
    assert await _is_refused(bench, _a_large_job())
    await bench.queue.finish(running[0])
    await bench.ended(running[1], bench.queue)
    assert [await _is_refused(bench, _a_large_job()) for _ in range(3)] == [False, False, True]


async def what_was_admitted_is_put_back_into_a_queue_full_of_bytes(bench: Bench) -> None:
    for account in (LARGE, OTHER, "acc_3", "acc_4"):
        await _fill(bench, account)
    assert not await _is_refused(bench, _a_large_job(), epoch=EPOCHS_PER_ENQUEUE)


# -- counting


async def what_has_gone_counts_no_more(bench: Bench) -> None:
    """However it went."""
    ended, finished, buried, lost = (_a_large_job() for _ in range(4))
    for job in (ended, finished, buried, lost):
        await enqueue(bench.queue, job)
    assert (await _counted(bench))["all"] == await _payloads(bench, ended, finished, buried, lost)
    assert await bench.queue.bury(buried.id, OPENAI)
    await bench.client.delete(job_key_prefix + lost.id)
    for one in await claim(bench.queue):
        if one.id == ended.id:
            await bench.ended(one, bench.queue)
        else:
            assert await bench.queue.finish(one)
    assert await _counted(bench) == {}


async def what_waits_again_counts_once(bench: Bench) -> None:
    """Given back, or taken over from a dead worker."""
    job = _a_large_job()
    await enqueue(bench.queue, job)
    before = await _counted(bench)
    await bench.queue.give_back(await claim_one(bench.queue))
    await let_lease_lapse(bench.client, (await claim_one(bench.queue)).id)
    one = await claim_one(bench.queue)
    assert await _counted(bench) == before
    await enqueue(bench.queue, other := _a_large_job())
    for _ in range(2):
        await bench.queue.finish(one)
    assert await bench.queue.bury(job.id, OPENAI)
    assert (await _counted(bench)).get("all") == await _payloads(bench, other)


async def what_is_put_back_after_its_payload_was_lost_counts_once(bench: Bench) -> None:
    job = _a_large_job()
    await enqueue(bench.queue, job)
    before = await _counted(bench)
    await bench.client.delete(job_key_prefix + job.id)
    await enqueue(bench.queue, job, epoch=EPOCHS_PER_ENQUEUE)
    assert await _counted(bench) == before


async def what_the_previous_release_enqueued_counts_from_its_claim_on(bench: Bench) -> None:
    job = _a_large_job()
    await _enqueued_by_the_previous_release(bench, job)
    one = await claim_one(bench.queue)
    assert (await _counted(bench)).get("all") == await _payloads(bench, job)
    assert one.large == await _payloads(bench, job)
    await bench.queue.finish(one)
    assert await _counted(bench) == {}


async def bytes_are_counted_anew_every_minute(bench: Bench) -> None:
    """What a worker of the previous release ended still counts till then, and what its front doors enqueued does not."""
    gone, there = _a_large_job(OTHER), _a_large_job("")
    await enqueue(bench.queue, gone)
    await bench.client.zrem(OPENAI, gone.id)
    await bench.client.delete(job_key_prefix + gone.id)
    await _enqueued_by_the_previous_release(bench, there)
    now_ms = 1_000 * (await bench.client.time())[0]
    await bench.client.hset(keys.payload_bytes(OPENAI), ":counted", str(now_ms - 40_000))  # type: ignore[misc]
    await enqueue(bench.queue, job := _a_large_job())
    assert OTHER in await _counted(bench)
    await bench.client.hset(keys.payload_bytes(OPENAI), ":counted", str(now_ms - 60_000))  # type: ignore[misc]
    await enqueue(bench.queue, small := a_job(account_id=SMALL))
    sizes = {LARGE: job, SMALL: small, "": there}
    expected = {account: await _payloads(bench, one) for account, one in sizes.items()}
    assert await _counted(bench) == {**expected, "all": sum(expected.values()), "small": expected[SMALL]}


async def _enqueued_by_the_previous_release(bench: Bench, job: Job) -> None:
    """It notes neither the account nor the bytes of a job."""
    await enqueue(bench.queue, job)
    await bench.client.hdel(keys.run(job.id), "account", "bytes", "large")  # type: ignore[misc]
    await bench.client.delete(keys.line(OPENAI, job.account_id, large=True), keys.turns(OPENAI, large=True))
    size = await _payloads(bench, job)
    for name in (job.account_id, ":1"):
        await bench.client.hincrby(keys.payload_bytes(OPENAI), name, -size)  # type: ignore[misc]
    await bench.client.hdel(keys.payload_bytes(OPENAI), job.account_id)  # type: ignore[misc]


ONLY_ZREM = "redis.call('ZREM', {}, {})"
MUTANTS = [
    *(
        Mutant(a_queue_full_of_bytes_refuses_those_who_have_their_share, "enqueue", guard, instead)
        for guard, instead in (
            ("elseif finds_no_room(sums) then", "elseif false then"),
            ("own >= most / accounts or", ""),
            ("own >= most / accounts", "true"),
            ("most / accounts", "most"),
            (" - for_newcomers", ""),
            ("'HINCRBY', sums, account, bytes)", "'HINCRBY', sums, 'anybody', bytes)"),
        )
    ),
    *(
        Mutant(newcomers_find_room_while_others_are_refused, "enqueue", guard, instead)
        for guard, instead in (
            ("if own <= small_max then", "if false then"),
            ("if own <= small_max then", "if own == 0 then"),
            ("return taken > 2 * most", "return false"),
        )
    ),
    Mutant(small_requests_have_a_reserve, "enqueue", "or class == SMALL and small <= reserve", ""),
    Mutant(the_reserve_is_no_large_ones, "enqueue", "math.max(0, small - reserve)", "small"),
    Mutant(small_requests_have_an_end_too, "enqueue", "class == SMALL and small <= reserve", "class == SMALL"),
    Mutant(small_requests_have_an_end_too, "enqueue", "sums, ':' .. large, bytes)", "sums, ':1', bytes)"),
    Mutant(
        what_was_admitted_is_put_back_into_a_queue_full_of_bytes,
        "enqueue",
        "if tonumber(ARGV[8]) == 0 then",
        "if true then",
    ),
    *(
        Mutant(what_has_gone_counts_no_more, script, guard, instead)
        for script, guard, instead in (
            ("finish", "leave_queue(queue, id, run.account, run.bytes, run.large)", ONLY_ZREM.format("queue", "id")),
            ("append", "leave_queue(queue, id, run.account, run.bytes, run.large)", ONLY_ZREM.format("queue", "id")),
            (
                "tombstone",
                "leave_queue(queue, ARGV[1], account, run[2], run[3])",
                ONLY_ZREM.format("queue", "ARGV[1]"),
            ),
            (
                "claim",
                "leave_queue(queue, id, account, unpack(redis.call('HMGET', run, 'bytes', 'large')))",
                ONLY_ZREM.format("queue", "id"),
            ),
        )
    ),
    Mutant(
        what_waits_again_counts_once, "tombstone", "('ZREM', queue, id) == 1 and bytes", "('ZREM', queue, id) and bytes"
    ),
    Mutant(
        what_is_put_back_after_its_payload_was_lost_counts_once,
        "enqueue",
        "  add_bytes(queue, account, -before[2], before[3])",
    ),
    *(
        Mutant(what_the_previous_release_enqueued_counts_from_its_claim_on, "claim", guard, instead)
        for guard, instead in (
            ("      add_bytes(queue, account, size, large)", ""),
            ("redis.call('HSET', 'run:' .. id, 'bytes', bytes, 'large', large)", ""),
            ("bytes > small_max and '1' or '0'", "'0'"),
        )
    ),
    *(
        Mutant(bytes_are_counted_anew_every_minute, "enqueue", guard, instead)
        for guard, instead in (
            ("  count_anew(queue, small_max, now)", ""),
            ("since >= 0 and since < COUNT_AGAIN_MS", "true"),
            ("since >= 0 and since < COUNT_AGAIN_MS", "false"),
            ("redis.call('DEL', 'bytes:' .. queue)", ""),
            ("if run[2] or news then", "if run[2] then"),
        )
    ),
]
ALSO = (what_runs_counts_as_well, who_is_served_makes_room_for_the_next_newcomer)
PROMISES = list(dict.fromkeys([*(mutant.broken for mutant in MUTANTS), *ALSO]))


@pytest.fixture
def bench(lua: Scripts, redis_client: ArqRedis) -> Bench:
    return Bench(Queue(lua, lease_s=10, keep_run_s=60, depth_max=100, byte_limits=LIMITS), lua, redis_client)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_a_queue_stays_within_its_bytes(bench: Bench, promise: Promise) -> None:
    await promise(bench)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.script} without {mutant.guard}")
async def test_a_script_without_this_guard_is_noticed(bench: Bench, mutant: Mutant) -> None:
    await must_be_noticed(bench, mutant)


async def test_a_refusal_says_what_to_do(bench: Bench) -> None:
    await _fill(bench)
    with pytest.raises(Overloaded, match="too large together: try again shortly, or send a smaller one") as refused:
        await enqueue(bench.queue, _a_large_job())
    assert (refused.value.status, refused.value.code) == (503, "overloaded")
    assert refused.value.retry_after_s
