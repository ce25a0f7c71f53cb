"""A job whose model has failed is moved into the queue of the next one: promises, and every guard that keeps them."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix

from shared.chat import Message
from shared.job import Chunk, Fallback, Job, Sealed, arq_deserializer, unpack_job
from shared.ledger.chains import Tried
from shared.queue.byte_limits import ByteLimits
from shared.queue.claims import Claim
from shared.queue.journal import LeaseLost
from shared.queue.queue import Queue
from shared.stores import keys
from shared.stores.scripts import Scripts
from tests.harness.builders import a_job, a_model
from tests.integration.jobs import GEMINI, OPENAI, OPENAI_BATCH, claim, claim_one, enqueue, let_lease_lapse, room
from tests.integration.queue.mutants import Bench, Mutant, Promise, must_be_noticed
from workers.request.past import look_back

ACCOUNT = "acc_x"
LIMITS = ByteLimits(small=4_000)
CLAIMED_AGAIN = [room(GEMINI)]


def a_job_with(provider: str = "gemini", **changes: object) -> Job:
    model = a_model(name="other", provider=provider)
    fallback = Fallback(model=model, price=model.price, sampling=a_job().sampling, output_limit=7)
    return a_job(account_id=ACCOUNT, fallbacks=(fallback,), **changes)


def at_next(job: Job) -> Job:
    return job.at_next((Tried(model=job.model.name, code="provider_busy", calls=2),))


async def moved(bench: Bench, job: Job | None = None) -> tuple[Claim, Job]:
    """The claim that has moved its job, and the job as it is then."""
    job = job or a_job_with()
    await enqueue(bench.queue, job)
    one, then = await claim_one(bench.queue), at_next(job)
    assert await bench.queue.move(one, then, calls=2)
    return one, then


async def claimed_again(bench: Bench) -> Claim:
    (one,) = await claim(bench.queue, "wrk_b", *CLAIMED_AGAIN)
    return one


async def a_moved_job_waits_in_the_other_queue_alone(bench: Bench) -> None:
    old, then = await moved(bench)
    assert await bench.client.zcard(OPENAI) == 0
    new = await claimed_again(bench)
    assert (new.id, new.queue, new.epoch) == (old.id, GEMINI, old.epoch + 1)
    assert new.opening is not None
    (sealed,) = arq_deserializer(new.opening.payload)["a"]
    assert isinstance(sealed, Sealed)
    assert unpack_job(sealed.data) == then
    assert await claim(bench.queue, "wrk_b", room(OPENAI), *CLAIMED_AGAIN) == []


async def it_is_rung_for(bench: Bench) -> None:
    await moved(bench)
    assert await bench.client.llen(keys.bell(GEMINI)) == 1  # type: ignore[misc] # typed for both clients


async def a_claim_that_has_moved_its_job_has_no_effect_any_more(bench: Bench) -> None:
    old, _ = await moved(bench, a_job_with(provider="openai"))  # into its own queue anew
    assert await bench.queue.renew([old]) == [old.id]
    assert not await bench.queue.finish(old)
    with pytest.raises(LeaseLost):
        await bench.journal(old).append(Chunk("late"))
    assert len(await claim(bench.queue, "wrk_b", room(OPENAI))) == 1


async def a_lost_claim_moves_nothing(bench: Bench) -> None:
    job = a_job_with()
    await enqueue(bench.queue, job)
    old = await claim_one(bench.queue)
    assert await bench.queue.give_back(old)
    await claim_one(bench.queue, "wrk_b")
    assert not await bench.queue.move(old, at_next(job), calls=1)
    assert await claim(bench.queue, "wrk_c", *CLAIMED_AGAIN) == []


async def a_move_may_be_repeated_until_the_next_claim(bench: Bench) -> None:
    old, then = await moved(bench)
    assert await bench.queue.move(old, then, calls=2)
    new = await claimed_again(bench)
    assert (await look_back(bench.client, old.id)).waits == 1
    assert not await bench.queue.move(old, then, calls=2)
    assert await bench.queue.renew([new]) == []


async def what_was_called_is_remembered(bench: Bench) -> None:
    old, _ = await moved(bench)
    past = await look_back(bench.client, old.id)
    assert (past.calls, past.refused, past.rerouted, past.waits) == (2, 0, 0, 1)


async def its_account_runs_it_in_the_first_queue_no_more(bench: Bench) -> None:
    await moved(bench)
    assert await bench.client.zcard(keys.running(OPENAI, ACCOUNT)) == 0


async def its_bytes_count_where_it_is(bench: Bench) -> None:
    one, _ = await moved(bench, a_job_with(messages=[Message("user", "x" * 5_000)]))
    size = await bench.client.strlen(job_key_prefix + one.id)
    counted = [await bench.client.hget(keys.payload_bytes(name), ACCOUNT) for name in (OPENAI, GEMINI)]  # type: ignore[misc]
    assert counted == [None, str(size).encode()]
    assert await bench.client.zcard(keys.line(GEMINI, ACCOUNT, large=True)) == 1


async def it_lives_as_long_as_before(bench: Bench) -> None:
    one, _ = await moved(bench)
    assert 0 < await bench.client.pttl(job_key_prefix + one.id) <= 660_000


async def who_buries_it_by_its_first_queue_finds_it(bench: Bench) -> None:
    old, _ = await moved(bench)
    assert await bench.queue.bury(old.id, OPENAI)
    assert await bench.client.zcard(GEMINI) == 0
    assert await claim(bench.queue, "wrk_b", *CLAIMED_AGAIN) == []


async def what_runs_in_the_other_queue_is_not_buried_by_its_first(bench: Bench) -> None:
    old, _ = await moved(bench)
    await claimed_again(bench)
    assert not await bench.queue.bury(old.id, OPENAI, or_void=False)


async def what_is_cancelled_on_the_way_is_told_at_its_next_claim(bench: Bench) -> None:
    old, _ = await moved(bench)
    await bench.queue.cancel(old.id)
    opening = (await claimed_again(bench)).opening
    assert opening is not None
    assert opening.aborted


async def a_line_of_a_batch_stays_one(bench: Bench) -> None:
    job = a_job_with()
    await enqueue(bench.queue, job, OPENAI_BATCH)
    (one,) = await claim(bench.queue, "wrk_a", room(OPENAI_BATCH))
    assert await bench.queue.move(one, at_next(job), calls=1)
    assert len(await claim(bench.queue, "wrk_b", room(keys.queue("gemini", "batch")))) == 1


async def what_redis_lost_after_a_move_is_in_its_first_queue_again(bench: Bench) -> None:
    old, _ = await moved(bench)
    lost = (job_key_prefix + old.id, in_progress_key_prefix + old.id, GEMINI)
    await bench.client.delete(*lost)
    await enqueue(bench.queue, a_job_with(id=old.id), epoch=1_000)
    assert await bench.queue.bury(old.id, OPENAI)
    assert await bench.client.zcard(OPENAI) == 0


async def a_job_that_nobody_has_goes_on_in_the_other_queue(bench: Bench) -> None:
    job = a_job_with()
    await enqueue(bench.queue, job)
    assert await bench.queue.pass_on(OPENAI, at_next(job), 0, calls=0)
    assert await bench.client.zcard(keys.line(OPENAI, ACCOUNT)) == 0
    assert (await claimed_again(bench)).id == job.id
    assert await claim(bench.queue, "wrk_b", room(OPENAI)) == []


async def a_job_that_somebody_has_stays_with_him(bench: Bench) -> None:
    job = a_job_with()
    await enqueue(bench.queue, job)
    one = await claim_one(bench.queue)
    assert not await bench.queue.pass_on(OPENAI, at_next(job), one.epoch, calls=0)
    await let_lease_lapse(bench.client, job.id)
    assert not await bench.queue.pass_on(OPENAI, at_next(job), one.epoch - 1, calls=0)
    assert await bench.queue.renew([one]) == []


async def who_had_a_job_that_goes_on_has_no_effect_any_more(bench: Bench) -> None:
    job = a_job_with()
    await enqueue(bench.queue, job)
    old = await claim_one(bench.queue)
    await let_lease_lapse(bench.client, job.id)
    assert await bench.queue.pass_on(OPENAI, at_next(job), old.epoch, calls=0)
    assert not await bench.queue.move(old, at_next(job), calls=2)
    assert (await claimed_again(bench)).epoch == old.epoch + 2


MUTANTS = [
    Mutant(
        a_job_that_nobody_has_goes_on_in_the_other_queue,
        "move",
        "leave_line(KEYS[1], run[5] == '1' and LARGE or SMALL, account, id, now)",
    ),
    Mutant(a_job_that_somebody_has_stays_with_him, "move", "(run[1] or '0') ~= ARGV[2] or ", ""),
    Mutant(a_job_that_somebody_has_stays_with_him, "move", " or tonumber(due) > now", ""),
    Mutant(who_had_a_job_that_goes_on_has_no_effect_any_more, "move", "redis.call('HINCRBY', KEYS[5], 'epoch', 1)"),
    Mutant(a_moved_job_waits_in_the_other_queue_alone, "move", "leave_queue(KEYS[1], id, account, run[4], run[5])"),
    Mutant(a_moved_job_waits_in_the_other_queue_alone, "move", "redis.call('SET', KEYS[2], ARGV[4], 'KEEPTTL')"),
    Mutant(a_moved_job_waits_in_the_other_queue_alone, "move", "redis.call('ZADD', KEYS[6], now, id)"),
    Mutant(it_is_rung_for, "move", "redis.call('LPUSH', KEYS[7], id)"),
    Mutant(a_claim_that_has_moved_its_job_has_no_effect_any_more, "move", "'owner', '', ", ""),
    Mutant(a_lost_claim_moves_nothing, "move", "if run[1] ~= ARGV[2] or run[2] ~= ARGV[3] then", "if false then"),
    Mutant(a_move_may_be_repeated_until_the_next_claim, "move", "'gone_on', by, ", ""),
    Mutant(a_move_may_be_repeated_until_the_next_claim, "move", "run[1] == ARGV[2] and run[6] == by", "run[6] == by"),
    Mutant(what_was_called_is_remembered, "move", "'calls', ARGV[5], ", ""),
    Mutant(what_was_called_is_remembered, "move", "redis.call('HINCRBY', KEYS[5], 'waits', 1)"),
    Mutant(its_account_runs_it_in_the_first_queue_no_more, "move", "stop_running(KEYS[1], account, id)"),
    Mutant(its_bytes_count_where_it_is, "move", "add_bytes(KEYS[6], account, size, large and '1' or '0')"),
    Mutant(its_bytes_count_where_it_is, "move", "large and LARGE or SMALL", "SMALL"),
    Mutant(
        it_lives_as_long_as_before,
        "move",
        ", 'KEEPTTL')\nif redis.call('PTTL', KEYS[2]) == -1 then",
        ")\nif false then",
    ),
    Mutant(who_buries_it_by_its_first_queue_finds_it, "move", "'queue', KEYS[6], ", ""),
    Mutant(
        what_runs_in_the_other_queue_is_not_buried_by_its_first,
        "tombstone",
        "redis.call('HGET', KEYS[3], 'queue') or KEYS[1]",
        "KEYS[1]",
    ),
    Mutant(what_redis_lost_after_a_move_is_in_its_first_queue_again, "enqueue", "redis.call('HDEL', KEYS[3], 'queue')"),
]
PROMISES: list[Promise] = list(
    dict.fromkeys(
        [
            *(mutant.broken for mutant in MUTANTS),
            what_is_cancelled_on_the_way_is_told_at_its_next_claim,
            a_line_of_a_batch_stays_one,
        ]
    )
)


@pytest.fixture
def bench(lua: Scripts, redis_client: ArqRedis) -> Bench:
    return Bench(Queue(lua, lease_s=10, keep_run_s=60, depth_max=100, byte_limits=LIMITS), lua, redis_client)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_a_job_moves_as_is_promised(bench: Bench, promise: Promise) -> None:
    await promise(bench)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.script} without {mutant.guard}")
async def test_a_script_without_this_guard_is_noticed(bench: Bench, mutant: Mutant) -> None:
    await must_be_noticed(bench, mutant)
